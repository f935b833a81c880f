"""A work queue: one process hands out jobs by a Fifo, several do them, and each job is done exactly once.

A message in a Fifo reaches one reader, whoever comes first; so workers need not know of each other, and a slow one
gets fewer jobs. The results come back through a second Fifo, which all workers write to.

Prints how many jobs each worker did (that varies), and that every job was done once:

    worker 1 has done 11 jobs
    worker 2 has done 9 jobs
    worker 3 has done 10 jobs
    30 jobs, each done once; the sum of the squares is 8555.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import attrs
from _company import run, say, stage

from namedipc import Fifo

WORKERS = 3
JOBS = range(30)


@attrs.frozen
class Ready:
    """From a worker: it reads jobs from now on."""

    worker: int


@attrs.frozen
class Result:
    """From a worker: what came of a job."""

    worker: int
    job: int
    square: int


WORK = Fifo("work", int)
RESULTS = Fifo("results", Ready | Result)


def work(directory: Path, worker: int) -> None:
    """Do one job after the other until nobody hands out any more."""
    with (
        WORK.at(directory / "work").reader(until_writers_gone=True) as jobs,
        RESULTS.at(directory / "results").writer(wait_seconds=10) as results,
    ):
        results.send(Ready(worker))
        for job in jobs:
            results.send(Result(worker, job, job * job))


def hand_out(directory: Path) -> list[Result]:
    """Hand out the jobs once every worker is there; collect the results."""
    results: list[Result] = []
    with RESULTS.at(directory / "results").reader() as reader:
        for _ in range(WORKERS):
            assert isinstance(reader.receive(timeout=10), Ready)
        with WORK.at(directory / "work").writer(wait_seconds=10) as writer:
            writer.send_many(JOBS)
        while len(results) < len(JOBS):
            result = reader.receive(timeout=10)
            assert isinstance(result, Result)
            results.append(result)
    return results


def main() -> None:
    with stage() as (directory, company):
        workers = [company.start(work, directory, number) for number in range(1, WORKERS + 1)]
        results = hand_out(directory)
        company.wait(*workers)
        done = Counter(result.worker for result in results)
        for number in range(1, WORKERS + 1):
            say(f"worker {number} has done {done[number]} jobs")
        once = sorted(result.job for result in results) == list(JOBS)
        total = sum(result.square for result in results)
        say(f"{len(results)} jobs, {'each' if once else 'NOT each'} done once; the sum of the squares is {total}.")


if __name__ == "__main__":
    run(main)
