"""Domain sockets: a server with a descriptor of its own for each client.

The chapter's program: the server makes the socket `pennys_channel`, two clients connect to it, each sends a
message and gets that very message back. Where the chapter sleeps a second until the socket is there, the
server says so through a pipe.

Prints what server and clients print in the chapter; pids, descriptors and the order of lines vary:

    1. Client 8151 connected to server.
    2. Client 8151 request sent message to server.
    Server: New client connected with new file descriptor 7.
    Server received message (sz 36): "Citizen 8151: Penny for Pawsident!". Replying!
    3. Client 8151 reply received from server: Citizen 8151: Penny for Pawsident!
"""

from __future__ import annotations

import os
from pathlib import Path

from _children import run, say, stage

from namedipc import lowlevel

CLIENTS = 2
MAX_BUFFER_BYTES = 128


def server(clients: int, path: Path, ready: int) -> None:
    """Serve so many clients, one after the other."""
    listener = lowlevel.unix_listen(path)
    os.write(ready, b"!")
    for _ in range(clients):
        # A descriptor for this client only: what domain sockets have and FIFOs lack.
        client = lowlevel.accept(listener)
        say(f"Server: New client connected with new file descriptor {client.fileno()}.")
        message = client.recv(MAX_BUFFER_BYTES - 1)
        say(f'Server received message (sz {len(message)}): "{as_text(message)}". Replying!')
        lowlevel.send(client, message)
        client.close()
    listener.close()
    path.unlink()


def client(path: Path) -> None:
    """Send one message and print the reply."""
    server = lowlevel.unix_connect(path)
    say(f"1. Client {os.getpid()} connected to server.")
    message = f"Citizen {os.getpid()}: Penny for Pawsident!\0".encode()
    lowlevel.send(server, message)
    say(f"2. Client {os.getpid()} request sent message to server.")
    reply = server.recv(len(message))
    say(f"3. Client {os.getpid()} reply received from server: {as_text(reply)}")
    server.close()


def as_text(message: bytes) -> str:
    """What C's `%s` prints: up to the first NUL."""
    return message.split(b"\0")[0].decode()


def main() -> None:
    with stage() as (directory, children):
        path = directory / "pennys_channel"
        is_ready, ready = lowlevel.pipe()
        children.fork(server, CLIENTS, path, ready)
        os.read(is_ready, 1)  # wait for the server to create the domain socket
        for _ in range(CLIENTS):
            children.fork(client, path)
        children.wait()
        os.close(is_ready)
        os.close(ready)


if __name__ == "__main__":
    run(main)
