"""A campaign against one service: `python -m tests.service_stress --seconds 300 --clients 200 [--seed N]`.

Client processes, in trio and in blocking code, call, stream, cancel, time out and misuse it at random; some are killed
and replaced, some are stopped for a while, as is the service. At the end the ledgers of both sides must agree call by
call, and nothing may be left behind, at either side: no handler, task, descriptor, name or memory. What does not agree
is printed, and the exit status is 1. The seed, printed first, repeats each process's choices, though not how they
interleave.
"""

from __future__ import annotations

import faulthandler
import gc
import itertools
import json
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random
from statistics import median
from typing import Final

import attrs
import click
import trio
import trio.testing

from namedipc import Service

from .stress_clients import Chooser, blocking_client, trio_client
from .stress_service import (
    LIMITS,
    Fate,
    Findings,
    Ledger,
    Stress,
    Stressed,
    living_tasks,
    open_descriptors,
    read_ledger,
    resident_bytes,
    service_at,
)

CLIENTS_OF_A_PROCESS: Final = 25
WORKERS_OF_A_CLIENT: Final = 2
SAMPLES: Final = 50
END_SECONDS: Final = 60
"""How long whoever is to end may take on a busy machine. Who has not ended by then hangs."""
MEMORY_BYTES: Final = 6 << 20
"""What the service may have gained between the second fifth, up to which it warms up, and the last. Arenas of CPython
(1 MiB each) and of malloc are given back only when they are wholly empty, which is luck. In five minutes one small
object leaked a call would be seen."""
WARM_SECONDS: Final = 60
"""A shorter campaign is not asked about memory: it still warms up when it ends."""
SERVICE: Final = "service"


def main_service(directory: Path, seconds: float) -> None:
    """Serve until SIGTERM; say what was found before and after."""
    ledger = Ledger(directory / f"{SERVICE}.ledger", buffer_bytes=1 << 16)
    findings = Findings()
    trio.run(_serve, directory, seconds, ledger, findings)
    ledger.close()
    (directory / "findings").write_text(json.dumps(attrs.asdict(findings)))


async def _serve(directory: Path, seconds: float, ledger: Ledger, findings: Findings) -> None:
    with trio.open_signal_receiver(signal.SIGTERM) as signals:
        before = open_descriptors(), living_tasks()
        async with service_at(directory).serve(Stressed(ledger), limits=LIMITS) as server:
            with trio.CancelScope() as sampling:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(_sample, seconds, findings)
                    async for _ in signals:
                        sampling.cancel()
            with trio.move_on_after(END_SECONDS / 4):
                while server.statistics().in_flight or server.statistics().clients:
                    await trio.sleep(0.05)
            findings.in_flight, findings.clients = server.statistics().in_flight, server.statistics().clients
        gc.collect()
        findings.descriptors, findings.tasks = zip(before, (open_descriptors(), living_tasks()), strict=True)


async def _sample(seconds: float, findings: Findings) -> None:
    while True:
        findings.memory.append(resident_bytes())
        await trio.sleep(seconds / SAMPLES)


def main_clients(directory: Path, number: int, seed: int, clients: int, until: float) -> None:
    """Be some clients, all in trio or all in blocking code, until the campaign ends."""
    serials = itertools.count(number << 40)
    ledger = Ledger(directory / f"{number}.ledger")
    failures: list[BaseException] = []
    choosers = [
        [
            Chooser(Random(f"{seed} {number} {client} {worker}"), ledger, serials.__next__)
            for worker in range(WORKERS_OF_A_CLIENT)
        ]
        for client in range(clients)
    ]
    service = service_at(directory)
    before = open_descriptors()
    if number % 2:
        threads = [
            threading.Thread(target=blocking_client, args=(service, chooser, until, failures.append))
            for chooser in choosers
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    else:
        trio.run(_trio_clients, service, choosers, until)
    for failure in failures:
        traceback.print_exception(failure)
    gc.collect()
    if failures or not returns_to(before):
        raise AssertionError(f"{len(failures)} failures, {before} descriptors before, {open_descriptors()} afterwards")


def returns_to(before: int) -> bool:
    """Whether there are as many descriptors as before; a thread may still be closing the last watch of a name."""
    until = time.monotonic() + END_SECONDS / 4
    while open_descriptors() != before and time.monotonic() < until:
        time.sleep(0.01)
    return open_descriptors() == before


async def _trio_clients(service: Service[Stress], choosers: list[list[Chooser]], until: float) -> None:
    before = living_tasks()
    async with trio.open_nursery() as nursery:
        for chooser in choosers:
            nursery.start_soon(trio_client, service, chooser, until)
    await trio.testing.wait_all_tasks_blocked()
    if living_tasks() != before:
        raise AssertionError(f"{before} tasks before, {living_tasks()} afterwards")


def start(name: str, directory: Path, main: Callable[..., None], *arguments: object) -> int:
    """Fork a process which runs `main`; what it prints is kept. It must not return from here."""
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        errors = os.open(directory / f"{name}.errors", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(errors, 2)
        os.close(errors)
        faulthandler.register(signal.SIGUSR1, all_threads=True)
        main(directory, *arguments)
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


@attrs.define
class Campaign:
    """The processes, and what they have come to.

    Attributes:
        directory: Where the name, the ledgers, and what was printed are.
        killed: The numbers of the client processes that were killed.
        stops: How many times a process was stopped for a while.
        wrong: What should not be, a sentence each.
        fates: How many calls came to each end, as the clients saw it.
    """

    directory: Path
    seconds: float
    clients: int
    seed: int
    service: int = 0
    running: dict[int, int] = attrs.field(factory=dict)
    numbers: itertools.count[int] = attrs.field(factory=lambda: itertools.count(1))
    killed: set[int] = attrs.field(factory=set)
    stops: int = 0
    wrong: list[str] = attrs.field(factory=list)
    fates: Counter[str] = attrs.field(factory=Counter)
    findings: Findings = attrs.field(factory=Findings)

    def run(self) -> None:
        """Run it all, and judge."""
        begun = time.monotonic()
        until = begun + self.seconds
        self.service = start(SERVICE, self.directory, main_service, self.seconds)
        processes = max(2, self.clients // CLIENTS_OF_A_PROCESS)
        sizes = [self.clients // processes + (index < self.clients % processes) for index in range(processes)]
        for size in sizes:
            self._start_clients(size, until)
        self._torment(until, dict(zip(self.running, sizes, strict=True)))
        for number, pid in self.running.items():
            self._reap(str(number), pid)
        os.kill(self.service, signal.SIGTERM)
        self._reap(SERVICE, self.service)
        self._judge()

    def _start_clients(self, size: int, until: float) -> int:
        number = next(self.numbers)
        self.running[number] = start(str(number), self.directory, main_clients, number, self.seed, size, until)
        return number

    def _torment(self, until: float, sizes: dict[int, int]) -> None:
        """Kill and stop at random until it is time to end."""
        random = Random(self.seed)
        while (left := until - time.monotonic()) > 0:
            time.sleep(min(left, random.uniform(0.1, 0.6)))
            number = random.choice(list(self.running))
            if random.random() < 0.5:
                pid = random.choice([self.running[number], self.service])
                os.kill(pid, signal.SIGSTOP)
                time.sleep(random.uniform(0.01, 0.3))
                os.kill(pid, signal.SIGCONT)
                self.stops += 1
            elif until - time.monotonic() > 1:  # whoever comes now still has the time to do something
                pid = self.running.pop(number)
                os.kill(pid, signal.SIGKILL)
                if os.waitpid(pid, 0)[1] != signal.SIGKILL:
                    self.wrong.append(f"process {number} had ended before it was killed: {self._errors(str(number))}")
                self.killed.add(number)
                size = sizes.pop(number)
                sizes[self._start_clients(size, until)] = size

    def _reap(self, name: str, pid: int) -> None:
        deadline = time.monotonic() + END_SECONDS
        while (done := os.waitpid(pid, os.WNOHANG)) == (0, 0):
            if time.monotonic() > deadline:
                os.kill(pid, signal.SIGUSR1)
                time.sleep(1)
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                self.wrong.append(f"process {name} hung: {self._errors(name)}")
                return
            time.sleep(0.01)
        if done[1]:
            self.wrong.append(f"process {name} ended with status {done[1]}: {self._errors(name)}")
        elif self._errors(name):
            self.wrong.append(f"process {name} printed: {self._errors(name)}")

    def _errors(self, name: str) -> str:
        return (self.directory / f"{name}.errors").read_text(errors="replace")

    # ------------------------------------------------------------ the judgement

    def _judge(self) -> None:
        served = read_ledger(self.directory / f"{SERVICE}.ledger")
        for number in sorted({*self.killed, *self.running}):
            for id_, seen in read_ledger(self.directory / f"{number}.ledger").items():
                fate = seen[1] if len(seen) > 1 else Fate.UNTOLD
                self.fates[fate.name.lower()] += 1
                reason = misfit(fate, served.pop(id_, []), is_killed=number in self.killed)
                if reason:
                    self.wrong.append(f"call {id_:#x}: {reason}")
        self.wrong += [f"call {id_:#x} was run, and never made" for id_ in served if id_ >> 40 not in self.killed]
        if (self.directory / "stress").exists() or (self.directory / ".stress.lock").exists():
            self.wrong.append(f"a name is left: {sorted(os.listdir(self.directory))}")
        path = self.directory / "findings"
        if not path.exists():
            self.wrong.append("the service has found nothing")
            return
        self.findings = Findings(**json.loads(path.read_text()))
        self._judge_findings()

    def _judge_findings(self) -> None:
        found = self.findings
        for what, (before, after) in {"descriptors": found.descriptors, "tasks": found.tasks}.items():
            if after != before:
                self.wrong.append(f"the service had {before} {what} before, and {after} afterwards")
        if found.in_flight or found.clients:
            self.wrong.append(f"{found.in_flight} calls, {found.clients} connections are left without any client")
        first, last = self.memory()
        if self.seconds >= WARM_SECONDS and last > first + MEMORY_BYTES:
            self.wrong.append(f"the service grew from {first:_} to {last:_} bytes: {found.memory}")

    def memory(self) -> tuple[int, int]:
        """What the service had, in bytes, at the end of the second fifth of the campaign and at the end of it."""
        samples = self.findings.memory
        fifth = max(1, len(samples) // 5)
        return int(median(samples[3 * fifth // 2 : 2 * fifth + 1])), int(median(samples[-fifth:]))

    def report(self) -> str:
        """Return figures, and what is wrong."""
        first, last = self.memory()
        calls = self.fates.total()
        return "\n".join(
            [
                f"{calls} calls, {calls / self.seconds:.0f} a second: {dict(self.fates.most_common())}",
                f"{len(self.killed)} processes killed, {self.stops} stops",
                f"descriptors {self.findings.descriptors}, tasks {self.findings.tasks}, bytes {first:_} -> {last:_}",
                *self.wrong[:50],
                f"{len(self.wrong)} findings",
            ]
        )


def misfit(fate: Fate, served: list[Fate], *, is_killed: bool) -> str:
    """Return why what a client saw of a call and what the service did do not go together; nothing if they do.

    Args:
        fate: As the client has it.
        served: What the service noted, in order.
        is_killed: Whether the client was killed, and its socket with what was on its way.
    """
    text = f"{fate.name} at the client, {[entry.name for entry in served]} at the service"
    runs = served.count(Fate.BEGAN)
    if len(served) != 2 * runs:
        return f"{text}: a handler has not ended"
    if runs > 1:
        return f"{text}: run more than once"
    must_run = fate in {Fate.ANSWERED, Fate.RAISED, Fate.MISFIT, Fate.LEFT} or (fate is Fate.SENT and not is_killed)
    if must_run and not runs:
        return f"{text}: not run"
    if fate is Fate.REFUSED and runs:
        return f"{text}: run all the same"
    ends = {
        Fate.ANSWERED: {Fate.ANSWERED},
        Fate.RAISED: {Fate.RAISED},
        Fate.SENT: {Fate.ANSWERED},
        Fate.MISFIT: {Fate.ANSWERED, Fate.CANCELLED},
    }
    if runs and served[-1] not in ends.get(fate, set(Fate)):
        return f"{text}: another end"
    return ""


@click.command
@click.option("--seconds", default=10.0, show_default=True)
@click.option("--clients", default=50, show_default=True)
@click.option("--seed", default=None, type=int, help="By default another one each time.")
@click.option("--keep", is_flag=True, help="Keep the ledgers.")
def main(seconds: float, clients: int, seed: int | None, keep: bool) -> None:
    """Torment a service, and judge how it bears that."""
    seed = Random().randrange(1 << 32) if seed is None else seed
    directory = Path(tempfile.mkdtemp(prefix="stress-"))
    click.echo(f"seed {seed}, {clients} clients, {seconds:g} s, in {directory}")
    campaign = Campaign(directory, seconds, clients, seed)
    try:
        campaign.run()
    finally:
        if not keep:
            shutil.rmtree(directory)
    click.echo(campaign.report())
    raise SystemExit(bool(campaign.wrong))


if __name__ == "__main__":
    main()
