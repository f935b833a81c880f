/* The chapter's office hours as programs: office_hours write NAME, and office_hours read NAME. */
#include <assert.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void
proc1(char *name)
{
	int fd, ret;

	fd = open(name, O_WRONLY);
	assert(fd != -1);

	ret = write(fd, "halp!", 5);
	assert(ret == 5);
	close(fd);
}

void
proc2(char *name)
{
	char msg[6];
	int fd, ret;

	memset(msg, 0, 6);
	fd = open(name, O_RDONLY);
	assert(fd != -1);

	ret = read(fd, msg, 5);
	assert(ret == 5);
	close(fd);

	printf("What I hear at office hours is \"%s\".", msg);
}

int
main(int argc, char *argv[])
{
	if (argc != 3) return EXIT_FAILURE;
	if (strcmp(argv[1], "write") == 0) proc1(argv[2]);
	else proc2(argv[2]);
	return EXIT_SUCCESS;
}
