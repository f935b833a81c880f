"""Two processes which share nothing but the name `office_hours`, and a typed message through a Fifo.

As in `chapter/office_hours.py`, but opening waits for nobody: the reader is there at once and could do other work,
the writer waits as long as it wants to for a reader. What arrives is a `str`, whole, for the type checker too.

Prints what the reader heard:

    What I hear at office hours is "halp!".
"""

from __future__ import annotations

from pathlib import Path

from _company import run, say, stage

from namedipc import Fifo

OFFICE_HOURS = Fifo("office_hours", str)


def ask(path: Path) -> None:
    """Say one thing to whoever reads."""
    with OFFICE_HOURS.at(path).writer(wait_seconds=5) as fifo:
        fifo.send("halp!")


def listen(path: Path) -> None:
    """Hear one thing, and remove the name."""
    with OFFICE_HOURS.at(path).reader(remove=True) as fifo:
        say(f'What I hear at office hours is "{fifo.receive(timeout=10)}".')


def main() -> None:
    with stage() as (directory, company):
        path = directory / "office_hours"
        company.wait(company.start(ask, path), company.start(listen, path))


if __name__ == "__main__":
    run(main)
