/*
 * A C program at a SharedStruct: gauge PATH TIMES adds 1 to the gauge's turns so many times, and half to its level;
 * with 0 TIMES it prints the level.
 *
 * It maps the same bytes as the Python programs, takes the same lock, marks each change and rings the same bell.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

struct gauge { /* as the ctypes.Structure has it */
	uint64_t turns;
	double   level;
	char     unit[8];
};

enum { LOCK = 0, TURN = 2 };           /* bytes of the file that are locked */
enum { DIRTY = 92, RECORDS = 128, RECORD_STRIDE = 64, RECORD_SIZE = 20, CHECKED = 16 };

struct header { /* the beginning of the first page */
	char     magic[8];
	uint32_t version, flags;
	uint64_t content, size;        /* where the content begins, and how long it is */
};

static void
must(int ok)
{
	if (!ok) {
		perror("gauge");
		exit(1);
	}
}

static void
set_lock(int fd, short type, off_t byte)
{
	struct flock lock = { .l_type = type, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1 };

	must(fcntl(fd, F_OFD_SETLKW, &lock) == 0); /* waits; the lock is free when this process ends, however it does */
}

static uint32_t
crc32(const unsigned char *data, size_t size)
{
	uint32_t crc = ~0u;

	while (size--) {
		crc ^= *data++;
		for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
	}
	return ~crc;
}

static uint64_t
live_version(int fd)
{
	uint64_t even, odd;

	must(pread(fd, &even, sizeof(even), RECORDS) == sizeof(even));
	must(pread(fd, &odd, sizeof(odd), RECORDS + RECORD_STRIDE) == sizeof(odd));
	return even > odd ? even : odd;
}

/* Take the lock, and mark that a change has begun. */
static uint64_t
begin(int fd)
{
	uint64_t version;
	uint32_t dirty, mark;

	set_lock(fd, F_WRLCK, TURN); /* so that nobody is overtaken for ever */
	set_lock(fd, F_WRLCK, LOCK);
	set_lock(fd, F_UNLCK, TURN);
	version = live_version(fd) + 1;
	mark = (uint32_t)version;
	must(pread(fd, &dirty, sizeof(dirty), DIRTY) == sizeof(dirty));
	if (dirty == mark) {
		fprintf(stderr, "the last change was not finished\n");
		exit(2);
	}
	must(pwrite(fd, &mark, sizeof(mark), DIRTY) == sizeof(mark));
	return version;
}

/* Commit the change, which takes the mark off and wakes whoever watches; give the lock back. */
static void
commit(int fd, uint64_t version)
{
	unsigned char record[RECORD_SIZE] = { 0 };
	uint32_t crc;

	memcpy(record, &version, sizeof(version));
	crc = crc32(record, CHECKED);
	memcpy(record + CHECKED, &crc, sizeof(crc));
	must(pwrite(fd, record, sizeof(record), RECORDS + (version & 1) * RECORD_STRIDE) == sizeof(record));
	set_lock(fd, F_UNLCK, LOCK);
}

int
main(int argc, char *argv[])
{
	struct header header;
	struct gauge *gauge;
	int fd;

	must(argc == 3);
	fd = open(argv[1], O_RDWR | O_CLOEXEC);
	must(fd != -1);
	must(pread(fd, &header, sizeof(header), 0) == sizeof(header));
	must(memcmp(header.magic, "\x89NIPCreg", 8) == 0 && header.flags & 4 && header.size == sizeof(*gauge));
	gauge = mmap(NULL, sizeof(*gauge), PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)header.content);
	must(gauge != MAP_FAILED);
	for (int times = atoi(argv[2]); times > 0; times--) {
		uint64_t version = begin(fd);

		gauge->turns += 1;
		gauge->level += 0.5;
		commit(fd, version);
	}
	if (atoi(argv[2]) == 0) printf("C sees %g %s.\n", gauge->level, gauge->unit);
	return 0;
}
