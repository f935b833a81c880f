"""What the tests of large payloads share: messages with some, what a process has of buffers, and a peer in bytes."""

from __future__ import annotations

import gc
import hashlib
import struct
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from namedipc import lowlevel
from namedipc._protocol.attachments import Span, pack_table
from namedipc._protocol.frames import BUFFER, MESSAGE, PAYLOAD_FLAG, RELEASE, pack_frame
from namedipc._values import Limits

from .channel_support import BytePeer

MIB = 1 << 20
SMALL_POOL = Limits(payload_bytes=4 * MIB)
SEALS = lowlevel.Seal.SHRINK | lowlevel.Seal.GROW | lowlevel.Seal.SEAL

Bytes = npt.NDArray[np.uint8]


@attrs.frozen(eq=False)
class Frame:
    """A message with both kinds of payloads."""

    number: int
    picture: Bytes
    sound: memoryview = attrs.field(factory=lambda: memoryview(b""))


def picture(number: int, size_bytes: int = MIB) -> Bytes:
    """Return an array that is different for each number."""
    return np.full(size_bytes, number % 251, np.uint8)


def digest(data: Bytes | memoryview) -> str:
    """Return a text which is another one as soon as a byte is."""
    return hashlib.sha256(data.tobytes()).hexdigest()


def buffers_mapped(pid: int | str = "self") -> int:
    """How many buffers a process has mapped; this one without what only the garbage collector knows."""
    gc.collect()
    return Path(f"/proc/{pid}/maps").read_text().count("namedipc payloads")


def buffers_open(pid: int) -> int:
    """How many descriptors of buffers a process has, those of its mappings included."""
    return sum("namedipc payloads" in target for target in lowlevel.descriptors(pid).values())


def memfd(size_bytes: int, seals: lowlevel.Seal = SEALS) -> int:
    """Make what can be announced as a buffer."""
    fd = lowlevel.create_memfd("a test's buffer", size_bytes)
    lowlevel.add_seals(fd, seals)
    return fd


def announcement(buffer: int, size_bytes: int) -> bytes:
    """Return the frame that announces a buffer; its descriptor has to come with it."""
    return pack_frame(BUFFER, b"\x01" + struct.pack("<Q", size_bytes), flags=16, id=buffer)


def release(*buffers: int) -> bytes:
    """Return the frame that releases buffers."""
    return pack_frame(RELEASE, struct.pack(f"<{len(buffers)}I", *buffers))


def message(head: bytes, buffer: int, spans: list[Span]) -> bytes:
    """Return a message whose payloads are in a buffer."""
    return pack_frame(MESSAGE, pack_table(buffer, spans) + head, flags=PAYLOAD_FLAG)


def say(peer: BytePeer[Any], data: bytes, *fds: int) -> None:
    """Send bytes, and with the first of them descriptors."""
    assert lowlevel.send_descriptors(peer.socket, data, fds) == len(data)
