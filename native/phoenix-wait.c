/*
 * phoenix-wait: what an idle agent becomes.
 *
 *     phoenix-wait NAME FD[h]... -- PROGRAM ARGUMENT0 [ARGUMENT...]
 *
 * Wait until something happens on one of the inherited descriptors, or a blocked signal is pending, then execute PROGRAM
 * in this process, with the same descriptors, environment and signal mask. Nothing is read from a descriptor, and no
 * signal is taken: PROGRAM finds both.
 *
 * NAME is the name of the process. The letter h marks a virtio-serial port whose host end was closed: such a port
 * reports a hang-up for as long as it is closed, which is no news.
 *
 * There is no libc, so that the process takes four pages of memory. `make native` builds it.
 */

#include <asm/signal.h>
#include <asm/unistd.h>
#include <linux/errno.h>
#include <linux/eventpoll.h>
#include <linux/prctl.h>
#include <linux/signalfd.h>
#include <linux/time_types.h>

/* The kernel's signal sets have 64 bits. */
#define SIGNAL_SET_SIZE 8

#define EVENTS_MAX 16
/* Seconds between attempts to execute PROGRAM, which may be missing while it is upgraded. */
#define RETRY_PAUSE 1
/* An address at which this program has no memory. */
#define UNMAPPED 8

/* In the data of an event: the descriptor is one marked with h. */
#define WAS_CLOSED (1ull << 32)

#if defined(__x86_64__)
static long system_call(long number, long a, long b, long c, long d, long e, long f)
{
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;
	long result;

	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return result;
}

/* The kernel enters here with argc, argv and envp on the stack. */
__asm__(".globl _start\n"
	"_start:\n"
	"	xor %ebp, %ebp\n"
	"	mov %rsp, %rdi\n"
	"	and $-16, %rsp\n"
	"	call start\n");
#elif defined(__aarch64__)
static long system_call(long number, long a, long b, long c, long d, long e, long f)
{
	register long x8 __asm__("x8") = number;
	register long x0 __asm__("x0") = a;
	register long x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c;
	register long x3 __asm__("x3") = d;
	register long x4 __asm__("x4") = e;
	register long x5 __asm__("x5") = f;

	__asm__ volatile("svc 0"
			 : "+r"(x0)
			 : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5)
			 : "memory");
	return x0;
}

__asm__(".globl _start\n"
	"_start:\n"
	"	mov x29, #0\n"
	"	mov x0, sp\n"
	"	bl start\n");
#else
#error "this architecture is not supported: the agent stays awake on it"
#endif

/* Watch a descriptor, and return whether that is possible. What has happened already is reported, too. */
static int watch(long epoll, long fd, unsigned long long mark)
{
	struct epoll_event event = {
		.events = EPOLLIN | EPOLLRDHUP | EPOLLET,
		.data = (unsigned long long)fd | mark,
	};

	return system_call(__NR_epoll_ctl, epoll, EPOLL_CTL_ADD, fd, (long)&event, 0, 0) == 0;
}

/* Return whether an event is news to the agent. */
static int is_news(const struct epoll_event *event)
{
	if (!(event->data & WAS_CLOSED) || !(event->events & EPOLLHUP))
		return 1;
	/*
	 * A closed port says that it can be read, whether or not it holds data. With data, this read fails with EFAULT and
	 * consumes nothing; without, it returns 0, or EAGAIN if the host has opened the port meanwhile.
	 */
	long result = system_call(__NR_read, (int)event->data, UNMAPPED, 1, 0, 0, 0);

	return result != 0 && result != -EAGAIN;
}

static void wait_for_news(long epoll)
{
	struct epoll_event events[EVENTS_MAX];

	for (;;) {
		/* Without a timeout, nothing else wakes this process. */
		long count = system_call(__NR_epoll_pwait, epoll, (long)events, EVENTS_MAX, -1, 0, SIGNAL_SET_SIZE);

		for (long i = 0; i < count; i++)
			if (is_news(&events[i]))
				return;
		/* EINTR: the process was stopped and continued. */
		if (count < 0 && count != -EINTR)
			return;
	}
}

/* Watch the descriptors at the beginning of `words`, and return whether that is possible. */
static int watch_all(long epoll, char **words)
{
	int watched = epoll >= 0;

	for (; *words && **words != '-'; words++) {
		char *letter = *words;
		long fd = 0;

		for (; *letter >= '0' && *letter <= '9'; letter++)
			fd = fd * 10 + (*letter - '0');
		watched &= watch(epoll, fd, *letter == 'h' ? WAS_CLOSED : 0);
	}
	return watched;
}

static int watch_signals(long epoll)
{
	unsigned long long blocked = 0;

	system_call(__NR_rt_sigprocmask, SIG_BLOCK, 0, (long)&blocked, SIGNAL_SET_SIZE, 0, 0);
	return watch(epoll, system_call(__NR_signalfd4, -1, (long)&blocked, SIGNAL_SET_SIZE, SFD_CLOEXEC, 0, 0), 0);
}

__attribute__((noreturn, used)) void start(long *stack)
{
	long argc = stack[0];
	char **argv = (char **)&stack[1];
	char **envp = &argv[argc + 1];
	char **program = &argv[2];

	while (*program && **program != '-')
		program++;
	if (argc < 5 || !program[0] || !program[1] || !program[2]) {
		system_call(__NR_exit_group, 2, 0, 0, 0, 0, 0);
		__builtin_unreachable();
	}
	program++;
	system_call(__NR_prctl, PR_SET_NAME, (long)argv[1], 0, 0, 0, 0);

	long epoll = system_call(__NR_epoll_create1, EPOLL_CLOEXEC, 0, 0, 0, 0, 0);

	/* If something cannot be watched, the agent must do it. */
	if (watch_all(epoll, &argv[2]) && watch_signals(epoll))
		wait_for_news(epoll);
	for (;;) {
		struct __kernel_timespec pause = { .tv_sec = RETRY_PAUSE };

		system_call(__NR_execve, (long)program[0], (long)&program[1], (long)envp, 0, 0, 0);
		system_call(__NR_nanosleep, (long)&pause, 0, 0, 0, 0, 0);
	}
}
