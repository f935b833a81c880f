/* What the kernel can do from C, and the load of the rows with many clients.
 *
 *     baseline WORK ROLE DIRECTORY ARGUMENT CORE
 *
 * speaks as every side does (sides.py): it prints "ready"; a client then reads lines with a count, and answers each by
 * a line of JSON. CORE is the other side's, for works which need no server but fork.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define SMALL 64
#define IN_FLIGHT 64
#define check(call) \
    do { \
        if ((call) < 0) { perror(#call); exit(1); } \
    } while (0)

static const char *directory;
static long argument;
static int other_core;

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void *allocated(size_t size) {
    void *memory = malloc(size ? size : 1);
    if (memory == NULL) { perror("malloc"); exit(1); }
    return memory;
}

static struct sockaddr_un address_of(void) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (snprintf(address.sun_path, sizeof address.sun_path, "%s/s", directory) >= (int)sizeof address.sun_path) {
        fprintf(stderr, "the directory's path is too long\n");
        exit(1);
    }
    return address;
}

static int listening(void) {
    struct sockaddr_un address = address_of();
    int listener = socket(AF_UNIX, SOCK_STREAM, 0);
    check(listener);
    check(bind(listener, (struct sockaddr *)&address, sizeof address));
    check(listen(listener, 4096));
    return listener;
}

static int connected(void) {
    struct sockaddr_un address = address_of();
    int stream = socket(AF_UNIX, SOCK_STREAM, 0);
    check(stream);
    check(connect(stream, (struct sockaddr *)&address, sizeof address));
    return stream;
}

static int receive_all(int stream, char *data, size_t size) {
    for (size_t done = 0; done < size;) {
        ssize_t got = recv(stream, data + done, size - done, 0);
        if (got <= 0) return -1;
        done += (size_t)got;
    }
    return 0;
}

static int send_all(int stream, const char *data, size_t size) {
    for (size_t done = 0; done < size;) {
        ssize_t sent = send(stream, data + done, size - done, MSG_NOSIGNAL);
        if (sent < 0) return -1;
        done += (size_t)sent;
    }
    return 0;
}

static void ready(void) {
    puts("ready");
    fflush(stdout);
}

static long asked(void) {
    long count;
    if (scanf("%ld", &count) != 1) exit(0);
    return count;
}

static int by_size(const void *one, const void *two) {
    double difference = *(const double *)one - *(const double *)two;
    return (difference > 0) - (difference < 0);
}

static double p99(double *times, long count) {
    qsort(times, (size_t)count, sizeof *times, by_size);
    return times[count * 99 / 100];
}

static void answer(double value, double seconds, double slowest) {
    printf("{\"value\": %.9g, \"seconds\": %.9g, \"p99\": %.9g}\n", value, seconds, slowest);
    fflush(stdout);
}

/* Asked for so many operations: each is timed, and the mean and the 99th percentile are the answer. */
static void time_each(void (*operation)(void *), void *state, double scale) {
    ready();
    for (;;) {
        long count = asked();
        double *times = allocated((size_t)count * sizeof *times), sum = 0;
        for (long i = 0; i < count; i++) {
            double began = now();
            operation(state);
            times[i] = now() - began;
            sum += times[i];
        }
        answer(sum / (double)count * scale, sum, p99(times, count) * scale);
        free(times);
    }
}

/* ---------------------------------------------------------------- there and back, one in flight */

struct pingpong {
    int stream;
    size_t size;
    char *data;
};

static void serve_pingpong(size_t size) {
    int listener = listening();
    char *data = allocated(size);
    ready();
    for (;;) {
        int stream = accept(listener, NULL, NULL);
        check(stream);
        while (receive_all(stream, data, size) == 0 && send_all(stream, data, size) == 0) {}
        close(stream);
    }
}

static void there_and_back(void *state) {
    struct pingpong *game = state;
    check(send_all(game->stream, game->data, game->size));
    check(receive_all(game->stream, game->data, game->size));
}

static void play_pingpong(size_t size) {
    struct pingpong game = {connected(), size, allocated(size)};
    memset(game.data, 1, size);
    time_each(there_and_back, &game, 1e6);
}

/* ---------------------------------------------------------------- many clients, or many in flight: an epoll server */

static void serve_epoll(void) {
    int listener = listening(), epoll = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN, .data.fd = listener}, events[256];
    char data[SMALL];
    check(epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event));
    ready();
    for (;;) {
        int count = epoll_wait(epoll, events, 256, -1);
        for (int i = 0; i < count; i++) {
            int stream = events[i].data.fd;
            if (stream == listener) {
                event.data.fd = accept(listener, NULL, NULL);
                check(event.data.fd);
                check(epoll_ctl(epoll, EPOLL_CTL_ADD, event.data.fd, &event));
            } else if (receive_all(stream, data, SMALL) < 0 || send_all(stream, data, SMALL) < 0) {
                close(stream);
            }
        }
    }
}

static void call_in_flight(void) {
    int stream = connected();
    char data[SMALL * IN_FLIGHT];
    memset(data, 1, sizeof data);
    ready();
    for (;;) {
        long batches = (asked() + IN_FLIGHT - 1) / IN_FLIGHT;
        double began = now();
        for (long i = 0; i < batches; i++) {
            check(send_all(stream, data, sizeof data));
            check(receive_all(stream, data, sizeof data));
        }
        double seconds = now() - began;
        printf("{\"value\": %.9g, \"seconds\": %.9g}\n", (double)(batches * IN_FLIGHT) / seconds, seconds);
        fflush(stdout);
    }
}

/* A recorded conversation: steps of what a client sends and how many bytes then come; the last one is repeated. */
struct step {
    uint32_t up, down;
    char *data;
};

struct client {
    int stream;
    uint32_t awaited;
    double began;
};

static struct step *conversation(uint32_t *steps) {
    char path[4096];
    snprintf(path, sizeof path, "%s/conversation", directory);
    FILE *file = fopen(path, "rb");
    if (file == NULL) { /* nothing was recorded: C's own */
        struct step *step = allocated(sizeof *step);
        *step = (struct step){SMALL, SMALL, allocated(SMALL)};
        memset(step->data, 1, SMALL);
        *steps = 1;
        return step;
    }
    if (fread(steps, sizeof *steps, 1, file) != 1) exit(1);
    struct step *said = allocated(*steps * sizeof *said);
    for (uint32_t i = 0; i < *steps; i++) {
        uint32_t sizes[2];
        if (fread(sizes, sizeof sizes, 1, file) != 1) exit(1);
        said[i] = (struct step){sizes[0], sizes[1], allocated(sizes[0])};
        if (fread(said[i].data, 1, sizes[0], file) != sizes[0]) exit(1);
    }
    fclose(file);
    return said;
}

static void begin(struct client *client, const struct step *request) {
    client->awaited = request->down;
    client->began = now();
    check(send_all(client->stream, request->data, request->up));
}

static void load(void) {
    uint32_t steps;
    struct step *said = conversation(&steps), *request = &said[steps - 1];
    struct client *clients = allocated((size_t)argument * sizeof *clients);
    struct epoll_event events[256];
    char data[65536];
    int epoll = epoll_create1(0);
    for (long i = 0; i < argument; i++) {
        clients[i].stream = connected();
        for (uint32_t at = 0; at < steps; at++) {
            check(send_all(clients[i].stream, said[at].data, said[at].up));
            if (said[at].down > sizeof data) exit(1);
            check(receive_all(clients[i].stream, data, said[at].down));
        }
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = &clients[i]};
        check(epoll_ctl(epoll, EPOLL_CTL_ADD, clients[i].stream, &event));
    }
    ready();
    for (;;) {
        long count = asked(), begun = 0, done = 0;
        if (count < argument) count = argument;
        double *times = allocated((size_t)count * sizeof *times), start = now();
        while (begun < argument) begin(&clients[begun++], request);
        while (done < count) {
            int many = epoll_wait(epoll, events, 256, -1);
            for (int i = 0; i < many; i++) {
                struct client *client = events[i].data.ptr;
                ssize_t got = recv(client->stream, data, client->awaited, MSG_DONTWAIT);
                if (got < 0 && errno == EAGAIN) continue;
                if (got <= 0) { fprintf(stderr, "the server has closed a connection\n"); exit(1); }
                client->awaited -= (uint32_t)got;
                if (client->awaited > 0) continue;
                times[done++] = now() - client->began;
                if (begun < count) { begin(client, request); begun++; }
            }
        }
        double seconds = now() - start;
        answer((double)count / seconds, seconds, p99(times, count) * 1e6);
        free(times);
    }
}

/* ---------------------------------------------------------------- memory, and a wake-up */

struct copies {
    char *from, *to;
};

static void copy(void *state) {
    struct copies *copies = state;
    memcpy(copies->to, copies->from, (size_t)argument);
    __asm__ volatile("" : : "r"(copies->to) : "memory"); /* it is needed, says this to the compiler */
}

static void copy_memory(void) {
    struct copies copies = {allocated((size_t)argument), allocated((size_t)argument)};
    memset(copies.from, 1, (size_t)argument);
    memset(copies.to, 2, (size_t)argument);
    time_each(copy, &copies, 1e3);
}

static void wake(void *state) {
    int *bells = state;
    check(eventfd_write(bells[0], 1));
    eventfd_t value;
    check(eventfd_read(bells[1], &value));
}

static void ring_eventfds(void) {
    int bells[2] = {eventfd(0, 0), eventfd(0, 0)};
    check(bells[0]);
    check(bells[1]);
    pid_t child = fork();
    check(child);
    if (child == 0) {
        cpu_set_t cores;
        CPU_ZERO(&cores);
        CPU_SET(other_core, &cores);
        check(sched_setaffinity(0, sizeof cores, &cores));
        check(prctl(PR_SET_PDEATHSIG, SIGKILL));
        for (;;) {
            eventfd_t value;
            check(eventfd_read(bells[0], &value));
            check(eventfd_write(bells[1], 1));
        }
    }
    time_each(wake, bells, 1e6);
}

int main(int count, char **arguments) {
    if (count != 6) {
        fprintf(stderr, "usage: baseline WORK ROLE DIRECTORY ARGUMENT CORE\n");
        return 2;
    }
    const char *work = arguments[1];
    int serves = strcmp(arguments[2], "server") == 0;
    directory = arguments[3];
    argument = atol(arguments[4]);
    other_core = atoi(arguments[5]);
    check(prctl(PR_SET_PDEATHSIG, SIGKILL));
    struct rlimit files;
    check(getrlimit(RLIMIT_NOFILE, &files));
    files.rlim_cur = files.rlim_max;
    check(setrlimit(RLIMIT_NOFILE, &files));
    if (strcmp(work, "call") == 0) serves ? serve_pingpong(SMALL) : play_pingpong(SMALL);
    if (strcmp(work, "echo") == 0) serves ? serve_pingpong((size_t)argument) : play_pingpong((size_t)argument);
    if (strcmp(work, "batch") == 0) serves ? serve_epoll() : call_in_flight();
    if (strcmp(work, "clients") == 0) serves ? serve_epoll() : load();
    if (strcmp(work, "array") == 0) copy_memory();
    if (strcmp(work, "wake") == 0) ring_eventfds();
    fprintf(stderr, "no work of this name: %s\n", work);
    return 2;
}
