"""A browser: a manager and its tabs, one process each, joined by sockets, a pipe and shared memory.

The manager makes for each tab two sockets, a pipe and a memfd, and forks it. The tab keeps what it needs of
them, draws a bitmap into the memory when a click comes through a socket, and rings through the pipe. The
manager shows the bitmap. For a tab that has to be started again the manager keeps both ends of the sockets.

Prints for each process what `ls -l /proc/PID/fd` shows, as the chapter does: the ids in brackets, and the
inode of the memfd, are the same on both sides. Then the bitmap of each tab.

    $ ls -l /proc/8151/fd/
    0 -> /dev/null
    1 -> pipe:[104402]
    2 -> /dev/null
    4 -> socket:[107464]
    6 -> socket:[107466]
    8 -> pipe:[110438]
    9 -> /memfd:mozilla-ipc (deleted) [1033]
"""

from __future__ import annotations

import os

import attrs
from _children import Children, run, say, stage

from namedipc import lowlevel

TABS = 2
WIDTH, HEIGHT = 16, 4


@attrs.frozen
class Link:
    """What one tab and the manager share. Of each pair the first end is the manager's."""

    input: tuple[lowlevel.Socket, lowlevel.Socket]
    control: tuple[lowlevel.Socket, lowlevel.Socket]
    drawn: tuple[int, int]
    bitmap: int

    def close(self) -> None:
        for end in (*self.input, *self.control):
            end.close()
        for descriptor in (*self.drawn, self.bitmap):
            os.close(descriptor)


def make_link() -> Link:
    """Make the means of communication before the fork, so that the tab inherits them."""
    return Link(
        input=lowlevel.socket_pair(),
        control=lowlevel.socket_pair(),
        drawn=lowlevel.pipe(),
        bitmap=lowlevel.create_memfd("mozilla-ipc", WIDTH * HEIGHT),
    )


def tab(number: int, links: list[Link]) -> None:
    """Keep one's own ends only; then draw at every click until the manager hangs up."""
    for other in links[:-1]:
        other.close()  # a tab cannot reach into another
    link = links[-1]
    for theirs in (link.input[0], link.control[0]):
        theirs.close()
    os.close(link.drawn[0])
    nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    os.dup2(nothing, 0)
    os.close(nothing)

    link.control[1].recv(1)
    say(listing(f"tab {number}"))
    with lowlevel.map_shared(link.bitmap, WIDTH * HEIGHT, writable=True) as bitmap:
        while click := link.input[1].recv(2):
            column, row = click
            bitmap[:] = b"." * len(bitmap)
            bitmap[row * WIDTH + column] = ord("#")
            lowlevel.write_pipe(link.drawn[1], b"!")


def listing(who: str) -> str:
    """What `ls -l /proc/PID/fd/` shows of this process, without the descriptor that reads it."""
    lines = [f"$ ls -l /proc/{os.getpid()}/fd/        # {who}"]
    for number, target in lowlevel.descriptors().items():
        inode = f" [{os.fstat(number).st_ino}]" if target.startswith("/memfd:") else ""
        lines.append(f"{number} -> {target}{inode}")
    return "\n".join([*lines, ""])


def show(number: int, link: Link) -> None:
    """Click into a tab, wait until it has drawn, and show what it drew."""
    lowlevel.send(link.input[0], bytes([3 * number, number]))
    os.read(link.drawn[0], 1)
    say(f"tab {number} has drawn:")
    with lowlevel.map_shared(link.bitmap, WIDTH * HEIGHT, writable=False) as bitmap:
        for row in range(HEIGHT):
            say(bitmap[row * WIDTH : (row + 1) * WIDTH].decode())


def manage(children: Children, links: list[Link]) -> None:
    """Be the browser's manager: start the tabs, list what all share, and show each tab."""
    for number in range(1, TABS + 1):
        links.append(make_link())
        children.fork(tab, number, links)
    say(listing("the manager"))
    for number, link in enumerate(links, start=1):
        lowlevel.send(link.control[0], b"!")  # list your descriptors, one tab after the other
        show(number, link)


def main() -> None:
    links: list[Link] = []
    with stage() as (_, children):
        try:
            manage(children, links)
            for link in links:
                lowlevel.shutdown_write(link.input[0])  # the end of the input, also for who shares the socket
            children.wait()
        finally:
            for link in links:
                link.close()


if __name__ == "__main__":
    run(main)
