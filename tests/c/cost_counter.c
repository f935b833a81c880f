/* Counts what a process asks of the allocator and of the kernel. Loaded with LD_PRELOAD by tests/test_cost.py. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <poll.h>
#include <stddef.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <unistd.h>

extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);

enum { ALLOCATIONS, SYSTEM_CALLS };
static unsigned long counted[2];

unsigned long cost_count(int what) { return counted[what]; }

static void count(int what) { __atomic_add_fetch(&counted[what], 1, __ATOMIC_RELAXED); }

void *malloc(size_t size) { count(ALLOCATIONS); return __libc_malloc(size); }
void *calloc(size_t n, size_t size) { count(ALLOCATIONS); return __libc_calloc(n, size); }
void *realloc(void *p, size_t size) { count(ALLOCATIONS); return __libc_realloc(p, size); }

/* DECLARE(result, name, (parameters), (arguments)): count, and do what the C library does. */
#define COUNTED(result, name, parameters, arguments)                                   \
    result name parameters {                                                           \
        static result(*next) parameters;                                               \
        if (!next) *(void **)&next = dlsym(RTLD_NEXT, #name);                          \
        count(SYSTEM_CALLS);                                                           \
        return next arguments;                                                         \
    }

COUNTED(ssize_t, send, (int fd, const void *p, size_t n, int flags), (fd, p, n, flags))
COUNTED(ssize_t, recv, (int fd, void *p, size_t n, int flags), (fd, p, n, flags))
COUNTED(ssize_t, sendmsg, (int fd, const struct msghdr *m, int flags), (fd, m, flags))
COUNTED(ssize_t, recvmsg, (int fd, struct msghdr *m, int flags), (fd, m, flags))
COUNTED(ssize_t, read, (int fd, void *p, size_t n), (fd, p, n))
COUNTED(ssize_t, write, (int fd, const void *p, size_t n), (fd, p, n))
COUNTED(int, poll, (struct pollfd *p, nfds_t n, int timeout), (p, n, timeout))
COUNTED(int, epoll_wait, (int fd, struct epoll_event *p, int n, int timeout), (fd, p, n, timeout))
COUNTED(int, epoll_ctl, (int fd, int op, int of, struct epoll_event *p), (fd, op, of, p))
COUNTED(pid_t, getpid, (void), ())
