"""What the kernel offers: system calls, ioctls, netlink, and the files under /proc and /sys."""
