/* The client of the chapter's pennys_channel as a program: pennys_channel_client NAME. */
#include "domain_sockets.h"

#include <stdio.h>

#define MAX_BUF_SZ 128

void
client(char *filename)
{
	char msg[MAX_BUF_SZ];
	int  amnt = 0, socket_desc;

	socket_desc = domain_socket_client_create(filename);
	if (socket_desc < 0) exit(EXIT_FAILURE);
	printf("1. Client %d connected to server.\n", getpid());
	fflush(stdout);

	snprintf(msg, MAX_BUF_SZ - 1, "Citizen %d: Penny for Pawsident!", getpid());
	amnt = write(socket_desc, msg, strlen(msg) + 1);
	if (amnt < 0) exit(EXIT_FAILURE);
	printf("2. Client %d request sent message to server.\n", getpid());
	fflush(stdout);

	if (read(socket_desc, msg, amnt) < 0) exit(EXIT_FAILURE);
	msg[amnt] = '\0';
	printf("3. Client %d reply received from server: %s\n", getpid(), msg);
	fflush(stdout);

	close(socket_desc);

	exit(EXIT_SUCCESS);
}

int
main(int argc, char *argv[])
{
	if (argc != 2) return EXIT_FAILURE;
	client(argv[1]);
}
