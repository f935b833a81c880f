"""Shell tools between two typed queues: grep, tr, awk and sort, which know nothing of namedipc.

A till sends `Sale`s through a Fifo with `framing="json-lines"`: each is a line. Four tools, to which the shell gives
names for input and output, leave out the water and add up each dish; whatever the last one writes is read as `Total`s,
checked like any message. The end goes the same way: the till closes, each tool sees the end of its input and ends, and
so does the loop over the totals.

Prints what was sold, by dish:

    cake     2 sold    9.00
    soup     3 sold   13.50
    tea      1 sold    2.50
"""

from __future__ import annotations

import os
from pathlib import Path

import attrs
from _company import run, say, stage

from namedipc import Fifo


@attrs.frozen
class Sale:
    """What the till sends: `{"cents":450,"dish":"soup"}`."""

    cents: int
    dish: str


@attrs.frozen
class Total:
    """What the tools make of it."""

    dish: str
    sold: int
    cents: int


SALES = Fifo("sales", Sale, framing="json-lines")
TOTALS = Fifo("totals", Total, framing="json-lines")

SOLD = (
    *(Sale(450, "soup"), Sale(100, "water"), Sale(450, "cake"), Sale(250, "tea")),
    *(Sale(450, "soup"), Sale(100, "water"), Sale(450, "soup"), Sale(450, "cake")),
)
TOOLS = (
    """exec grep -v '"dish":"water"' <sales >food""",
    """exec tr -d '{}"' <food >words""",
    r"""exec awk -F '[:,]' <words >sums '
        { sold[$4] += 1; cents[$4] += $2 }
        END { for (dish in sold) printf "{\"dish\":\"%s\",\"sold\":%d,\"cents\":%d}\n", dish, sold[dish], cents[dish] }
    '""",
    """exec sort <sums >totals""",
)
PIPES = ("sales", "food", "words", "sums", "totals")


def ring_up(directory: Path) -> None:
    """Send every sale, and close."""
    with SALES.at(directory / "sales").writer(wait_seconds=10) as sales:
        sales.send_many(SOLD)


def run_tool(directory: Path, command: str) -> None:
    """Become one of the tools."""
    os.chdir(directory)
    os.execvp("sh", ["sh", "-c", command])


def main() -> None:
    with stage() as (directory, company):
        for pipe in PIPES:
            os.mkfifo(directory / pipe, 0o600)
        with TOTALS.at(directory / "totals").reader(until_writers_gone=True) as totals:
            tools = [company.start(run_tool, directory, command) for command in TOOLS]
            till = company.start(ring_up, directory)
            for total in totals:
                say(f"{total.dish:<6}{total.sold:4} sold{total.cents / 100:8.2f}")
        company.wait(till, *tools)


if __name__ == "__main__":
    run(main)
