"""Pipes: programs that know nothing of each other, joined by the parent of both.

Does what a shell does for `echo "penny for pawsident" | tr a-z A-Z`: two pipes, a fork and an exec for each
program, and a good deal of dup2 and close. The programs are not changed: pipes are transparent. But only who
inherits an end has it: pipes have no name.

Prints what came out at the end, and what a second read found:

    PENNY FOR PAWSIDENT
    Read once more: nothing is left.
"""

from __future__ import annotations

import os

from _children import run, say, stage

from namedipc import lowlevel


def run_program(arguments: list[str], standard_input: int, standard_output: int) -> None:
    """Become another program, between two descriptors. The pipes' own are close-on-exec."""
    os.dup2(standard_input, 0)
    os.dup2(standard_output, 1)
    os.execvp(arguments[0], arguments)


def main() -> None:
    with stage() as (_, children):
        middle, into_middle = lowlevel.pipe()
        end, into_end = lowlevel.pipe()
        children.fork(run_program, ["echo", "penny for pawsident"], 0, into_middle)
        children.fork(run_program, ["tr", "a-z", "A-Z"], middle, into_end)
        for inherited in (middle, into_middle, into_end):
            os.close(inherited)  # or the end would never come
        children.wait()
        say(os.read(end, 128).decode().removesuffix("\n"))
        say("Read once more: " + ("something is left." if os.read(end, 128) else "nothing is left."))
        os.close(end)


if __name__ == "__main__":
    run(main)
