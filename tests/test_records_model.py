"""A model of the publish protocol, explored in full: every interleaving, a kill of a writer at every step.

The bytes are the real ones: `records.pack_commit`, `live`, `matches`. A store becomes visible in two halves, so
that readers meet torn values and torn records. What the model says of the protocol is worth as much as what it
says of variants that are wrong: each mutant must be caught.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple, TypeAlias

import pytest

from namedipc._protocol import records
from namedipc._protocol.records import RECORDS_BYTES, RECORDS_OFFSET, Commit, live, pack_commit, record_offset

Mutant: TypeAlias = Literal["live slot", "commit first", "no checksum", "watch late", "drain late", "early bell"]
NOBODY = -1
FIRST = b"\1\1"


class Violation(AssertionError):
    """What the protocol must never let happen."""


class Process(NamedTuple):
    """One process: where it is, and what it knows."""

    at: str
    version: int = 0
    data: bytes = b""
    commit: Commit | None = None
    rounds: int = 0
    event: bool = False
    """Of a watcher: whether its watch is there, and something lies in its queue."""
    watching: bool = False


class State(NamedTuple):
    """The file, the lock, every process, and what has been committed (which no process can see)."""

    records: bytes
    slots: tuple[bytes, bytes]
    holder: int
    committed: tuple[bytes, ...]
    processes: tuple[Process, ...]

    def moved(self, who: int, process: Process, **changes: object) -> State:
        """The state after a step of one process."""
        processes = (*self.processes[:who], process, *self.processes[who + 1 :])
        return self._replace(processes=processes)._replace(**changes)  # type: ignore[arg-type]  # of a field's type


def first_state(*processes: Process) -> State:
    """A region just made: version 1 is in it."""
    bare = bytes(RECORDS_BYTES)
    return State(put(bare, pack_commit(1, FIRST), record_offset(1)), (b"\0\0", FIRST), NOBODY, (FIRST,), processes)


def put(file: bytes, data: bytes, offset: int) -> bytes:
    """The records with some bytes replaced; the offset counts from the beginning of the file."""
    at = offset - RECORDS_OFFSET
    return file[:at] + data + file[at + len(data) :]


def store(slots: tuple[bytes, bytes], index: int, half: int, value: bytes) -> tuple[bytes, bytes]:
    """The slots with half a value replaced."""
    old = slots[index]
    new = value[:1] + old[1:] if half == 0 else old[:1] + value[1:]
    return (new, slots[1]) if index == 0 else (slots[0], new)


def ring(processes: tuple[Process, ...]) -> tuple[Process, ...]:
    """Every watch that is there gets an event."""
    return tuple(p._replace(event=True) if p.watching else p for p in processes)


# --- the processes, a step each


def writer(state: State, who: int, mutant: Mutant | None) -> Iterator[State]:
    """Lock, choose the version, write the value in two halves, commit, unlock; or be killed in between."""
    me = state.processes[who]
    if me.at == "lock":
        if state.holder == NOBODY:
            yield state.moved(who, me._replace(at="choose"), holder=who)
        return
    if me.at == "choose":
        newest = live(state.records)
        assert newest is not None
        version = newest.version + 1
        value = bytes([16 * (who + 1) + version] * 2)
        first = "record 1" if mutant == "commit first" else "value 1"
        yield state.moved(who, me._replace(at=first, version=version, data=value))
    elif me.at in {"value 1", "value 2"}:
        half = int(me.at == "value 2")
        slot = (me.version - (mutant == "live slot")) & 1
        after = "value 2" if half == 0 else "unlock" if mutant == "commit first" else "record 1"
        moved = state.moved(who, me._replace(at=after), slots=store(state.slots, slot, half, me.data))
        yield moved._replace(processes=ring(moved.processes)) if mutant == "early bell" and half else moved
    elif me.at in {"record 1", "record 2"}:
        record, offset = pack_commit(me.version, me.data), record_offset(me.version)
        if me.at == "record 1":  # only a reader sees the half: one write within a page is not split by a kill
            yield state.moved(who, me._replace(at="record 2"), records=put(state.records, record[:10], offset))
            return
        after = "value 1" if mutant == "commit first" else "unlock"
        moved = state.moved(
            who,
            me._replace(at=after),
            records=put(state.records, record, offset),
            committed=(*state.committed, me.data),
        )
        yield moved if mutant == "early bell" else moved._replace(processes=ring(moved.processes))
        return
    elif me.at == "unlock":
        rounds = me.rounds - 1
        yield state.moved(who, Process("lock" if rounds else "done", rounds=rounds), holder=NOBODY)
    if me.at != "done":  # killed: the kernel frees the lock
        yield state.moved(who, Process("done"), holder=NOBODY)


def reader(state: State, who: int, mutant: Mutant | None) -> Iterator[State]:
    """Read both records, then the value, each in two halves; begin again if the checksum is wrong."""
    me = state.processes[who]
    if me.at == "record 1":
        oldest = me.version or len(state.committed)  # what was there when the read began, not when it began again
        yield state.moved(who, me._replace(at="record 2", version=oldest, data=state.records[:64]))
    elif me.at == "record 2":
        commit = live(me.data + state.records[64:])
        at = "record 1" if commit is None else "value 1"
        yield state.moved(who, me._replace(at=at, data=b"", commit=commit))
    elif me.at == "value 1":
        assert me.commit is not None
        yield state.moved(who, me._replace(at="value 2", data=state.slots[me.commit.version & 1][:1]))
    elif me.at == "value 2":
        assert me.commit is not None
        value = me.data + state.slots[me.commit.version & 1][1:]
        if mutant != "no checksum" and not me.commit.matches(value):
            yield state.moved(who, me._replace(at="record 1", data=b"", commit=None))
            return
        version = me.commit.version
        if state.committed[version - 1 : version] != (value,):
            raise Violation(f"read {value!r} as version {version} of {state.committed}")
        if version < me.version:
            raise Violation(f"read version {version}, but {me.version} had been there before the read began")
        yield state.moved(who, Process("done"))


def watcher(state: State, who: int, mutant: Mutant | None) -> Iterator[State]:
    """Add the watch, look at the version, wait, drain; over again."""
    me = state.processes[who]
    if me.at == "watch":
        after = "wait" if mutant == "watch late" else "look"
        yield state.moved(who, me._replace(at=after, watching=True))
    elif me.at in {"look", "look first"}:
        newest = live(state.records)
        # A torn record is invalid only until its write is done, so the older one is the latest.
        version = me.version if newest is None else max(me.version, newest.version)
        after = "watch" if me.at == "look first" else "drain" if mutant == "drain late" else "wait"
        yield state.moved(who, me._replace(at=after, version=version))
    elif me.at == "wait" and me.event:
        yield state.moved(who, me._replace(at="look" if mutant == "drain late" else "drain"))
    elif me.at == "drain":
        after = "wait" if mutant == "drain late" else "look"
        yield state.moved(who, me._replace(at=after, event=False))


Step: TypeAlias = Callable[[State, int, Mutant | None], Iterator[State]]


def explore(steps: tuple[Step, ...], start: State, mutant: Mutant | None = None) -> int:
    """Visit every state that can be reached; return how many. A violation is raised where it is found."""
    seen, todo = {start}, [start]
    while todo:
        state = todo.pop()
        following = [after for who, step in enumerate(steps) for after in step(state, who, mutant)]
        if not following:
            check_end(state)
        for after in following:
            if after not in seen:
                seen.add(after)
                todo.append(after)
    return len(seen)


def check_end(state: State) -> None:
    """Where nobody can go on: the lock is free, and whoever waits has seen the last value."""
    if state.holder != NOBODY:
        raise Violation("the lock is held by nobody who lives")
    newest = live(state.records)
    if newest is None or newest.version != len(state.committed):
        raise Violation("the latest value is not the one which was committed last")
    if not newest.matches(state.slots[newest.version & 1]):
        raise Violation("the latest value is damaged")
    for process in state.processes:
        if process.at == "wait" and process.version != newest.version:
            raise Violation(f"a watcher sleeps at version {process.version} of {newest.version}")


def with_reader(mutant: Mutant | None = None) -> int:
    """Two writers, three times each, and a reader."""
    start = first_state(Process("lock", rounds=3), Process("lock", rounds=3), Process("record 1"))
    return explore((writer, writer, reader), start, mutant)


def with_watcher(mutant: Mutant | None = None) -> int:
    """Two writers, three times each, and a watcher."""
    at = "look first" if mutant == "watch late" else "watch"
    start = first_state(Process("lock", rounds=3), Process("lock", rounds=3), Process(at))
    return explore((writer, writer, watcher), start, mutant)


# --- what it says


def test_no_reader_sees_a_torn_or_an_outdated_value() -> None:
    """Whatever the interleaving and wherever a writer is killed, a read gives a whole value, not an older one."""
    assert with_reader() > 10_000


def test_no_watcher_sleeps_through_the_last_value() -> None:
    """Whatever the interleaving and wherever a writer is killed, the watcher ends with the last value seen."""
    assert with_watcher() > 5_000


@pytest.mark.parametrize("mutant", ["live slot", "commit first", "no checksum"])
def test_a_wrong_way_to_publish_or_read_is_caught(mutant: Mutant) -> None:
    """The model finds the torn value that each wrong variant lets through."""
    with pytest.raises(Violation):
        with_reader(mutant)


@pytest.mark.parametrize("mutant", ["watch late", "drain late", "early bell"])
def test_a_wrong_way_to_wait_is_caught(mutant: Mutant) -> None:
    """The model finds the wake-up that each wrong variant loses."""
    with pytest.raises(Violation, match="sleeps"):
        with_watcher(mutant)


def test_the_model_uses_the_offsets_of_the_file() -> None:
    """The model's one buffer of records is what a reader takes from the file."""
    assert record_offset(2) - RECORDS_OFFSET == 0
    assert record_offset(1) - RECORDS_OFFSET + records.RECORD_BYTES == RECORDS_BYTES
