"""A job service: clients follow the progress of their jobs as streams; who leaves a stream has cancelled the job.

The service prints pages. A method that yields its progress is all there is to it: when the client leaves the stream,
runs out of time or dies, the method is cancelled where it waits, and its `finally` runs. An exception which the
interface declares by `@raises` arrives as what it is, with its fields. Three trio tasks share one connection, and a
blocking client has its own.

Prints how their jobs have ended:

    letter: page 1 of 3, page 2 of 3, page 3 of 3; printed
    novel: page 1 of 1000, page 2 of 1000, and enough of it; stopped
    poster: failed at page 3, no red ink
    menu, in blocking code: page 1 of 2, page 2 of 2; printed
    labels: 50 jobs in one batch, 50 pages
    atlas: not within 0.1 seconds; stopped
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Literal, Protocol

import attrs
import trio
from _company import run, say, stage

from namedipc import BlockingClient, Service, TimedOut, aclosing, raises

PAGE_SECONDS = 0.005
HASTY_SECONDS = 0.1


@attrs.frozen
class Job:
    title: str
    pages: int
    ink: Literal["black", "red"] = "black"


@attrs.frozen
class Progress:
    page: int
    pages: int

    def __str__(self) -> str:
        return f"page {self.page} of {self.pages}"


@attrs.define
class JobFailed(Exception):
    """What the service raises, and the client catches."""

    title: str
    page: int
    why: str


class Press(Protocol):
    """What can be asked of the service."""

    @raises(JobFailed)
    def run(self, job: Job) -> AsyncIterator[Progress]: ...
    @raises(JobFailed)
    async def finish(self, job: Job) -> int: ...
    async def end_of(self, title: str) -> str: ...


class Printer:
    """Prints a page after the other, with very little red ink."""

    def __init__(self) -> None:
        self._red_pages = 2
        self._under_way: dict[str, trio.Event] = {}
        self._printed: set[str] = set()

    async def run(self, job: Job) -> AsyncIterator[Progress]:
        over = self._under_way[job.title] = trio.Event()
        try:
            for page in range(1, job.pages + 1):
                await trio.sleep(PAGE_SECONDS)
                self._take_ink(job, page)
                yield Progress(page, job.pages)
            self._printed.add(job.title)
        finally:  # also of a job that was cancelled
            del self._under_way[job.title]
            over.set()

    async def finish(self, job: Job) -> int:
        async with aclosing(self.run(job)) as pages:
            return len([page async for page in pages])

    async def end_of(self, title: str) -> str:
        if title in self._under_way:
            await self._under_way[title].wait()
        return "printed" if title in self._printed else "stopped"

    def _take_ink(self, job: Job, page: int) -> None:
        if job.ink == "red":
            if not self._red_pages:
                raise JobFailed(job.title, page, "no red ink")
            self._red_pages -= 1


PRESS = Service("press", Press)


def serve(path: Path) -> None:
    """Be the service, until SIGTERM."""
    PRESS.at(path).run(Printer())


async def follow(press: Press, told: dict[str, str]) -> None:
    """Follow a job to its end."""
    pages = [str(progress) async for progress in press.run(Job("letter", 3))]
    told["letter"] = f"{', '.join(pages)}; {await press.end_of('letter')}"


async def cancel(press: Press, told: dict[str, str]) -> None:
    """Leave a job in the middle; ask what the service has made of that."""
    pages: list[str] = []
    async with aclosing(press.run(Job("novel", 1000))) as progresses:
        async for progress in progresses:
            pages.append(str(progress))
            if progress.page == 2:
                break
    told["novel"] = f"{', '.join(pages)}, and enough of it; {await press.end_of('novel')}"


async def fail(press: Press, told: dict[str, str]) -> None:
    """Catch what the service raises."""
    try:
        async for _ in press.run(Job("poster", 4, ink="red")):
            pass
    except JobFailed as failure:
        told["poster"] = f"failed at page {failure.page}, {failure.why}"


async def submit(path: Path) -> None:
    """Three jobs at the same time, by one connection."""
    told: dict[str, str] = {}
    with trio.fail_after(10):
        async with PRESS.at(path).connect(wait_seconds=10) as press, trio.open_nursery() as nursery:
            for task in (follow, cancel, fail):
                nursery.start_soon(task, press, told)
    for title in ("letter", "novel", "poster"):
        say(f"{title}: {told[title]}")


def submit_in_blocking_code(press: BlockingClient[Press]) -> list[str]:
    """The same without trio."""
    with press.stream(Press.run, Job("menu", 2)) as progresses:
        menu = ", ".join(str(progress) for progress in progresses)
    labels = press.call_each(Press.finish, [Job(f"label {number}", 1) for number in range(50)])
    try:
        press.with_options(timeout=HASTY_SECONDS).call(Press.finish, Job("atlas", 1000))
    except TimedOut:
        atlas = f"not within {HASTY_SECONDS} seconds"
    return [
        f"menu, in blocking code: {menu}; {press.call(Press.end_of, 'menu')}",
        f"labels: {len(labels)} jobs in one batch, {sum(labels)} pages",
        f"atlas: {atlas}; {press.call(Press.end_of, 'atlas')}",
    ]


def main() -> None:
    with stage() as (directory, company):
        path = directory / "press"
        server = company.start(serve, path)
        with PRESS.at(path).connect(wait_seconds=10, timeout=10) as press:
            others = company.start(trio.run, partial(submit, path))
            told = submit_in_blocking_code(press)
            company.wait(others)
            say("\n".join(told))
        company.stop(server)


if __name__ == "__main__":
    run(main)
