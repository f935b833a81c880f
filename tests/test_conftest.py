"""What the shared fixtures promise."""

from __future__ import annotations

import os
import signal

import pytest

from .conftest import Children, open_descriptors


def test_a_child_speaks_by_lines(child: Children, no_leaks: None) -> None:
    """Lines reach a child and come back, and its end is seen."""
    other = child("import sys; print(sys.argv[1], flush=True); print(input()[::-1], flush=True)", "ready")
    other.expect("ready")
    other.say("abc")
    assert other.read_line() == "cba"
    assert other.wait() == 0
    with pytest.raises(EOFError):
        other.read_line()


def test_kill_is_sigkill(child: Children, no_leaks: None) -> None:
    """A killed child is reaped at once, and has had no chance to clean up."""
    other = child("print('ready', flush=True); input()")
    other.expect("ready")
    other.kill()
    assert other.wait() == -signal.SIGKILL


def test_open_descriptors_sees_a_pipe() -> None:
    """The leak check would see a pipe that is left open."""
    before = open_descriptors().keys()
    reading, writing = os.pipe()
    assert open_descriptors().keys() - before >= {reading, writing}
    os.close(reading)
    os.close(writing)
