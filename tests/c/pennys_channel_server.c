/* The server of the chapter's pennys_channel as a program: pennys_channel_server CLIENTS NAME. */
#include "domain_sockets.h"

#include <stdio.h>

void
unlink_domain_socket(int status, void *filename)
{
	(void)status;
	unlink(filename);
	free(filename);
}

#define MAX_BUF_SZ 128

void
server(int num_clients, char *filename)
{
	char buf[MAX_BUF_SZ];
	int new_client, amnt, i, socket_desc;

	socket_desc = domain_socket_server_create(filename);
	if (socket_desc < 0) exit(EXIT_FAILURE); /* should do proper cleanup */
	on_exit(unlink_domain_socket, strdup(filename));

	for (i = 0; i < num_clients; i++) {
		if ((new_client = accept(socket_desc, NULL, NULL)) == -1) exit(EXIT_FAILURE);
		printf("Server: New client connected with new file descriptor %d.\n", new_client);
		fflush(stdout);

		amnt = read(new_client, buf, MAX_BUF_SZ - 1);
		if (amnt == -1) exit(EXIT_FAILURE);
		buf[amnt] = '\0'; /* ensure null termination of the string */
		printf("Server received message (sz %d): \"%s\". Replying!\n", amnt, buf);
		fflush(stdout);

		/* send the client a reply */
		if (write(new_client, buf, amnt) < 0) exit(EXIT_FAILURE);
		/* Done with communication with this client */
		close(new_client);
	}
	close(socket_desc);

	exit(EXIT_SUCCESS);
}

int
main(int argc, char *argv[])
{
	if (argc != 3) return EXIT_FAILURE;
	server(atoi(argv[1]), argv[2]);
}
