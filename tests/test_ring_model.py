"""A model of the ring's protocol, explored in full: every interleaving, a kill of a writer at every step.

The bytes are the real ones: `ring.make_batch`, `look`, `find_oldest`, `pack_end`, in a file of two slots, or of four
with room for three batches. A store becomes visible in two halves, so that readers meet torn batches and torn entries.
What the model says of the protocol is worth as much as what it says of variants that are wrong: each mutant must be
caught.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple, TypeAlias

import pytest

from namedipc._protocol import ring
from namedipc._protocol.ring import (
    ENTRY_BYTES,
    NOTHING,
    Entry,
    Header,
    Look,
    Write,
    find_oldest,
    is_lapped,
    look,
    resume_at,
)

Mutant: TypeAlias = Literal[
    "no room",
    "commit first",
    "no checksum",
    "no entry checksum",
    "stale newest",
    "watch late",
    "drain late",
    "early bell",
    "end at once",
    "end without looking",
    "trust the index",
    "no care for the next",
]
NOBODY = -1
HALF_ENTRY = ENTRY_BYTES // 2
SIZE = 2
"""The length of every batch, in bytes."""


class Small(Header):
    """A header with so little room that a round of it has four batches, of which the index has two."""

    header_bytes = 0
    batch_bytes = SIZE
    data_start = 2 * ENTRY_BYTES
    data_bytes = 4 * SIZE


class Cramped(Small):
    """The same without room for what is not committed yet."""

    data_bytes = 2 * SIZE


class Together(Small):
    """Batches of several messages: the index has four, whose bytes are there of the last only, or of one more."""

    data_start = 4 * ENTRY_BYTES
    data_bytes = 3 * SIZE


class Careless(Together):
    """What the next batch will be written over counts as kept."""

    def is_kept(self, position: int, newest_end: int) -> bool:
        """Whether it is there now."""
        return newest_end <= position + self.data_bytes


class Plan(NamedTuple):
    """What is explored: the protocol or a mutant of it, in a file of this shape."""

    mutant: Mutant | None = None
    shape: type[Header] = Small
    slots: int = 2
    kept: int = 2
    """How many of the last batches must be there, whole."""

    @property
    def header(self) -> Header:
        """That of the file."""
        none = b""
        return self.shape(
            slots=self.slots, message_bytes=SIZE, fingerprint=none, uuid=none, boot_id=none, description=none
        )


class Violation(AssertionError):
    """What the protocol must never let happen."""


class Process(NamedTuple):
    """One process: where it is, and what it knows."""

    at: str
    number: int = 0
    """Of a reader: the message that it wants next."""
    data: bytes = b""
    entry: Entry | None = None
    rounds: int = 0
    newest: Entry = NOTHING
    writes: tuple[Write, ...] = ()
    marked: bool = False
    """Of a writer: whether it has its mark."""
    watching: bool = False
    event: bool = False
    """Of a reader: whether something lies in its queue."""


class State(NamedTuple):
    """The file, the lock, every process, and what has been committed (which no process can see)."""

    file: bytes
    end: bytes
    holder: int
    committed: tuple[tuple[bytes, int], ...]
    """Each message, and where it is."""
    processes: tuple[Process, ...]

    def moved(self, who: int, process: Process, **changes: object) -> State:
        """The state after a step of one process."""
        processes = (*self.processes[:who], process, *self.processes[who + 1 :])
        return self._replace(processes=processes)._replace(**changes)  # type: ignore[arg-type]  # of a field's type

    def ringing(self) -> State:
        """The same, with an event for everybody who watches."""
        return self._replace(processes=tuple(p._replace(event=True) if p.watching else p for p in self.processes))

    def stored(self, write: Write, size: int) -> State:
        """The same, with the first bytes of a write in the file."""
        data = write.data[:size]
        return self._replace(file=self.file[: write.offset] + data + self.file[write.offset + len(data) :])


def index_at(state: State, number: int, plan: Plan) -> bytes:
    """The entries from that of a batch on, up to the last slot."""
    return state.file[plan.header.entry_offset(number) : plan.slots * ENTRY_BYTES]


def second_at(state: State, number: int, plan: Plan) -> bytes:
    """The entry which a look takes first, where that of a batch is the last one: the first of all."""
    return b"" if number % plan.slots else state.file[:ENTRY_BYTES]


def entry_at(state: State, number: int, plan: Plan) -> Entry | None:
    """The entry of a batch, if it is there."""
    return next(iter(look_at(state, number, plan).entries), None)


def look_at(state: State, number: int, plan: Plan) -> Look:
    """What the index says of a batch and those which follow it."""
    return look(index_at(state, number, plan) + second_at(state, number, plan), number)


# --- the processes, a step each


def writer(state: State, who: int, plan: Plan) -> Iterator[State]:
    """Lock, find the newest, write a message, commit it, unlock, and at last leave; or be killed in between."""
    me = state.processes[who]
    if me.at == "lock":
        if state.holder == NOBODY:
            yield state.moved(who, me._replace(at="write"), holder=who)
    elif me.at == "write":
        yield _written(state, who, plan)
        return
    elif me.at == "unlock":
        rounds = me.rounds - 1
        yield state.moved(who, me._replace(at="lock" if rounds else "leave", rounds=rounds), holder=NOBODY)
    elif me.at == "leave":
        yield _left(state, who, plan)
    elif me.at != "gone":
        yield from _storing(state, who, plan)
    # Killed: the kernel frees the lock and takes off the mark. Not within a write, which is one system call.
    if me.at not in {"gone", "second half"}:
        yield state.moved(who, Process("gone"), holder=NOBODY if state.holder == who else state.holder)


def _written(state: State, who: int, plan: Plan) -> State:
    """Decide what to write, under the lock."""
    me = state.processes[who]
    newest = me.newest if plan.mutant == "stale newest" and me.newest is not NOTHING else newest_in(state, plan)
    value = bytes([16 * (who + 1) + me.rounds] * SIZE)
    payload, commit, entry = ring.make_batch(plan.header, newest, value, 1)
    writes = (commit, payload) if plan.mutant == "commit first" else (payload, commit)
    return state.moved(who, me._replace(at="first half", data=value, writes=writes, newest=entry))


def _storing(state: State, who: int, plan: Plan) -> Iterator[State]:
    """Half of a write, or the rest of it, which for an entry is the commit."""
    me = state.processes[who]
    write = me.writes[0]
    if me.at == "first half":
        yield state.moved(who, me._replace(at="second half")).stored(write, len(write.data) // 2)
        return
    rest = me.writes[1:]
    after = state.moved(who, me._replace(at="first half" if rest else "unlock", writes=rest))
    after = after.stored(write, len(write.data))
    is_commit = len(write.data) == ENTRY_BYTES
    if is_commit:
        after = after._replace(committed=(*state.committed, (me.data, me.newest.position)))
        if me.newest.number != len(after.committed):
            raise Violation(f"message {me.newest.number} is written over")
    yield after.ringing() if is_commit != (plan.mutant == "early bell") else after


def _left(state: State, who: int, plan: Plan) -> State:
    """The last writer who has a mark says that this is the end, in one step: nobody else can write."""
    others = any(process.marked for number, process in enumerate(state.processes) if number != who)
    after = state.moved(who, Process("gone"))
    if others:
        return after
    return after._replace(end=ring.pack_end(newest_in(state, plan).number)).ringing()


def newest_in(state: State, plan: Plan) -> Entry:
    """The newest batch, as it is found without the lock."""

    def number_at(place: int) -> int:
        entry = ring.unpack_entry(state.file, place * ENTRY_BYTES)
        return entry.number if entry is not None else 0

    def search() -> Entry:
        number = ring.find_newest(plan.slots, number_at)
        return (number and entry_at(state, number, plan)) or NOTHING

    return ring.follow(search(), lambda number: look_at(state, number, plan), search)


def reader(state: State, who: int, plan: Plan) -> Iterator[State]:
    """Watch; look at the entry and the message, each in two halves; where nothing is new, at the end; wait; drain."""
    me = state.processes[who]
    if me.at == "watch":
        yield state.moved(who, me._replace(at="wait" if plan.mutant == "watch late" else "entry 1", watching=True))
    elif me.at == "entry 1":
        data = second_at(state, me.number, plan) + index_at(state, me.number, plan)[:HALF_ENTRY]
        yield state.moved(who, me._replace(at="entry 2", data=data))
    elif me.at == "entry 2":
        second, half = me.data[:-HALF_ENTRY], me.data[-HALF_ENTRY:]
        index = half + index_at(state, me.number, plan)[HALF_ENTRY:] + second
        yield state.moved(who, _looked(me, index, plan))
    elif me.at == "again":
        yield state.moved(who, _looked_again(state, me, plan))
    elif me.at == "lapped":
        newest = newest_in(state, plan)
        oldest = find_oldest(plan.header, newest, lambda number: entry_at(state, number, plan))
        number = resume_at(oldest, newest.number, 0, 1)
        yield state.moved(who, me._replace(at="entry 1", number=max(me.number, number)))
    elif me.at in {"message 1", "message 2"}:
        yield _read(state, who, plan)
    elif me.at == "end":
        yield state.moved(who, _end_looked_at(state, me, plan))
    elif me.at == "wait" and me.event:
        yield state.moved(who, me._replace(at="entry 1" if plan.mutant == "drain late" else "drain"))
    elif me.at == "drain":
        after = "wait" if plan.mutant == "drain late" else "entry 1"
        yield state.moved(who, me._replace(at=after, event=False))


def _looked(me: Process, index: bytes, plan: Plan) -> Process:
    """Where a reader goes on from what the index says."""
    found = look(index, me.number)
    entries = found.entries
    if plan.mutant == "no entry checksum" and not entries:
        torn = Entry(*ring._ENTRY.unpack_from(index)[:6])
        entries = [torn] if torn.number == me.number else []
    if entries:
        return me._replace(at="message 1", data=b"", entry=entries[0])
    if is_lapped(plan.slots, me.number, found.ahead):
        return me._replace(at="lapped", data=b"")
    if found.ahead:  # an entry that is half written
        return me._replace(at="entry 1", data=b"")
    after = "watch" if plan.mutant == "watch late" and not me.watching else "end"
    return me._replace(at="drain" if plan.mutant == "drain late" and me.event else after, data=b"")


def _read(state: State, who: int, plan: Plan) -> State:
    """Read half of a message, or the rest of it, and go on to the next."""
    me = state.processes[who]
    assert me.entry is not None
    offset = plan.header.data_offset(me.entry.position)
    if me.at == "message 1":
        return state.moved(who, me._replace(at="message 2", data=state.file[offset : offset + 1]))
    value = me.data + state.file[offset + 1 : offset + SIZE]
    bare = me._replace(at="entry 1", data=b"", entry=None)
    if plan.mutant != "no checksum" and not me.entry.matches(value):
        return state.moved(who, me._replace(at="again", data=b""))
    sent = [message for message, _ in state.committed]
    if sent[me.number - 1 : me.number] != [value]:
        raise Violation(f"read {value!r} as message {me.number} of {sent}")
    return state.moved(who, bare._replace(number=me.number + 1))


def _looked_again(state: State, me: Process, plan: Plan) -> Process:
    """What was read is not the batch: has its entry gone, too, or are its bytes not kept any more?"""
    assert me.entry is not None
    bare = me._replace(at="entry 1", entry=None)
    if plan.mutant == "trust the index" or entry_at(state, me.number, plan) != me.entry:
        return bare
    if plan.header.is_kept(me.entry.position, newest_in(state, plan).end):
        raise Violation(f"a reader takes batch {me.number}, which is written over, for damaged")
    return bare._replace(at="lapped")


def _end_looked_at(state: State, me: Process, plan: Plan) -> Process:
    """Nothing is new: is it the end?"""
    last = ring.unpack_end(state.end) if state.end else None
    if last is None or plan.mutant == "end without looking":
        return me._replace(at="wait")
    if last < me.number or plan.mutant == "end at once":
        return me._replace(at="ended")
    return me._replace(at="entry 1")


Step: TypeAlias = Callable[[State, int, Plan], Iterator[State]]


def explore(*processes: Process, plan: Plan) -> int:
    """Visit every state that can be reached; return how many. A violation is raised where it is found."""
    size = plan.slots * ENTRY_BYTES + plan.header.data_bytes
    start = State(bytes(size), b"", NOBODY, (), processes)
    steps: list[Step] = [writer if process.marked else reader for process in processes]
    seen, todo = {start}, [start]
    while todo:
        state = todo.pop()
        following = [after for who, step in enumerate(steps) for after in step(state, who, plan)]
        check(state, plan)
        if not following:
            check_end(state)
        elif all(process.at == "gone" for process in state.processes if process.marked or process.at == "gone"):
            check_progress(state, plan)
        for after in following:
            if after not in seen:
                seen.add(after)
                todo.append(after)
    return len(seen)


def check(state: State, plan: Plan) -> None:
    """At any time: the last messages are whole in the file, whatever is being written."""
    for value, position in state.committed[-plan.kept :]:
        offset = plan.header.data_offset(position)
        if state.file[offset : offset + SIZE] != value:
            raise Violation(f"{value!r}, one of the last {plan.kept} batches, is damaged")


def check_progress(state: State, plan: Plan) -> None:
    """Where nobody writes any more a reader comes to where it waits, or to the end."""
    who = next(who for who, process in enumerate(state.processes) if process.at != "gone")
    been = set()
    while following := list(reader(state, who, plan)):
        if state in been:
            raise Violation(f"a reader goes round and round at batch {state.processes[who].number}")
        been.add(state)
        (state,) = following


def check_end(state: State) -> None:
    """Where nobody can go on: the lock is free, and every reader has seen the last message, and the end."""
    if state.holder != NOBODY:
        raise Violation("the lock is held by nobody who lives")
    for process in state.processes:
        if process.at == "wait" and state.end:
            raise Violation("a reader sleeps after the end")
        if process.at in {"wait", "ended"} and process.number != len(state.committed) + 1:
            raise Violation(f"a reader {process.at}s at message {process.number} of {len(state.committed)}")


def model(plan: Plan, *, rounds: int = 2) -> int:
    """Two writers, and a reader from the beginning."""
    at = "entry 1" if plan.mutant == "watch late" else "watch"
    one = Process("lock", rounds=rounds, marked=True)
    return explore(one, one._replace(rounds=2), Process(at, number=1), plan=plan)


# --- what it says


@pytest.mark.parametrize("plan", [Plan(), Plan(None, Together, slots=4)])
def test_no_reader_gets_a_torn_batch_or_sleeps_through_one(plan: Plan) -> None:
    """Whatever the interleaving and wherever writers are killed: whole, in order, to the last, and the end."""
    assert model(plan, rounds=3) > 10_000


@pytest.mark.parametrize("plan", [Plan("no room", Cramped), Plan("commit first"), Plan("stale newest")])
def test_a_wrong_way_to_write_is_caught(plan: Plan) -> None:
    """The model finds the batch which each wrong variant damages."""
    with pytest.raises(Violation, match=r"damaged|written over"):
        model(plan)


@pytest.mark.parametrize("mutant", ["no checksum", "no entry checksum"])
def test_a_wrong_way_to_read_is_caught(mutant: Mutant) -> None:
    """The model finds the torn batch that each wrong variant lets through."""
    with pytest.raises(Violation, match="read"):
        model(Plan(mutant), rounds=3)


@pytest.mark.parametrize(
    ("plan", "said"),
    [
        (Plan("trust the index", Together, slots=4), "round and round"),
        (Plan("no care for the next", Careless, slots=4), "for damaged"),
    ],
)
def test_a_wrong_way_to_tell_what_is_kept_is_caught(plan: Plan, said: str) -> None:
    """The model finds the reader that never gets on, or calls damaged what was written over."""
    with pytest.raises(Violation, match=said):
        model(plan, rounds=3)


@pytest.mark.parametrize("mutant", ["watch late", "drain late", "early bell", "end at once", "end without looking"])
def test_a_wrong_way_to_wait_is_caught(mutant: Mutant) -> None:
    """The model finds the wake-up, or the last batch, that each wrong variant loses."""
    with pytest.raises(Violation, match="a reader"):
        model(Plan(mutant))
