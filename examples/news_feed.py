"""A news feed: one process sends headlines, many read them, each at its own pace, and nobody holds up anybody.

A message in a Broadcast reaches every reader. The ring keeps the last 64 headlines; who is slower than that misses
some, and is told how many. The feed ends when its writer leaves, after the last headline.

Prints what each has read (all but the sleeper's counts vary):

    ann has read 500 headlines and missed 0
    bob has read 462 headlines and missed 38
    eve has read 500 headlines and missed 0
    a sleeper has read 64 headlines and missed 436
    The last one, which everybody has read: "headline 500".
"""

from __future__ import annotations

from pathlib import Path

import attrs
from _company import run, say, stage

from namedipc import Broadcast, Fifo

HEADLINES = 500
KEPT = 64


@attrs.frozen
class Headline:
    """A message of the feed."""

    number: int
    text: str


@attrs.frozen
class Subscriber:
    """From a subscriber: what it has read so far."""

    name: str
    read: int = 0
    missed: int = 0
    last: str = ""


FEED = Broadcast("feed", Headline)
REPORTS = Fifo("reports", Subscriber)


def subscribe(directory: Path, name: str) -> None:
    """Read the feed to its end; say when it has been opened, and what has been read."""
    with (
        FEED.at(directory / "feed").reader(wait_seconds=10) as feed,
        REPORTS.at(directory / "reports").writer(wait_seconds=10) as reports,
    ):
        reports.send(Subscriber(name))
        read, last = 0, ""
        for headline in feed:
            read, last = read + 1, headline.text
        reports.send(Subscriber(name, read, feed.missed, last))


def main() -> None:
    with stage() as (directory, company), REPORTS.at(directory / "reports").reader() as reports:
        feed = FEED.at(directory / "feed")
        with feed.writer(slots=KEPT) as writer, feed.reader() as sleeper:
            subscribers = [company.start(subscribe, directory, name) for name in ("ann", "bob", "eve")]
            for _ in subscribers:
                reports.receive(timeout=10)
            for number in range(1, HEADLINES + 1):
                writer.send(Headline(number, f"headline {number}"))
            writer.close()  # the last writer: readers come to the end
            slept = list(sleeper)
            results = [reports.receive(timeout=10) for _ in subscribers]
            results.append(Subscriber("a sleeper", len(slept), sleeper.missed, slept[-1].text))
        company.wait(*subscribers)
        results.sort(key=lambda result: (result.name == "a sleeper", result.name))
        for result in results:
            say(f"{result.name} has read {result.read} headlines and missed {result.missed}")
        (last,) = {result.last for result in results}
        say(f'The last one, which everybody has read: "{last}".')


if __name__ == "__main__":
    run(main)
