"""What the tests of lowlevel share: errors by their number, the process's mask and user, an older kernel."""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import attrs
import pytest

CHILD_SECONDS = 30


@contextmanager
def fails_with(code: int, *, filename: str | None = None) -> Iterator[None]:
    """Check that the body raises the OSError of this errno, and which file it names."""
    try:
        yield
    except OSError as error:
        raised = error
    else:
        pytest.fail(f"{errno.errorcode[code]} was not raised")
    assert raised.errno == code
    assert filename is None or raised.filename == filename


@contextmanager
def umask(mask: int) -> Iterator[None]:
    """Run the body under another umask."""
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


@contextmanager
def without_privileges() -> Iterator[None]:
    """Run the body as an ordinary user, which it is already unless the tests run as root."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65_534)
    try:
        yield
    finally:
        os.seteuid(0)


def run_python(script: str, *arguments: str) -> str:
    """Run a script in a process of its own to its end, and return what it has printed.

    It can import this module, as `tests.lowlevel_support`.
    """
    path = [str(Path(__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        stdout=subprocess.PIPE,
        timeout=CHILD_SECONDS,
        check=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path)},
    )
    return done.stdout


@attrs.frozen
class Refusal:
    """A system call that fails where one argument has this value, or any of these bits."""

    call: str
    error: int
    argument: int
    value: int = 0
    bits: int = 0


OLD_KERNEL = (
    Refusal("setsockopt", errno.ENOPROTOOPT, argument=2, value=83),  # SO_PASSRIGHTS came with 6.16
    Refusal("getsockopt", errno.ENOPROTOOPT, argument=2, value=77),  # SO_PEERPIDFD with 6.5
    Refusal("memfd_create", errno.EINVAL, argument=1, bits=8),  # MFD_NOEXEC_SEAL with 6.3
    Refusal("pwritev2", errno.EOPNOTSUPP, argument=5, bits=0x100),  # RWF_NOSIGNAL with 6.18
)
"""What Linux 5.10 does not know, refused as it refuses it."""

_CALLS = {
    "x86_64": {"setsockopt": 54, "getsockopt": 55, "fchmod": 91, "memfd_create": 319, "pwritev2": 328},
    "aarch64": {"setsockopt": 208, "getsockopt": 209, "fchmod": 52, "memfd_create": 279, "pwritev2": 287},
}
_LOAD, _EQUAL, _ANY_BIT, _RETURN = 0x20, 0x15, 0x45, 0x06  # <linux/bpf_common.h>
_ALLOW, _FAIL = 0x7FFF0000, 0x00050000  # <linux/seccomp.h>


def can_refuse() -> bool:
    """Whether the numbers of the system calls are known for this machine."""
    return platform.machine() in _CALLS


needs_refusals = pytest.mark.skipif(
    not can_refuse(), reason=f"no table of system calls for {platform.machine()}, to play an older kernel"
)


def refuse(refusals: Sequence[Refusal]) -> None:
    """Make system calls of this process fail from now on, by a seccomp filter. Source: seccomp(2).

    For child processes only: there is no way back.
    """
    numbers = _CALLS[platform.machine()]
    program = b"".join(_instructions(numbers[refusal.call], refusal) for refusal in refusals)
    program += _instruction(_RETURN, _ALLOW)
    code = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("HP", len(program) // 8, ctypes.addressof(code))
    libc = ctypes.CDLL(None, use_errno=True)
    zero = ctypes.c_ulong(0)
    assert libc.prctl(38, ctypes.c_ulong(1), zero, zero, zero) == 0  # PR_SET_NO_NEW_PRIVS
    installed = libc.prctl(22, ctypes.c_ulong(2), ctypes.c_char_p(header), zero, zero)  # PR_SET_SECCOMP
    assert installed == 0, os.strerror(ctypes.get_errno())


def _instructions(number: int, refusal: Refusal) -> bytes:
    fail = _instruction(_RETURN, _FAIL | refusal.error)
    load_number = _instruction(_LOAD, 0)
    # struct seccomp_data: the arguments are 64-bit words from offset 16; their low half comes first here.
    load_argument = _instruction(_LOAD, 16 + 8 * refusal.argument)
    compare = _ANY_BIT if refusal.bits else _EQUAL
    return (
        load_number
        + _instruction(_EQUAL, number, if_false=3)
        + load_argument
        + _instruction(compare, refusal.bits or refusal.value, if_false=1)
        + fail
    )


def _instruction(code: int, value: int, *, if_false: int = 0) -> bytes:
    return struct.pack("HBBI", code, 0, if_false, value)
