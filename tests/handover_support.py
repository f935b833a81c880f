"""A service that keeps a record of what it was told, and customers who count what they were answered."""

from __future__ import annotations

import itertools
import os
import sys
import threading
from typing import Protocol

import trio

from namedipc import BlockingClient, ConnectionLost, IPCError, NoServer, Service


class Till(Protocol):
    """The interface."""

    async def book(self, number: int) -> int:
        """Record a number at once; return the process."""
        ...

    async def book_slowly(self, number: int) -> int:
        """Record a number after a while; return the process."""
        ...


class TillService:
    """The implementation."""

    def __init__(self) -> None:
        self.numbers: list[int] = []

    async def book(self, number: int) -> int:
        """Record it."""
        self.numbers.append(number)
        return os.getpid()

    async def book_slowly(self, number: int) -> int:
        """Record it, while others are served."""
        await trio.sleep(0.02)
        self.numbers.append(number)
        return os.getpid()


class Customers:
    """Threads which call a till without a pause: on one connection for long, and on one for each call."""

    def __init__(self, path: str) -> None:
        self.till = Service(path, Till)
        self.next_number = itertools.count().__next__
        self.answered: list[int] = []
        self.refused: list[str] = []
        self.pids: dict[str, int] = {}
        self.over = threading.Event()

    def call(self, client: BlockingClient[Till], number: int) -> int | None:
        """Return who has answered; None if the call was not run, as the owner says at its end."""
        method = Till.book_slowly if number % 3 == 0 else Till.book
        try:
            pid = client.call(method, number)
        except (NoServer, ConnectionLost) as error:
            if "not run" in str(error) or "shut down" in str(error):
                return None
            self.refused.append(repr(error))
            return None
        self.answered.append(number)
        return pid

    def connect_once(self, name: str) -> None:
        """Use a connection as long as it lasts."""
        number = self.next_number()
        while not self.over.is_set():
            with self.till.connect(timeout=20) as client:
                while not self.over.is_set() and (pid := self.call(client, number)) is not None:
                    self.pids[name] = pid
                    number = self.next_number()

    def connect_each_time(self, name: str) -> None:
        """Use a new connection for each call."""
        number = self.next_number()
        while not self.over.is_set():
            with self.till.connect(timeout=20) as client:
                pid = self.call(client, number)
            if pid is not None:
                self.pids[name] = pid
                number = self.next_number()

    def server(self, names: list[str]) -> int | None:
        """Return the one process that has answered all of them last; None if there is none."""
        pids = {self.pids.get(name) for name in names}
        return pids.pop() if len(pids) == 1 else None

    def run(self, name: str) -> None:
        """Be one of them; the name says which."""
        try:
            (self.connect_once if name.startswith("once") else self.connect_each_time)(name)
        except IPCError as error:
            self.refused.append(repr(error))


def be_customers(path: str) -> None:
    """Call; say `busy` when every customer has been answered by one and the same process, a new one each time."""
    customers = Customers(path)
    names = ["once 1", "once 2", "each time 1", "each time 2"]
    threads = [threading.Thread(target=customers.run, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    before: int | None = None
    while True:
        while not customers.refused and customers.server(names) in {None, before}:
            threading.Event().wait(0.001)
        before = customers.server(names)
        print("busy", flush=True)
        if sys.stdin.readline() == "enough\n":
            break
    customers.over.set()
    for thread in threads:
        thread.join()
    print(*customers.answered, flush=True)
    print("refused:", customers.refused, flush=True)
