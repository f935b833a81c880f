/*
 * A client of a namedipc service in C, written from docs/wire.md alone: service_client NAME.
 *
 * It knows no type of the service, so its fingerprint is zero: it asks the reserved interface, says BIND, calls in JSON,
 * reads a stream of JSON items for which it gives CREDIT, and tells of an ERROR. For any other program: the frames are
 * here, a JSON parser is not.
 */
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define HELLO_BYTES 40
#define HEADER_BYTES 12
#define LARGEST_BODY (1 << 20) /* what our hello accepts */
#define WINDOW_ITEMS 8
#define WINDOW_BYTES 4096

enum kind { CALL = 1, REPLY = 2, ERROR = 3, CANCEL = 4, GOODBYE = 5, SCHEMA = 7, BIND = 8, ITEM = 9, END = 10, CREDIT = 11 };
enum { FLAG_JSON = 4 };
enum { METHOD_STATISTICS = 0xFFFC, METHOD_SCHEMA = 0xFFFD, METHOD_IDENTITY = 0xFFFE, METHOD_PING = 0xFFFF };

struct frame {
	uint8_t  kind, flags;
	uint16_t method;
	uint32_t id, length;
	char    *body; /* with a NUL behind it; of the receiver, until the next frame */
};

static void
fail(const char *what)
{
	perror(what);
	exit(EXIT_FAILURE);
}

/* ------------------------------------------------------------ bytes: everything is little-endian */

static void
put(uint8_t *at, uint64_t value, int bytes)
{
	for (int i = 0; i < bytes; i++) at[i] = (uint8_t)(value >> (8 * i));
}

static uint32_t
get(const uint8_t *at, int bytes)
{
	uint32_t value = 0;

	for (int i = 0; i < bytes; i++) value |= (uint32_t)at[i] << (8 * i);
	return value;
}

static void
send_all(int service, const void *data, size_t length)
{
	const char *at = data;

	while (length > 0) {
		ssize_t sent = send(service, at, length, MSG_NOSIGNAL);
		if (sent < 0) fail("send");
		at += sent;
		length -= (size_t)sent;
	}
}

static void
receive_all(int service, void *data, size_t length)
{
	char *at = data;

	while (length > 0) {
		ssize_t received = recv(service, at, length, 0);
		if (received < 0) fail("recv");
		if (received == 0) {
			fprintf(stderr, "the service went away\n");
			exit(EXIT_FAILURE);
		}
		at += received;
		length -= (size_t)received;
	}
}

/* ------------------------------------------------------------ frames */

static void
send_frame(int service, enum kind kind, uint8_t flags, uint16_t method, uint32_t id, const void *body, uint32_t length)
{
	uint8_t header[HEADER_BYTES];

	put(header, length, 4);
	header[4] = (uint8_t)kind;
	header[5] = flags;
	put(header + 6, method, 2);
	put(header + 8, id, 4);
	send_all(service, header, sizeof(header));
	send_all(service, body, length);
}

static struct frame
receive_frame(int service)
{
	static char body[LARGEST_BODY + 1];
	uint8_t     header[HEADER_BYTES];
	struct frame frame;

	receive_all(service, header, sizeof(header));
	frame.length = get(header, 4);
	frame.kind = header[4];
	frame.flags = header[5];
	frame.method = (uint16_t)get(header + 6, 2);
	frame.id = get(header + 8, 4);
	frame.body = body;
	if (frame.length > LARGEST_BODY) {
		fprintf(stderr, "a frame of %" PRIu32 " bytes\n", frame.length);
		exit(EXIT_FAILURE);
	}
	receive_all(service, body, frame.length);
	body[frame.length] = '\0';

	return frame;
}

/* The next frame, which must be of this kind and this call. */
static struct frame
expect(int service, enum kind kind, uint32_t id)
{
	struct frame frame = receive_frame(service);

	if (frame.kind != kind || frame.id != id) {
		fprintf(stderr, "frame %d of call %" PRIu32 ", not %d: %s\n", frame.kind, frame.id, (int)kind, frame.body);
		exit(EXIT_FAILURE);
	}
	return frame;
}

static void
call(int service, uint16_t method, uint32_t id, const char *arguments)
{
	send_frame(service, CALL, FLAG_JSON, method, id, arguments, (uint32_t)strlen(arguments));
}

/* ------------------------------------------------------------ the conversation */

static int
connect_to(const char *name)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int                service = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (service < 0) fail("socket");
	if (strlen(name) >= sizeof(address.sun_path)) {
		fprintf(stderr, "%s is too long for a socket's name\n", name);
		exit(EXIT_FAILURE);
	}
	strcpy(address.sun_path, name);
	if (connect(service, (struct sockaddr *)&address, sizeof(address)) < 0) fail("connect");
	return service;
}

static void
say_hello(int service)
{
	uint8_t hello[HELLO_BYTES] = "NIPC";

	hello[4] = 1;                      /* version */
	hello[5] = 1;                      /* role: a service is what this is about */
	put(hello + 8, LARGEST_BODY, 4);   /* the longest body accepted here */
	/* from 12 on the fingerprint: 16 zero bytes, which no schema has */
	put(hello + 28, WINDOW_ITEMS, 4);  /* of each stream towards this side */
	put(hello + 32, WINDOW_BYTES, 4);
	send_all(service, hello, sizeof(hello));
}

static void
hear_hello(int service)
{
	uint8_t hello[HELLO_BYTES];

	receive_all(service, hello, sizeof(hello));
	if (memcmp(hello, "NIPC\1\1", 6) != 0) {
		fprintf(stderr, "no service of version 1\n");
		exit(EXIT_FAILURE);
	}
}

/*
 * How many methods the service has, from the text of its schema: an object whose members are the methods, so the
 * members at depth 1 are counted by their colons.
 */
static uint16_t
count_methods(const char *schema)
{
	int  depth = 0, count = 0;
	bool in_text = false;

	for (const char *at = schema; *at != '\0'; at++) {
		if (in_text && *at == '\\' && at[1] != '\0') at++;
		else if (*at == '"') in_text = !in_text;
		else if (in_text) continue;
		else if (*at == '{' || *at == '[') depth++;
		else if (*at == '}' || *at == ']') depth--;
		else if (*at == ':' && depth == 1) count++;
	}
	return (uint16_t)count;
}

/* Each of the service's methods has the same number here. */
static void
bind_methods(int service, uint16_t count)
{
	uint8_t *numbers = malloc(2 * (size_t)count + 1);

	if (numbers == NULL) fail("malloc");
	for (uint16_t i = 0; i < count; i++) put(numbers + 2 * i, i, 2);
	send_frame(service, BIND, 0, 0, 0, numbers, 2 * (uint32_t)count);
	free(numbers);
}

/* Print the items of a stream to its end, and give back what has been taken whenever half of the window is used up. */
static void
print_stream(int service, uint32_t id)
{
	uint32_t items = 0, bytes = 0;

	for (;;) {
		struct frame frame = receive_frame(service);

		if (frame.kind == END && frame.id == id) return;
		if (frame.kind != ITEM || frame.id != id) {
			fprintf(stderr, "frame %d in a stream: %s\n", frame.kind, frame.body);
			exit(EXIT_FAILURE);
		}
		printf("item: %s\n", frame.body);
		items++;
		bytes += frame.length;
		if (items >= WINDOW_ITEMS / 2 || bytes >= WINDOW_BYTES / 2) {
			uint8_t credit[8];

			put(credit, items, 4);
			put(credit + 4, bytes, 4);
			send_frame(service, CREDIT, 0, 0, id, credit, sizeof(credit));
			items = bytes = 0;
		}
	}
}

int
main(int argc, char *argv[])
{
	int      service;
	uint16_t methods;

	if (argc != 2) return EXIT_FAILURE;
	service = connect_to(argv[1]);
	say_hello(service);
	hear_hello(service);
	methods = count_methods(expect(service, SCHEMA, 0).body); /* the fingerprints differ */
	printf("methods: %d\n", methods);

	/* the reserved interface does not wait for BIND */
	call(service, METHOD_PING, 1, "");
	printf("ping: %s\n", expect(service, REPLY, 1).body);
	call(service, METHOD_SCHEMA, 2, "");
	printf("schema: %s\n", expect(service, REPLY, 2).body);

	/* methods are numbered in the order of their names: here 0 is burn, 1 is count, 2 is weigh */
	bind_methods(service, methods);
	call(service, 2, 3, "{\"letter\": \"Ann\"}");
	printf("reply: %s\n", expect(service, REPLY, 3).body);
	call(service, 1, 4, "[100]");
	print_stream(service, 4);
	call(service, 0, 5, "[\"toast\"]");
	printf("error: %s\n", expect(service, ERROR, 5).body);

	send_frame(service, GOODBYE, 0, 0, 0, "", 0);
	close(service);
	return EXIT_SUCCESS;
}
