"""System calls, thin and typed: FIFOs, UNIX sockets, shared memory, locks, watches, processes.

The law of this package: one function a call, plain values in, plain values out; every failure is an OSError
as the kernel gave it, its errno unchanged; every descriptor is close-on-exec from birth and belongs to the
caller; where a kernel lacks a call or an option, the function's docstring says what happens. Nothing here
knows of names, owners or messages, and nothing else in namedipc imports socket, mmap, fcntl, ctypes or
select.

A socket is a `socket.socket`, a mapping an `mmap.mmap`; every other descriptor is an int.
"""

import importlib
from typing import TYPE_CHECKING, Final

from ._diagnostics import access_mode as access_mode
from ._diagnostics import descriptors as descriptors
from ._fifos import make_fifo as make_fifo
from ._fifos import open_fifo_for_reading as open_fifo_for_reading
from ._fifos import open_fifo_for_writing as open_fifo_for_writing
from ._fifos import pipe as pipe
from ._fifos import pipe_capacity as pipe_capacity
from ._fifos import set_blocking as set_blocking
from ._fifos import set_packet_mode as set_packet_mode
from ._fifos import set_pipe_capacity as set_pipe_capacity
from ._fifos import tee as tee
from ._fifos import unread_bytes as unread_bytes
from ._fifos import write_pipe as write_pipe
from ._locks import flock as flock
from ._locks import lock_ofd as lock_ofd
from ._locks import unflock as unflock
from ._locks import unlock_ofd as unlock_ofd
from ._locks import wait_flock as wait_flock
from ._locks import wait_lock_ofd as wait_lock_ofd
from ._memory import Mapping as Mapping
from ._memory import Seal as Seal
from ._memory import add_seals as add_seals
from ._memory import allocate as allocate
from ._memory import create_memfd as create_memfd
from ._memory import keep_heap as keep_heap
from ._memory import lend_mapping as lend_mapping
from ._memory import link_file as link_file
from ._memory import map_shared as map_shared
from ._memory import open_unnamed_file as open_unnamed_file
from ._memory import seals as seals
from ._paths import StrPath as StrPath
from ._processes import open_pidfd as open_pidfd
from ._processes import process_alive as process_alive
from ._processes import process_executable as process_executable
from ._processes import process_start_time as process_start_time
from ._processes import signal_pidfd as signal_pidfd
from ._sockets import Credentials as Credentials
from ._sockets import Socket as Socket
from ._sockets import accept as accept
from ._sockets import adopt_socket as adopt_socket
from ._sockets import bind_at as bind_at
from ._sockets import connect_at as connect_at
from ._sockets import listening_path as listening_path
from ._sockets import peer_credentials as peer_credentials
from ._sockets import peer_groups as peer_groups
from ._sockets import peer_pidfd as peer_pidfd
from ._sockets import receive_descriptors as receive_descriptors
from ._sockets import receive_now as receive_now
from ._sockets import refuse_descriptors as refuse_descriptors
from ._sockets import send as send
from ._sockets import send_descriptors as send_descriptors
from ._sockets import send_now as send_now
from ._sockets import send_pieces as send_pieces
from ._sockets import shutdown as shutdown
from ._sockets import shutdown_write as shutdown_write
from ._sockets import socket_pair as socket_pair
from ._sockets import unix_connect as unix_connect
from ._sockets import unix_listen as unix_listen
from ._sockets import unix_socket as unix_socket
from ._watches import EPOLLERR as EPOLLERR
from ._watches import EPOLLHUP as EPOLLHUP
from ._watches import EPOLLIN as EPOLLIN
from ._watches import EPOLLOUT as EPOLLOUT
from ._watches import EPOLLRDHUP as EPOLLRDHUP
from ._watches import Epoll as Epoll
from ._watches import Poll as Poll
from ._watches import Watch as Watch
from ._watches import WatchEvent as WatchEvent
from ._watches import add_watch as add_watch
from ._watches import close_inotify as close_inotify
from ._watches import create_inotify as create_inotify
from ._watches import eventfd as eventfd
from ._watches import poll_readable as poll_readable
from ._watches import read_watch as read_watch
from ._watches import remove_watch as remove_watch
from ._watches import wait_ready as wait_ready

if TYPE_CHECKING:
    from ._structures import Structure as Structure
    from ._structures import StructureField as StructureField
    from ._structures import structure_fields as structure_fields
    from ._structures import structure_size as structure_size

__all__ = [
    "EPOLLERR",
    "EPOLLHUP",
    "EPOLLIN",
    "EPOLLOUT",
    "EPOLLRDHUP",
    "Credentials",
    "Epoll",
    "Mapping",
    "Poll",
    "Seal",
    "Socket",
    "StrPath",
    "Structure",
    "StructureField",
    "Watch",
    "WatchEvent",
    "accept",
    "access_mode",
    "add_seals",
    "add_watch",
    "adopt_socket",
    "allocate",
    "bind_at",
    "close_inotify",
    "connect_at",
    "create_inotify",
    "create_memfd",
    "descriptors",
    "eventfd",
    "flock",
    "keep_heap",
    "lend_mapping",
    "link_file",
    "listening_path",
    "lock_ofd",
    "make_fifo",
    "map_shared",
    "open_fifo_for_reading",
    "open_fifo_for_writing",
    "open_pidfd",
    "open_unnamed_file",
    "peer_credentials",
    "peer_groups",
    "peer_pidfd",
    "pipe",
    "pipe_capacity",
    "poll_readable",
    "process_alive",
    "process_executable",
    "process_start_time",
    "read_watch",
    "receive_descriptors",
    "receive_now",
    "refuse_descriptors",
    "remove_watch",
    "seals",
    "send",
    "send_descriptors",
    "send_now",
    "send_pieces",
    "set_blocking",
    "set_packet_mode",
    "set_pipe_capacity",
    "shutdown",
    "shutdown_write",
    "signal_pidfd",
    "socket_pair",
    "structure_fields",
    "structure_size",
    "tee",
    "unflock",
    "unix_connect",
    "unix_listen",
    "unix_socket",
    "unlock_ofd",
    "unread_bytes",
    "wait_flock",
    "wait_lock_ofd",
    "wait_ready",
    "write_pipe",
]

_OF_STRUCTURES: Final = frozenset({"Structure", "StructureField", "structure_fields", "structure_size"})


if not TYPE_CHECKING:  # a checker would take any name for one that is there

    def __getattr__(name: str) -> object:
        """Load what needs ctypes when it is first asked for."""
        if name not in _OF_STRUCTURES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value: object = getattr(importlib.import_module("._structures", __name__), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__} - {"importlib", "TYPE_CHECKING", "Final"})
