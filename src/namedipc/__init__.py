"""Typed IPC between processes on one machine, named by a filesystem path.

A name is a value: a path and a type. A verb opens it, by `async with` in trio and by `with` in ordinary blocking code:

    Service(path, Interface)       calls, each client answered on its own connection: serve, run, connect
    Channel(path, Message)         whole messages both ways, a connection a peer: listen, connect
    Fifo(path, Message)            whole messages one way, each to exactly one reader: writer, reader
    Broadcast(path, Message)       every message to every reader, in shared memory: writer, reader
    SharedRegion(path, Value)      the latest value, in shared memory: create, open, view
    SharedStruct(path, Structure)  the memory itself, a C structure: create, open; `namedipc.numpy` has SharedArray
    RawChannel(path), RawFifo(path)   bytes as they are, for programs that know nothing of namedipc

Importing this does not import trio: what needs it is loaded when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from . import lowlevel as lowlevel
from ._broadcast import Broadcast as Broadcast
from ._broadcast_blocking import BlockingBroadcastReader as BlockingBroadcastReader
from ._broadcast_blocking import BlockingBroadcastWriter as BlockingBroadcastWriter
from ._call import Call as Call
from ._call import Trace as Trace
from ._call import current_call as current_call
from ._channel import Channel as Channel
from ._channel import ChannelEnd as ChannelEnd
from ._channel import RawChannel as RawChannel
from ._channel_blocking import BlockingConnection as BlockingConnection
from ._channel_blocking import BlockingListener as BlockingListener
from ._client import Client as Client
from ._client_blocking import BlockingClient as BlockingClient
from ._client_blocking import BlockingStream as BlockingStream
from ._errors import Busy as Busy
from ._errors import Closed as Closed
from ._errors import ConnectionLost as ConnectionLost
from ._errors import DeclarationError as DeclarationError
from ._errors import EndOfChannel as EndOfChannel
from ._errors import InvalidMessage as InvalidMessage
from ._errors import IPCError as IPCError
from ._errors import LimitReached as LimitReached
from ._errors import NameNotFound as NameNotFound
from ._errors import NameTaken as NameTaken
from ._errors import NoServer as NoServer
from ._errors import NotAllowed as NotAllowed
from ._errors import OwnerDied as OwnerDied
from ._errors import ProtocolError as ProtocolError
from ._errors import RemoteError as RemoteError
from ._errors import SchemaMismatch as SchemaMismatch
from ._errors import TimedOut as TimedOut
from ._errors import TooLarge as TooLarge
from ._errors import WouldBlock as WouldBlock
from ._errors import WrongKind as WrongKind
from ._fd import Fd as Fd
from ._fd import HasFileno as HasFileno
from ._fifo import Fifo as Fifo
from ._fifo import RawFifo as RawFifo
from ._fifo_blocking import BlockingFifoReader as BlockingFifoReader
from ._fifo_blocking import BlockingFifoWriter as BlockingFifoWriter
from ._fifo_blocking import BlockingRawFifoReader as BlockingRawFifoReader
from ._fifo_blocking import BlockingRawFifoWriter as BlockingRawFifoWriter
from ._mapped_blocking import BlockingMemory as BlockingMemory
from ._marks import allow as allow
from ._marks import idempotent as idempotent
from ._marks import in_thread as in_thread
from ._marks import one_way as one_way
from ._marks import raises as raises
from ._name import Name as Name
from ._names import runtime_path as runtime_path
from ._opening import Opening as Opening
from ._raw_channel_blocking import BlockingRawConnection as BlockingRawConnection
from ._region import SharedRegion as SharedRegion
from ._region_blocking import BlockingRegion as BlockingRegion
from ._region_blocking import BlockingRegionView as BlockingRegionView
from ._region_blocking import Draft as Draft
from ._service import Service as Service
from ._service_blocking import BlockingServer as BlockingServer
from ._streams import aclosing as aclosing
from ._streams import feed as feed
from ._struct import SharedStruct as SharedStruct
from ._values import Allow as Allow
from ._values import ConnectionStatistics as ConnectionStatistics
from ._values import IfExists as IfExists
from ._values import Limits as Limits
from ._values import Peer as Peer
from ._values import ServiceStatistics as ServiceStatistics
from ._values import StrPath as StrPath
from ._values import anyone as anyone
from ._values import groups as groups
from ._values import same_user as same_user
from ._values import users as users
from ._version import __version__ as __version__

if TYPE_CHECKING:
    from ._broadcast_trio import BroadcastReader as BroadcastReader
    from ._broadcast_trio import BroadcastWriter as BroadcastWriter
    from ._channel_trio import Connection as Connection
    from ._channel_trio import Listener as Listener
    from ._fifo_trio import FifoReader as FifoReader
    from ._fifo_trio import FifoWriter as FifoWriter
    from ._fifo_trio import RawFifoReader as RawFifoReader
    from ._fifo_trio import RawFifoWriter as RawFifoWriter
    from ._mapped_trio import Memory as Memory
    from ._raw_channel_trio import RawConnection as RawConnection
    from ._region_trio import Region as Region
    from ._region_trio import RegionView as RegionView
    from ._shells.trio_service import Server as Server

# What lives in a module that imports trio: loaded when it is first asked for.
_IN_TRIO = {
    "BroadcastReader": "_broadcast_trio",
    "BroadcastWriter": "_broadcast_trio",
    "Connection": "_channel_trio",
    "FifoReader": "_fifo_trio",
    "FifoWriter": "_fifo_trio",
    "Listener": "_channel_trio",
    "Memory": "_mapped_trio",
    "RawConnection": "_raw_channel_trio",
    "RawFifoReader": "_fifo_trio",
    "RawFifoWriter": "_fifo_trio",
    "Region": "_region_trio",
    "RegionView": "_region_trio",
    "Server": "_shells.trio_service",
}


def __getattr__(name: str) -> object:
    module = _IN_TRIO.get(name)
    if module is None:
        raise AttributeError(f"module 'namedipc' has no attribute {name!r}")
    value: object = getattr(importlib.import_module(f".{module}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_IN_TRIO} - {"importlib", "TYPE_CHECKING", "annotations"})
