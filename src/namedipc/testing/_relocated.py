"""Relative names lie elsewhere for a while, in this process and in the children it starts."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from .. import _names
from .._errors import NameNotFound
from .._values import StrPath


def relocated(directory: StrPath, /) -> AbstractContextManager[None]:
    """Inside: every relative name of this process and of the children it starts lies under `directory`.

    What is looked up there is what a verb opens, and `exists` and `remove`; a name's `path` stays as it was given.
    Absolute paths stay where they are, `runtime_path` among them. A name that is open keeps its place. It holds for the
    whole process, every thread and task, and children learn of it from their environment.

    Args:
        directory: An existing directory, a test's `tmp_path` for example; relative to the working directory of now.

    Raises:
        NameNotFound: The directory is missing.
    """
    path = os.path.abspath(directory)
    if not os.path.isdir(path):
        raise NameNotFound(f"{path}: names cannot be relocated there, for it is no directory; make it first")
    return _with_variable(path)


@contextmanager
def _with_variable(path: str) -> Iterator[None]:
    former = os.environ.get(_names.RELOCATION)
    os.environ[_names.RELOCATION] = path
    try:
        yield
    finally:
        if former is None:
            os.environ.pop(_names.RELOCATION, None)
        else:
            os.environ[_names.RELOCATION] = former
