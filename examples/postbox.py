"""Two messages from one process to another, through a Channel: what the chapter's `string_data` cannot do.

As in `chapter/file_channel.py` one process sends "penny for pawsident" and then "america for good doggies", and
another reads. A Channel keeps each message whole and both in order, and reading takes a message away; its end
says that there will be no more.

Prints the first run, and in how many of all the reader saw both messages, each once and in order: in all.

    msg1: penny for pawsident
    msg2: america for good doggies
    In 300 of 300 runs the reader saw both messages, in order.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from _company import run, say, stage

from namedipc import Channel

POSTBOX = Channel("postbox", str)
MESSAGES = ["penny for pawsident", "america for good doggies"]


def write(path: Path, rounds: int) -> None:
    """Send both messages, in a connection of its own each time."""
    for _ in range(rounds):
        with POSTBOX.at(path).connect(wait_seconds=5) as connection:
            for message in MESSAGES:
                connection.send(message)


def read(path: Path, rounds: int) -> None:
    """Read each connection to its end."""
    in_order = 0
    with POSTBOX.at(path).listen() as listener:
        for number in range(rounds):
            with listener.accept() as connection:
                messages = list(connection)
            if number == 0:
                for count, message in enumerate(messages, start=1):
                    say(f"msg{count}: {message}")
            in_order += messages == MESSAGES
    say(f"In {in_order} of {rounds} runs the reader saw both messages, in order.")


def main() -> None:
    parser = argparse.ArgumentParser(description="A Channel between two processes.")
    parser.add_argument("--rounds", type=int, default=300, help="how many runs (default: %(default)s)")
    rounds: int = parser.parse_args().rounds
    with stage() as (directory, company):
        path = directory / "postbox"
        company.wait(company.start(read, path, rounds), company.start(write, path, rounds))


if __name__ == "__main__":
    run(main)
