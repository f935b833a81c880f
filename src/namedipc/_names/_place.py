"""A place: an opened parent directory, and a name in it.

The law: a path is looked up once. Everything after that happens relative to the directory's descriptor, so
that a rename of a parent, a `chdir` or a path longer than `sun_path` (108 bytes) or PATH_MAX changes nothing.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Literal, TypeAlias, final

from .._errors import DeclarationError, NameNotFound, NotAllowed
from .._values import StrPath
from ._trouble import kind_of, translate

Kind: TypeAlias = Literal["socket", "fifo", "file"]
"""What a name is in the filesystem."""

LONGEST_COMPONENT_BYTES: Final = 255
"""NAME_MAX of Linux filesystems: one part of a path."""

LONGEST_NAME_BYTES: Final = LONGEST_COMPONENT_BYTES - len("..lock")
"""A name which needs a lock file `.NAME.lock` beside it."""

RELOCATION: Final = "NAMEDIPC_RELOCATION"
"""An environment variable, which children inherit: the directory under which every relative path is looked up."""

_DIRECTORY: Final = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC


@final
class Place:
    """An opened parent directory and a name in it. Close it, or leave it by `with`."""

    __slots__ = ("directory_fd", "name", "path")

    def __init__(self, path: StrPath, *, make_directory: bool = False) -> None:
        """Open the parent.

        Args:
            path: The name, relative to the working directory of now; see `located`.
            make_directory: Make what is missing of the user's private runtime directory.

        Raises:
            NameNotFound: The directory is missing, or is none.
            NotAllowed: It may not be entered, or the runtime directory belongs to somebody else.
            DeclarationError: The path cannot be a name, or is too long for the filesystem.
        """
        check_path(path)
        self.path: Final = absolute(path)
        directory, name = os.path.split(self.path.rstrip("/"))
        self.name: Final = name
        _prepare_runtime_directory(directory, make=make_directory)
        try:
            self.directory_fd: int = _open_directory(os.path.dirname(located(path).rstrip("/")) or ".")
        except FileNotFoundError as error:
            raise NameNotFound(f"{self.path}: its directory is missing; make it first: mkdir -p {directory}") from error
        except OSError as error:
            raise translate(error, self.path, "open its directory") from error

    def __enter__(self) -> Place:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None, /
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the directory. Safe to repeat."""
        fd, self.directory_fd = self.directory_fd, -1
        if fd >= 0:
            os.close(fd)

    def status(self, name: str | None = None) -> os.stat_result | None:
        """Return what stands under the name, or another one beside it, links not followed; None: nothing."""
        try:
            return os.stat(name or self.name, dir_fd=self.directory_fd, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def open(self, name: str, flags: int, mode: int = 0o600) -> int:
        """Open a name beside the place; never through a link, never inheritable, never waiting."""
        return os.open(name, flags | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, mode, dir_fd=self.directory_fd)

    def unlink(self, name: str) -> None:
        """Remove a name; it may be gone already."""
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self.directory_fd)

    def is_same(self, name: str, fd: int) -> bool:
        """Whether `name` still stands for the open file `fd`; no other file has its inode number now."""
        status = self.status(name)
        return status is not None and os.path.samestat(status, os.fstat(fd))


def check_path(path: object, *, kind: Kind = "fifo") -> None:
    """Refuse what cannot be a name, before anything is opened.

    Raises:
        DeclarationError: Neither str nor PathLike of str; empty; with a NUL; not a name but a directory; with
            a part of more than 255 bytes, or a last part which leaves no room for the name of its lock file.
    """
    text = os.fspath(path) if isinstance(path, os.PathLike) else path
    if not isinstance(text, str):
        raise DeclarationError(f"a path is a str or a PathLike[str], not {type(text).__name__} ({text!r})")
    if not text:
        raise DeclarationError("a path may not be empty; give a file name such as 'kitchen'")
    if "\0" in text:
        raise DeclarationError(f"{text!r}: a path may not have a NUL character in it; remove it")
    parts = text.rstrip("/").split("/")
    if parts[-1] in {"", ".", ".."}:
        raise DeclarationError(f"{text!r} is a directory, not a name; add a file name")
    for part in parts:
        _check_length(text, part, LONGEST_COMPONENT_BYTES)
    if kind != "fifo":
        _check_length(text, parts[-1], LONGEST_NAME_BYTES)


def _check_length(path: str, part: str, limit_bytes: int) -> None:
    try:
        length = len(os.fsencode(part))
    except UnicodeEncodeError as error:
        raise DeclarationError(f"{path!r}: a character of it has no {error.encoding} form; choose another") from error
    if length > limit_bytes:
        why = "" if limit_bytes == LONGEST_COMPONENT_BYTES else ", for the lock file beside it has a longer name"
        raise DeclarationError(
            f"{path!r}: a part has {length} bytes, {limit_bytes} are allowed{why}; choose a shorter one"
        )


def check_mode(mode: int) -> None:
    """Refuse what is not a set of permission bits."""
    if not 0 <= mode <= 0o777:
        raise DeclarationError(f"mode={mode:#o}: permissions are between 0 and 0o777, for example 0o600 or 0o660")


def absolute(path: StrPath) -> str:
    """Return the path from the root on, `..` left as it is: only the kernel knows what a link's parent is."""
    text = located(path)
    try:
        return text if text.startswith("/") else os.path.join(os.getcwd(), text)
    except FileNotFoundError as error:
        raise NameNotFound(f"{text}: the working directory has been removed; change it, or give a full path") from error


def located(path: StrPath) -> str:
    """Return the path that is opened: as given, or where relative ones have been relocated under that directory.

    There `..` does not lead out of the directory, as it does not lead out of the root.
    """
    text = os.fspath(path)
    base = os.environ.get(RELOCATION)
    return text if text.startswith("/") or not base else base.rstrip("/") + os.path.normpath(f"/{text}")


def _open_directory(path: str) -> int:
    try:
        return os.open(path, _DIRECTORY)
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
    # Longer than PATH_MAX (4096 bytes): one part after the other.
    fd = os.open("/" if path.startswith("/") else ".", _DIRECTORY)
    for part in filter(None, path.split("/")):
        try:
            deeper = os.open(part, _DIRECTORY, dir_fd=fd)
        finally:
            os.close(fd)
        fd = deeper
    return fd


# ---------------------------------------------------------------- the private directory of the user


def runtime_path(*parts: str) -> Path:
    """Return a private per-user path, the same in every process of the user.

    Pure: makes no directory; the verb which makes the name does.

    Args:
        parts: Directories and the name below the runtime directory, for example `"shop", "kitchen"`.

    Returns:
        A path below `$XDG_RUNTIME_DIR`, `/run/user/UID` or `/tmp/namedipc-UID`: the first which is private.

    Raises:
        DeclarationError: A part leads out of the directory.
    """
    for part in parts:
        if part.startswith("/") or ".." in part.split("/"):
            raise DeclarationError(f"runtime_path: {part!r} leads out of the runtime directory; give relative parts")
    return Path(runtime_directory(), *parts)


def runtime_directory() -> str:
    """Return the directory of the user's names: the first of three which is private. Pure: makes and changes
    nothing.

    Source: XDG Base Directory Specification, "XDG_RUNTIME_DIR".
    """
    given = os.environ.get("XDG_RUNTIME_DIR", "").rstrip("/")
    for candidate in (given, _system_directory()):
        if candidate.startswith("/") and _trouble_with_private(candidate) is None:
            return candidate
    return _fallback_directory()


def make_private_directory(path: StrPath) -> None:
    """Make a directory of mode 0700, or check that the one which is there is private.

    Raises:
        NotAllowed: It is a link, belongs to somebody else, or others may enter it.
        NameNotFound: Its own parent is missing.
    """
    text = os.fspath(path)
    try:
        os.mkdir(text, 0o700)
        os.chmod(text, 0o700)  # the umask may have taken the owner's own bits
    except FileExistsError:
        pass
    except OSError as error:
        raise translate(error, text, "make the directory") from error
    trouble = _trouble_with_private(text)
    if trouble is not None:
        raise NotAllowed(
            f"{text}: {trouble}, so that names in it would not be safe; remove it, "
            "or set XDG_RUNTIME_DIR to a directory of yours with mode 0700"
        )


def _system_directory() -> str:
    return f"/run/user/{os.geteuid()}"  # made by systemd-logind


def _fallback_directory() -> str:
    return f"/tmp/namedipc-{os.geteuid()}"


def _trouble_with_private(path: str) -> str | None:
    try:
        status = os.lstat(path)
    except OSError as error:
        return error.strerror
    if not stat.S_ISDIR(status.st_mode):
        return f"it is {kind_of(status)}"
    if status.st_uid != os.geteuid():
        return f"it belongs to uid {status.st_uid}"
    mode = stat.S_IMODE(status.st_mode)
    return None if mode == 0o700 else f"its mode is {mode:#o}, not 0o700"


def _prepare_runtime_directory(directory: str, *, make: bool) -> None:
    base = runtime_directory()
    inner = directory[len(base) :].split("/")
    if not f"{directory}/".startswith(f"{base}/") or ".." in inner:
        return
    if base == _fallback_directory() and (make or os.path.lexists(base)):
        make_private_directory(base)
    if not make:
        return
    for part in filter(None, inner):
        base = f"{base}/{part}"
        if not os.path.lexists(base):
            make_private_directory(base)
