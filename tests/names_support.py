"""What the tests of names share: names of somebody else, and a directory which everybody may look into."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

NOBODY = 65_534  # who root becomes in `without_privileges`
STRANGER = NOBODY if os.geteuid() == 0 else os.geteuid() + 1  # neither the user who runs the tests nor root


def give_away(path: Path, patch: pytest.MonkeyPatch) -> None:
    """Give a file to somebody else; where that takes root, let this process take itself for somebody else."""
    if os.geteuid() == 0:
        os.chown(path, STRANGER, STRANGER, follow_symlinks=False)
    else:
        patch.setattr(os, "geteuid", lambda: STRANGER)


@contextmanager
def shared_directory(mode: int) -> Iterator[Path]:
    """Make a directory which an ordinary user can reach too, as `tmp_path` of root cannot be."""
    directory = Path(tempfile.mkdtemp(prefix="namedipc-test-"))
    directory.chmod(mode)
    try:
        yield directory
    finally:
        directory.chmod(0o755)
        shutil.rmtree(directory)


def mode_of(path: Path) -> int:
    """Return the permissions of what stands there, links not followed."""
    return stat.S_IMODE(os.lstat(path).st_mode)


def make_file(path: Path) -> None:
    """Make a regular file with something in it."""
    path.write_text("precious")


def make_link(path: Path) -> None:
    """Make a symbolic link, to nowhere."""
    path.symlink_to("nowhere")
