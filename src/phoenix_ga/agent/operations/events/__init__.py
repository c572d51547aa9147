"""What happens in the guest, told by kernel descriptors. The events are declared in `wire/events.py`."""
