"""A model of a mapped memory's lock and of its mark, explored in full: every interleaving, a kill at every step.

The bytes are the real ones: `records.pack_dirty`, `begun`, `pack_commit`, `live`. The content is two bytes, stored one
after the other, each of them the version. Who asks for the lock takes a turn first and keeps it until it has
the lock (`shared_lock.py`). What the model says of the protocol is worth as much as what it says of variants that are
wrong: each mutant must be caught.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, Literal, NamedTuple, TypeAlias

import pytest

from namedipc._protocol.records import (
    DIRTY_BYTES,
    DIRTY_OFFSET,
    RECORD_BYTES,
    RECORDS_BYTES,
    RECORDS_OFFSET,
    SUCCEEDED,
    SUCCESSOR_OFFSET,
    begun,
    live,
    pack_commit,
    pack_dirty,
    record_offset,
)

Mutant: TypeAlias = Literal[
    "no mark",
    "mark late",
    "commit first",
    "mark taken off first",
    "unlock first",
    "readers do not look",
    "readers share with a writer",
    "no turn",
    "turn kept",
    "lock kept",
    "watch late",
    "drain late",
    "early bell",
    "version once",
]
NOBODY = -1

STEPS: Final[tuple[str, ...]] = ("mark", "first", "second", "commit", "unlock")
"""What a change does under the lock, each of it one system call or one store."""
WRONG_STEPS: Final[dict[Mutant, tuple[str, ...]]] = {
    "no mark": ("first", "second", "commit", "unlock"),
    "mark late": ("first", "mark", "second", "commit", "unlock"),
    "commit first": ("mark", "commit", "first", "second", "unlock"),
    "mark taken off first": ("mark", "first", "second", "clear", "commit", "unlock"),
    "unlock first": ("mark", "first", "second", "unlock", "commit"),
}


def steps_of(mutant: Mutant | None) -> tuple[str, ...]:
    """What a change does under the lock."""
    return STEPS if mutant is None else WRONG_STEPS.get(mutant, STEPS)


class Violation(AssertionError):
    """What the protocol must never let happen."""


class Process(NamedTuple):
    """One process: where it is, and what it knows."""

    at: str
    kind: Literal["changer", "reader", "stayer", "watcher", "successor"]
    rounds: int = 1
    patient: bool = True
    """Of a changer: whether it waits to the end."""
    version: int = 0
    data: bytes = b""
    watching: bool = False
    event: bool = False
    """Of a watcher: whether something lies in its queue."""


class State(NamedTuple):
    """The file, the lock, every process, and what no process can see: whether a change was cut off."""

    page: bytes
    """The first page, as far as it changes."""
    content: bytes
    cut: bool
    """Somebody was killed between the first step of a change and its commit."""
    alone: int
    shared: frozenset[int]
    turn: int
    line: tuple[int, ...]
    """Who waits for the lock, having had the turn; in this order."""
    last: int
    """The version when the successor came; 0 before that."""
    processes: tuple[Process, ...]

    def moved(self, who: int, process: Process, **changes: object) -> State:
        """The state after a step of one process."""
        processes = (*self.processes[:who], process, *self.processes[who + 1 :])
        return self._replace(processes=processes)._replace(**changes)  # type: ignore[arg-type]  # of a field's type

    def ringing(self) -> State:
        """The same, with an event for everybody who watches."""
        return self._replace(processes=tuple(p._replace(event=True) if p.watching else p for p in self.processes))

    def written(self, data: bytes, offset: int) -> State:
        """The same, with some bytes of the first page written."""
        return self._replace(page=self.page[:offset] + data + self.page[offset + len(data) :])

    def version(self) -> int:
        """The version that a look at the records finds."""
        commit = live(self.page[RECORDS_OFFSET:])
        assert commit is not None
        return commit.version

    def is_marked(self) -> bool:
        """Whether the file says that a change was begun and not ended."""
        return begun(self.page[DIRTY_OFFSET : DIRTY_OFFSET + DIRTY_BYTES], self.version())

    def without(self, who: int) -> State:
        """The same, with the locks of a process freed."""
        return self._replace(
            alone=NOBODY if self.alone == who else self.alone,
            shared=self.shared - {who},
            turn=NOBODY if self.turn == who else self.turn,
            line=tuple(one for one in self.line if one != who),
        )


# --- the lock


def asking(state: State, who: int, mutant: Mutant | None) -> Iterator[State]:
    """Take the turn, then the lock, and give the turn back; or be tired of waiting."""
    me = state.processes[who]
    if me.at == "ask":
        if mutant == "no turn" or state.turn == NOBODY:
            turn = NOBODY if mutant == "no turn" else who
            yield state.moved(who, me._replace(at="line"), turn=turn, line=(*state.line, who))
        return
    is_abandoned = me.at == "given up"
    if _is_free(state, me, mutant):
        if not is_abandoned and state.line[0] != who:
            raise Violation("somebody who came later has overtaken one who waits")
        locks: dict[str, object] = {"alone": who} if me.kind == "changer" else {"shared": state.shared | {who}}
        after = state.moved(who, me._replace(at="give back" if is_abandoned else "look"))
        turn = NOBODY if state.turn == who else state.turn
        line = tuple(one for one in state.line if one != who)
        yield after._replace(turn=turn, line=line)._replace(**locks)  # type: ignore[arg-type]  # of a field's type
    if not me.patient and not is_abandoned:
        turn = state.turn if mutant == "turn kept" or state.turn != who else NOBODY
        line = tuple(one for one in state.line if one != who)
        yield state.moved(who, me._replace(at="given up"), turn=turn, line=line)


def _is_free(state: State, me: Process, mutant: Mutant | None) -> bool:
    if me.kind != "changer":
        return mutant == "readers share with a writer" or state.alone == NOBODY
    return state.alone == NOBODY and (mutant == "readers share with a writer" or not state.shared)


def looked(state: State, who: int, mutant: Mutant | None) -> bool:
    """Under the lock: is this told that a change was cut off? The content must be sound if not."""
    if mutant == "readers do not look" and state.processes[who].kind != "changer":
        return False
    told = state.is_marked()
    if told and not state.cut:
        raise Violation("told of an owner's death, but nobody has died in a change")
    if not told and state.content != bytes([state.version()] * 2):
        raise Violation(f"not told, but version {state.version()} has the content {state.content!r}")
    return told


# --- the processes, a step each


def changer(state: State, who: int, mutant: Mutant | None) -> Iterator[State]:
    """Take the lock, look at the mark, change the content or mend it, commit, unlock."""
    me = state.processes[who]
    steps = steps_of(mutant)
    if me.at in {"ask", "line", "given up"}:
        yield from asking(state, who, mutant)
    elif me.at == "look":
        looked(state, who, mutant)  # told of it, this one goes on with `recover`
        yield state.moved(who, me._replace(at=steps[0], version=state.version() + 1))
    elif me.at == "give back":
        yield state.moved(who, me._replace(at="gone")) if mutant == "lock kept" else _left(state, who)
    elif me.at in steps:
        yield _changed(state, who, mutant, steps)


def killed(state: State, who: int, mutant: Mutant | None) -> State:
    """After SIGKILL: the kernel has freed the lock and the turn."""
    steps = steps_of(mutant)
    has_begun = state.processes[who].at in steps[1 : steps.index("commit") + 1]
    return _left(state, who)._replace(cut=state.cut or (has_begun and state.processes[who].kind == "changer"))


def _left(state: State, who: int) -> State:
    return state.without(who).moved(who, state.processes[who]._replace(at="gone"))


def _changed(state: State, who: int, mutant: Mutant | None, steps: tuple[str, ...]) -> State:
    """One step of a change."""
    me = state.processes[who]
    next_step = steps[steps.index(me.at) + 1] if me.at != steps[-1] else ""
    after = state
    if me.at == "mark":
        after = state.written(pack_dirty(me.version), DIRTY_OFFSET)
    elif me.at == "clear":
        after = state.written(bytes(DIRTY_BYTES), DIRTY_OFFSET)
    elif me.at == "first":
        after = state._replace(content=bytes([me.version]) + state.content[1:])
    elif me.at == "second":
        after = state._replace(content=state.content[:1] + bytes([me.version]))
    elif me.at == "commit":
        after = state.written(pack_commit(me.version, b""), record_offset(me.version))._replace(cut=False)
    elif me.at == "unlock":
        after = state.without(who)
    if me.at == ("mark" if mutant == "early bell" else "commit"):
        after = after.ringing()
    if next_step:
        return after.moved(who, me._replace(at=next_step))
    return after.moved(who, me._replace(at="ask" if me.rounds > 1 else "gone", rounds=me.rounds - 1))


def reader(state: State, who: int, mutant: Mutant | None) -> Iterator[State]:
    """Share the lock, look at the mark, read the content in two halves, unlock; one who stays keeps the lock."""
    me = state.processes[who]
    if me.at in {"ask", "line"}:
        yield from asking(state, who, mutant)
    elif me.at == "look":
        told = looked(state, who, mutant)
        yield state.moved(who, me._replace(at="unlock" if told else "first", version=state.version()))
    elif me.at == "first":
        yield state.moved(who, me._replace(at="second", data=state.content[:1]))
    elif me.at == "second":
        if me.data + state.content[1:] != bytes([me.version] * 2):
            raise Violation(f"read {me.data + state.content[1:]!r} as version {me.version}")
        yield state.moved(who, me._replace(at="stay" if me.kind == "stayer" else "unlock"))
    elif me.at == "unlock":
        yield _left(state, who)


def watcher(state: State, who: int, mutant: Mutant | None) -> Iterator[State]:
    """Add the watch; look at the version, at the successor word, and then at the version again; wait; drain."""
    me = state.processes[who]
    if me.at == "watch":
        yield state.moved(who, me._replace(at="wait" if mutant == "watch late" else "version", watching=True))
    elif me.at in {"version", "version again"}:
        version = state.version()
        if version > me.version:  # it is given out
            yield state.moved(who, me._replace(at="version", version=version))
        else:
            yield state.moved(who, me._replace(at="word" if me.at == "version" else "ended"))
    elif me.at == "word":
        is_over = state.page[SUCCESSOR_OFFSET : SUCCESSOR_OFFSET + len(SUCCEEDED)] == SUCCEEDED
        yield state.moved(who, _word_looked_at(me, is_over=is_over, mutant=mutant))
    elif me.at == "wait" and me.event:
        yield state.moved(who, me._replace(at="version" if mutant == "drain late" else "drain"))
    elif me.at == "drain":
        yield state.moved(who, me._replace(at="wait" if mutant == "drain late" else "version", event=False))


def _word_looked_at(me: Process, *, is_over: bool, mutant: Mutant | None) -> Process:
    if is_over:
        return me._replace(at="ended" if mutant == "version once" else "version again")
    if mutant == "watch late" and not me.watching:
        return me._replace(at="watch")
    return me._replace(at="drain" if mutant == "drain late" and me.event else "wait")


def successor(state: State, who: int, _: Mutant | None) -> Iterator[State]:
    """Give the name to another memory, and say so in this one."""
    me = state.processes[who]
    if me.at == "ask":
        after = state.written(SUCCEEDED, SUCCESSOR_OFFSET).ringing()
        yield after.moved(who, me._replace(at="gone"), last=state.version())


Step: TypeAlias = Callable[[State, int, Mutant | None], Iterator[State]]
STEP: Final[dict[str, Step]] = {
    "changer": changer,
    "reader": reader,
    "stayer": reader,
    "watcher": watcher,
    "successor": successor,
}


def explore(*processes: Process, mutant: Mutant | None = None) -> int:
    """Visit every state that can be reached; return how many. A violation is raised where it is found."""
    start = State(bytes(RECORDS_OFFSET + RECORDS_BYTES), b"\1\1", False, NOBODY, frozenset(), NOBODY, (), 0, processes)
    start = start.written(pack_commit(1, b""), record_offset(1))
    steps = [STEP[process.kind] for process in processes]
    seen, todo = {start}, [start]
    while todo:
        state = todo.pop()
        following = [after for who, step in enumerate(steps) for after in step(state, who, mutant)]
        if not following:
            check_end(state)
        mortal = [who for who, process in enumerate(state.processes) if process.at != "gone" and is_mortal(process)]
        for after in (*following, *(killed(state, who, mutant) for who in mortal)):
            if after not in seen:
                seen.add(after)
                todo.append(after)
    return len(seen)


def is_mortal(process: Process) -> bool:
    """Whether it is killed at every step: a watcher that dies is no loss."""
    return process.kind != "watcher"


def check_end(state: State) -> None:
    """Where nobody can go on: whoever waits does so for somebody who lives, and every watcher has seen the last."""
    for process in state.processes:
        if process.kind == "watcher" and process.version < (state.last if process.at == "ended" else state.version()):
            raise Violation(f"a watcher {process.at}s at version {process.version} of {state.version()}")
        if process.at == "wait" and state.last:
            raise Violation("a watcher sleeps although there is a successor")
        if process.at in {"ask", "line"} and not waits_rightly(state, process):
            raise Violation(f"a {process.kind} waits for nobody")


def waits_rightly(state: State, process: Process) -> bool:
    """Whether it waits for one who stays, or behind somebody who waits for that one."""
    in_line = any(other.kind == "changer" and other.at == "line" for other in state.processes)
    return bool(state.shared) and (process.kind == "changer" or in_line)


def changing(mutant: Mutant | None = None) -> int:
    """Two who change it, twice each, and one who reads under the shared lock."""
    two = Process("ask", "changer", rounds=2)
    return explore(two, two, Process("ask", "reader"), mutant=mutant)


def standing_in_line(mutant: Mutant | None = None) -> int:
    """One keeps the shared lock, one gives up waiting to be alone, one is patient for a while, one wants to share."""
    changer = Process("ask", "changer")
    reader = Process("ask", "reader")
    return explore(Process("ask", "stayer"), changer._replace(patient=False), changer, reader, mutant=mutant)


def watching(mutant: Mutant | None = None) -> int:
    """Two who change it, one who watches, and a successor."""
    changer = Process("ask", "changer")
    watcher = Process("version" if mutant == "watch late" else "watch", "watcher")
    return explore(changer, changer, watcher, Process("ask", "successor"), mutant=mutant)


# --- what it says


def test_whoever_has_the_lock_is_told_exactly_of_a_change_that_was_cut_off() -> None:
    """Whatever the interleaving and wherever somebody is killed: told, or the content is that of the version."""
    assert changing() > 3_000


def test_nobody_is_overtaken_and_nobody_waits_for_the_dead() -> None:
    """Alone or shared, killed or given up: who has had its turn is next, and stands in nobody's way afterwards."""
    assert standing_in_line() > 3_000


def test_no_watcher_sleeps_through_the_last_change() -> None:
    """It ends with a successor, and not before it has given the last version of before that."""
    assert watching() > 3_000


@pytest.mark.parametrize("mutant", ["no mark", "mark late", "commit first", "unlock first", "readers do not look"])
def test_a_wrong_mark_is_caught(mutant: Mutant) -> None:
    """The model finds who is not told of a change that was cut off, or is told of one that was not."""
    with pytest.raises(Violation, match=r"told|read"):
        changing(mutant)


def test_a_mark_taken_off_before_the_commit_is_caught() -> None:
    """Killed between the two, the content has changed and the version has not."""
    with pytest.raises(Violation, match="not told"):
        changing("mark taken off first")


def test_a_lock_that_does_not_exclude_is_caught() -> None:
    """The model finds the halves which do not agree."""
    with pytest.raises(Violation, match=r"read|told"):
        changing("readers share with a writer")


@pytest.mark.parametrize(
    ("mutant", "found"), [("no turn", "overtaken"), ("turn kept", "nobody"), ("lock kept", "nobody")]
)
def test_a_wrong_way_to_stand_in_line_is_caught(mutant: Mutant, found: str) -> None:
    """The model finds who is overtaken, and who waits behind somebody who has given up."""
    with pytest.raises(Violation, match=found):
        standing_in_line(mutant)


@pytest.mark.parametrize("mutant", ["watch late", "drain late", "early bell", "version once"])
def test_a_wrong_way_to_wait_is_caught(mutant: Mutant) -> None:
    """The model finds the change, or the successor, that each wrong variant misses."""
    with pytest.raises(Violation, match="a watcher"):
        watching(mutant)


def test_the_words_and_the_records_share_no_byte() -> None:
    """The model writes whole fields: as in the file, none lies in another."""
    fields = [(DIRTY_OFFSET, DIRTY_BYTES), (SUCCESSOR_OFFSET, len(SUCCEEDED))]
    fields += [(record_offset(version), RECORD_BYTES) for version in (0, 1)]
    places = [place for start, length in fields for place in range(start, start + length)]
    assert len(places) == len(set(places))
