/*
 * The chapter's two functions, of which it shows only the declarations: a descriptor for the server's end, and for a
 * client's end, of the channel that a file name identifies.
 */
#ifndef DOMAIN_SOCKETS_H
#define DOMAIN_SOCKETS_H

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* How many clients may wait to be accepted. */
#define DOMAIN_SOCKET_BACKLOG 16

/* A socket, and the address of the file name. Returns -1 for a name which does not fit: unix(7), sun_path. */
static inline int
domain_socket_prepare(const char *file_name, struct sockaddr_un *address)
{
	memset(address, 0, sizeof(*address));
	address->sun_family = AF_UNIX;
	if (strlen(file_name) >= sizeof(address->sun_path)) {
		errno = ENAMETOOLONG;
		return -1;
	}
	strcpy(address->sun_path, file_name);

	return socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
}

/* Close the descriptor, but leave errno as the failed call has set it. */
static inline int
domain_socket_give_up(int socket_desc)
{
	int error = errno;

	close(socket_desc);
	errno = error;

	return -1;
}

/*
 * Create the server's end, which clients can connect to. It is for `accept`, not for `read` and `write`.
 * Returns the descriptor, or -1 and errno; nothing that stands under the name is removed.
 */
static inline int
domain_socket_server_create(const char *file_name)
{
	struct sockaddr_un address;
	int socket_desc = domain_socket_prepare(file_name, &address);

	if (socket_desc < 0) return -1;
	if (bind(socket_desc, (struct sockaddr *)&address, sizeof(address)) < 0) return domain_socket_give_up(socket_desc);
	if (listen(socket_desc, DOMAIN_SOCKET_BACKLOG) < 0) return domain_socket_give_up(socket_desc);

	return socket_desc;
}

/* Create a client's end, connected to the server. Returns the descriptor, or -1 and errno. */
static inline int
domain_socket_client_create(const char *file_name)
{
	struct sockaddr_un address;
	int socket_desc = domain_socket_prepare(file_name, &address);

	if (socket_desc < 0) return -1;
	if (connect(socket_desc, (struct sockaddr *)&address, sizeof(address)) < 0) {
		return domain_socket_give_up(socket_desc);
	}

	return socket_desc;
}

#endif /* DOMAIN_SOCKETS_H */
