"""Typed IPC between processes on one machine, named by a filesystem path.

A name is a value: a path and a type. A verb opens it, by `async with` in trio and by `with` in ordinary blocking code:

    Service(path, Interface)       calls, each client answered on its own connection: serve, run, connect
    Channel(path, Message)         whole messages both ways, a connection a peer: listen, connect
    Fifo(path, Message)            whole messages one way, each to exactly one reader: writer, reader
    Broadcast(path, Message)       every message to every reader, in shared memory: writer, reader
    SharedRegion(path, Value)      the latest value, in shared memory: create, open, view
    SharedStruct(path, Structure)  the memory itself, a C structure: create, open; `namedipc.numpy` has SharedArray
    RawChannel(path), RawFifo(path)   bytes as they are, for programs that know nothing of namedipc

Importing this loads nothing else: each name is loaded when it is first asked for, and trio by what needs it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from . import lowlevel as lowlevel
    from ._broadcast import Broadcast as Broadcast
    from ._broadcast_blocking import BlockingBroadcastReader as BlockingBroadcastReader
    from ._broadcast_blocking import BlockingBroadcastWriter as BlockingBroadcastWriter
    from ._broadcast_trio import BroadcastReader as BroadcastReader
    from ._broadcast_trio import BroadcastWriter as BroadcastWriter
    from ._call import Call as Call
    from ._call import Trace as Trace
    from ._call import current_call as current_call
    from ._channel import Channel as Channel
    from ._channel import ChannelEnd as ChannelEnd
    from ._channel import RawChannel as RawChannel
    from ._channel_blocking import BlockingConnection as BlockingConnection
    from ._channel_blocking import BlockingListener as BlockingListener
    from ._channel_trio import Connection as Connection
    from ._channel_trio import Listener as Listener
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
    from ._fifo_trio import FifoReader as FifoReader
    from ._fifo_trio import FifoWriter as FifoWriter
    from ._fifo_trio import RawFifoReader as RawFifoReader
    from ._fifo_trio import RawFifoWriter as RawFifoWriter
    from ._framing import Framing as Framing
    from ._mapped_blocking import BlockingMemory as BlockingMemory
    from ._mapped_trio import Memory as Memory
    from ._marks import allow as allow
    from ._marks import idempotent as idempotent
    from ._marks import in_thread as in_thread
    from ._marks import one_way as one_way
    from ._marks import raises as raises
    from ._name import Name as Name
    from ._names import runtime_path as runtime_path
    from ._opening import Opening as Opening
    from ._raw_channel_blocking import BlockingRawConnection as BlockingRawConnection
    from ._raw_channel_trio import RawConnection as RawConnection
    from ._region import SharedRegion as SharedRegion
    from ._region_blocking import BlockingRegion as BlockingRegion
    from ._region_blocking import BlockingRegionView as BlockingRegionView
    from ._region_blocking import Draft as Draft
    from ._region_trio import Region as Region
    from ._region_trio import RegionView as RegionView
    from ._service import Service as Service
    from ._service_blocking import BlockingServer as BlockingServer
    from ._shells.trio_service import Server as Server
    from ._statistics import ConnectionStatistics as ConnectionStatistics
    from ._statistics import ServiceStatistics as ServiceStatistics
    from ._streams import aclosing as aclosing
    from ._streams import feed as feed
    from ._struct import SharedStruct as SharedStruct
    from ._values import Allow as Allow
    from ._values import IfExists as IfExists
    from ._values import Limits as Limits
    from ._values import Peer as Peer
    from ._values import StrPath as StrPath
    from ._values import anyone as anyone
    from ._values import groups as groups
    from ._values import same_user as same_user
    from ._values import users as users
    from ._version import __version__ as __version__

_HOMES: Final = {
    "__version__": "_version",
    "aclosing": "_streams",
    "allow": "_marks",
    "Allow": "_values",
    "anyone": "_values",
    "BlockingBroadcastReader": "_broadcast_blocking",
    "BlockingBroadcastWriter": "_broadcast_blocking",
    "BlockingClient": "_client_blocking",
    "BlockingConnection": "_channel_blocking",
    "BlockingFifoReader": "_fifo_blocking",
    "BlockingFifoWriter": "_fifo_blocking",
    "BlockingListener": "_channel_blocking",
    "BlockingMemory": "_mapped_blocking",
    "BlockingRawConnection": "_raw_channel_blocking",
    "BlockingRawFifoReader": "_fifo_blocking",
    "BlockingRawFifoWriter": "_fifo_blocking",
    "BlockingRegion": "_region_blocking",
    "BlockingRegionView": "_region_blocking",
    "BlockingServer": "_service_blocking",
    "BlockingStream": "_client_blocking",
    "Broadcast": "_broadcast",
    "BroadcastReader": "_broadcast_trio",
    "BroadcastWriter": "_broadcast_trio",
    "Busy": "_errors",
    "Call": "_call",
    "Channel": "_channel",
    "ChannelEnd": "_channel",
    "Client": "_client",
    "Closed": "_errors",
    "Connection": "_channel_trio",
    "ConnectionLost": "_errors",
    "ConnectionStatistics": "_statistics",
    "current_call": "_call",
    "DeclarationError": "_errors",
    "Draft": "_region_blocking",
    "EndOfChannel": "_errors",
    "Fd": "_fd",
    "feed": "_streams",
    "Fifo": "_fifo",
    "FifoReader": "_fifo_trio",
    "FifoWriter": "_fifo_trio",
    "Framing": "_framing",
    "groups": "_values",
    "HasFileno": "_fd",
    "idempotent": "_marks",
    "IfExists": "_values",
    "in_thread": "_marks",
    "InvalidMessage": "_errors",
    "IPCError": "_errors",
    "LimitReached": "_errors",
    "Limits": "_values",
    "Listener": "_channel_trio",
    "Memory": "_mapped_trio",
    "Name": "_name",
    "NameNotFound": "_errors",
    "NameTaken": "_errors",
    "NoServer": "_errors",
    "NotAllowed": "_errors",
    "one_way": "_marks",
    "Opening": "_opening",
    "OwnerDied": "_errors",
    "Peer": "_values",
    "ProtocolError": "_errors",
    "raises": "_marks",
    "RawChannel": "_channel",
    "RawConnection": "_raw_channel_trio",
    "RawFifo": "_fifo",
    "RawFifoReader": "_fifo_trio",
    "RawFifoWriter": "_fifo_trio",
    "Region": "_region_trio",
    "RegionView": "_region_trio",
    "RemoteError": "_errors",
    "runtime_path": "_names",
    "same_user": "_values",
    "SchemaMismatch": "_errors",
    "Server": "_shells.trio_service",
    "Service": "_service",
    "ServiceStatistics": "_statistics",
    "SharedRegion": "_region",
    "SharedStruct": "_struct",
    "StrPath": "_values",
    "TimedOut": "_errors",
    "TooLarge": "_errors",
    "Trace": "_call",
    "users": "_values",
    "WouldBlock": "_errors",
    "WrongKind": "_errors",
}
"""Where each name lives."""


if not TYPE_CHECKING:  # a checker would take any name for one that is there

    def __getattr__(name: str) -> object:
        if name == "lowlevel":
            return importlib.import_module(".lowlevel", __name__)
        module = _HOMES.get(name)
        if module is None:
            raise AttributeError(f"module 'namedipc' has no attribute {name!r}")
        value: object = getattr(importlib.import_module(f".{module}", __name__), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES, "lowlevel"} - {"importlib", "TYPE_CHECKING", "Final", "annotations"})
