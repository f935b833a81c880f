"""The benchmarks run, and what they compute from figures is right. What they measure is never asserted."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs
import click
import pytest
from click.testing import CliRunner

from benchmarks import processes
from benchmarks.command import bench, contenders_of, with_figures
from benchmarks.figures import Better, Sample, Summary, count_for, is_met, p99_of, summary_of
from benchmarks.goals import ROWS, SAME_CALL, SPLIT_CALL, Goal, Verdict, verdict
from benchmarks.machine import Machine, this_machine
from benchmarks.processes import Absent, Side, environment
from benchmarks.replay import Step, recorded
from benchmarks.report import Report, read_json, write_json
from benchmarks.runner import Baseline, Effort, Entrant, groups_of, measure, placed
from benchmarks.show import as_markdown, as_text
from benchmarks.sides import Place, burst_rate, rate, timed_each
from benchmarks.works import (
    ARRAYS,
    CONTENDERS,
    IN_TRIO,
    OURS,
    UNCOMPILED,
    WORKS,
    C,
    Contender,
    Figure,
    Placement,
    Setting,
)

from .conftest import Children

ROOT = Path(__file__).parent.parent
BENCH = [sys.executable, "-c", "from namedipc.cli import main; main(prog_name='namedipc')", "bench"]
UNCOMPILED_TOO = [] if CONTENDERS[UNCOMPILED].missing() else [UNCOMPILED]
"""Takes part where there is anything compiled, to be without."""
PARTS = 3
"""The smoke run comes in so many parts, for machines which have other tests to run."""
needs_c = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler: no cc")
one_python = pytest.mark.skipif(
    sys.version_info[:2] != (3, 11), reason="the smoke run of the benchmarks is taken on Python 3.11 only"
)


# ------------------------------------------------------------ arithmetic


def test_the_99th_percentile_has_at_most_one_of_a_hundred_above_it() -> None:
    """Of a thousand values ten at most are greater; of a few the greatest is taken."""
    values = [float(value) for value in reversed(range(1000))]
    assert p99_of(values) == 990
    assert p99_of([3.0, 1.0, 2.0]) == 3
    assert p99_of([5.0]) == 5


def test_rounds_are_summed_up_by_medians() -> None:
    """One bad round changes neither figure; where nothing was timed by itself there is no percentile."""
    assert summary_of([Sample(2, 0.1, 5), Sample(900, 0.1, 4), Sample(1, 0.1, 800)]) == Summary(2, 5, 3)
    assert summary_of([Sample(2, 0.1), Sample(4, 0.1)]) == Summary(3, None, 2)


@pytest.mark.parametrize(
    ("figure", "better", "met"),
    [(1.9, Better.LOWER, True), (2, Better.LOWER, True), (2.1, Better.LOWER, False), (1.9, Better.HIGHER, False)],
)
def test_a_bound_is_met_on_its_right_side(figure: float, better: Better, met: bool) -> None:
    """What is demanded itself is enough, whichever way it goes."""
    assert is_met(figure, 2, better) is met
    assert is_met(2, 2, better)


def test_a_count_fills_a_round() -> None:
    """In proportion, and never nothing."""
    assert count_for(0.15, count=100, took=0.05) == 300
    assert count_for(0.15, count=1, took=9) == 1
    assert count_for(0.15, count=1, took=0) > 1


def test_a_goal_is_a_ratio_of_two_medians_or_a_figure_itself() -> None:
    """And nothing where one of them is missing."""
    ours, theirs = Figure(SPLIT_CALL, OURS), Figure(SPLIT_CALL, "pyzmq")
    figures = {ours: Summary(30, 99, 5), theirs: Summary(200, 300, 5)}
    goal = Goal(ours, theirs, must=0.2, aim=0.1)
    value = goal.value(figures.get)
    assert value == pytest.approx(0.15)
    assert verdict(value, goal.must, goal.better) is Verdict.MET
    assert verdict(value, goal.aim, goal.better) is Verdict.NOT_MET
    assert Goal(ours, must=40).value(figures.get) == 30
    assert goal.value({ours: figures[ours]}.get) is None
    assert verdict(None, goal.must, goal.better) is Verdict.OPEN


# ------------------------------------------------------------ data


def test_every_figure_that_a_row_needs_can_be_measured() -> None:
    """Whom a goal names does that work; a row without goals is shown for its own sake."""
    for row in ROWS.values():
        for goal in row.goals:
            for figure in filter(None, (goal.ours, goal.of)):
                assert figure.setting.work in CONTENDERS[figure.contender].does
            assert CONTENDERS[goal.ours.contender].is_ours
            assert (goal.must, goal.aim) != (None, None)
        assert row.goals or row.shown


@pytest.mark.parametrize("contender", CONTENDERS.values(), ids=lambda contender: contender.name)
def test_a_contender_s_module_does_what_is_said_of_it(contender: Contender) -> None:
    """Its `WORKS` are those of the table, with a server unless it needs none. They are read: it need not be there."""
    if not contender.module:
        assert contender.name == C
        return
    source = (ROOT / "benchmarks" / "peers" / f"{contender.module}.py").read_text()
    (works,) = [
        node.value
        for node in ast.parse(source).body
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "WORKS"
    ]
    assert isinstance(works, ast.Dict)
    pairs = {
        ast.literal_eval(key): ast.unparse(pair.args[0])
        for key, pair in zip(works.keys, works.values, strict=True)
        if key is not None and isinstance(pair, ast.Call)
    }
    assert pairs.keys() == contender.does.keys() <= WORKS.keys()
    assert {work for work, serve in pairs.items() if serve == "None"} == contender.alone


def test_who_is_compared() -> None:
    """Ours always; the peers that were named, or all of them."""
    alone = contenders_of((), compare=False)
    assert OURS in alone
    assert all(CONTENDERS[name].is_ours for name in alone)
    assert set(contenders_of(("raw",), compare=False)) == {*alone, "raw"}
    everybody = [name for name in CONTENDERS if name != UNCOMPILED or UNCOMPILED_TOO]
    assert contenders_of((), compare=True) == everybody


# ------------------------------------------------------------ who with whom


def test_what_is_compared_is_measured_together() -> None:
    """A setting of several rows comes once, and figures whose ratio is wanted are in one group."""
    groups = groups_of(ROWS.values(), CONTENDERS)
    figures = [figure for group in groups for figure in group]
    assert len(figures) == len(set(figures))
    for row in ROWS.values():
        for goal in row.goals:
            (group,) = [group for group in groups if goal.ours in group]
            assert goal.of is None or goal.of in group
    assert [figure.setting for figure in groups[0]] == [SPLIT_CALL] * len(groups[0])


def test_one_row_measures_that_row_only() -> None:
    """So it is cheap to repeat."""
    (group,) = groups_of([ROWS["call-one-core"]], contenders_of(("raw",), compare=False))
    assert group == [Figure(SAME_CALL, name) for name in (OURS, IN_TRIO, *UNCOMPILED_TOO, "raw")]


def test_contenders_take_turns() -> None:
    """In each round every contender has its turn, in real processes; the figures are positive."""
    group = [Figure(SAME_CALL, "manager"), Figure(SAME_CALL, "asyncio")]
    steps: list[str] = []
    outcomes = measure([group], Effort(rounds=3, round_seconds=0.004), steps.append)
    turns = [step.rpartition(": ")[2].partition(" ")[0] for step in steps]
    assert turns == ["multiprocessing", "asyncio"] * 6  # the server, the client, the warm-up, and three rounds
    assert list(outcomes) == group
    for outcome in outcomes.values():
        assert isinstance(outcome, Summary)
        assert outcome.median > 0
        assert outcome.rounds == 3


def test_a_round_is_as_long_as_it_should_be(tmp_path: Path) -> None:
    """The count is found by trying; what the first time takes longer, or one of two, does not make rounds short."""
    script = """
import sys
print("ready", flush=True)
for asked, line in enumerate(sys.stdin):
    seconds = 9.0 if asked in (0, 2) else int(line) / 1000
    print('{"value": %d, "seconds": %f, "p99": null}' % (int(line), seconds), flush=True)
"""
    entrant = Entrant(Figure(SAME_CALL, "raw"), Effort(round_seconds=0.2), tmp_path, Baseline(tmp_path))
    with side(script, tmp_path) as client:
        entrant._sides.append(client)
        entrant.warm()
        entrant.round(0)
    assert entrant.outcome() == Summary(200, None, 1)


def test_operations_are_counted_as_they_come() -> None:
    """In batches the last one is whole; a burst is as long as it is asked for; single ones are each timed."""
    calls: list[int] = []
    assert rate(lambda: calls.append(64), 64)(100).value > 0
    assert sum(calls) == 128
    calls.clear()
    assert burst_rate(calls.append)(100).p99 is None
    assert calls == [100]
    sample = timed_each(lambda: calls.append(1))(3)
    assert calls == [100, 1, 1, 1]
    assert sample.p99 is not None
    assert 0 < sample.value <= sample.p99 * 3
    assert sample.value == pytest.approx(sample.seconds / 3 * 1e6)


def test_a_work_by_itself_on_one_core_needs_two(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is one core only, rows with a core each are left out, and the others are not."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3})
    assert placed(Placement.SAME) == (3, 3)
    with pytest.raises(Absent, match="one core only"):
        placed(Placement.SPLIT)


# ------------------------------------------------------------ who takes no part


def test_who_is_not_installed_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """With what is missing; the others go on."""
    lacking = attrs.evolve(CONTENDERS["manager"], needs=("no_such_module",))
    monkeypatch.setitem(CONTENDERS, "manager", lacking)
    group = [Figure(SAME_CALL, "manager"), Figure(SAME_CALL, "asyncio")]
    outcomes = measure([group], Effort(rounds=1, smoke=True), lambda _: None)
    assert outcomes[group[0]] == "not installed: no_such_module"
    assert isinstance(outcomes[group[1]], Summary)


@pytest.mark.parametrize(
    ("compiler", "reason"),
    [("/nowhere/cc -x", "no C compiler: /nowhere/cc"), ("sh -c 'echo broken >&2; exit 1'", "does not compile: broken")],
)
def test_without_a_compiler_c_is_left_out(
    compiler: str, reason: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It is tried once, and the reason is the same each time."""
    monkeypatch.setenv("CC", compiler)
    baseline = Baseline(tmp_path)
    with pytest.raises(Absent, match=reason) as first:
        baseline.program()
    monkeypatch.delenv("CC")
    with pytest.raises(Absent) as second:
        baseline.program()
    assert second.value is first.value


@contextmanager
def side(script: str, directory: Path) -> Iterator[Side]:
    """A side which is this script."""
    core = min(os.sched_getaffinity(0))
    made = Side([sys.executable, "-c", script], core=core, log=directory / "log", is_server=True)
    try:
        yield made
    finally:
        made.close()


def test_a_side_that_hangs_is_given_up_and_killed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What it started dies with it, also what ignores SIGTERM."""
    monkeypatch.setattr(processes, "END_SECONDS", 0.05)
    script = """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = os.fork()
if child:
    print("ready", flush=True)
    print(child, flush=True)
signal.pause()
"""
    with side(script, tmp_path) as hanging:
        hanging.wait_ready(20)
        grandchild = int(hanging._read_line(20))
        with pytest.raises(Absent, match="gave no answer"):
            hanging.ask(1, 0.05)
    while is_alive(grandchild):
        time.sleep(0.01)


def is_alive(pid: int) -> bool:
    """Whether there is such a process; a zombie that init has not reaped is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("import no_such_module", "No module named 'no_such_module'"),
        ("pass", "ended without a word"),
        ("print('hello')", "said 'hello' instead of being ready"),
    ],
)
def test_a_side_that_cannot_start_says_why(script: str, reason: str, tmp_path: Path) -> None:
    """The last line of what it complained."""
    with side(script, tmp_path) as failing, pytest.raises(Absent, match=reason):
        failing.wait_ready(20)


def test_a_side_s_core_is_its_own(tmp_path: Path) -> None:
    """It is pinned from its first instruction, and whoever started it is not."""
    before = os.sched_getaffinity(0)
    core = max(before)
    script = f"import os; print('ready' if os.sched_getaffinity(0) == {{{core}}} else 'elsewhere')"
    pinned = Side([sys.executable, "-c", script], core=core, log=tmp_path / "log", is_server=False)
    try:
        pinned.wait_ready(20)
    finally:
        pinned.close()
    assert os.sched_getaffinity(0) == before


# ------------------------------------------------------------ replaying


def test_a_conversation_is_recorded_step_by_step(child: Children, tmp_path: Path) -> None:
    """What the client sends in one step, and how many bytes then come; what the server says first is a step, too."""
    script = """
    import socket, sys
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(sys.argv[1])
    listener.listen()
    print("ready", flush=True)
    stream, _ = listener.accept()
    stream.sendall(b"hello")
    while data := stream.recv(100):
        stream.sendall(data * 2)
    """
    place = Place(tmp_path)
    child(script, place.path).expect("ready")

    @contextmanager
    def connected(between: Place) -> Iterator[Callable[[], None]]:
        with socket.socket(socket.AF_UNIX) as stream:
            stream.connect(between.path)
            assert stream.recv(5, socket.MSG_WAITALL) == b"hello"

            def call() -> None:
                stream.sendall(b"abc")
                assert stream.recv(6, socket.MSG_WAITALL) == b"abcabc"

            yield call

    assert recorded(place, connected) == [Step(b"", 5), *[Step(b"abc", 6)] * 4]


# ------------------------------------------------------------ showing


def example() -> Report:
    """Figures of three contenders, and two who have none."""
    return Report(
        Machine("A processor", 2, "6.18", "3.11"),
        ("call", "array"),
        {
            Figure(SPLIT_CALL, OURS): Summary(30, 45.5, 5),
            Figure(SPLIT_CALL, C): Summary(60, 70, 5),
            Figure(SPLIT_CALL, "pyzmq"): Summary(120, 200, 5),
            Figure(SPLIT_CALL, "raw"): "gave no answer within 60 s",
            Figure(Setting("array", argument=100_000_000), ARRAYS): "TooLarge: so it is",
        },
    )


def test_the_report_is_written_and_read(tmp_path: Path) -> None:
    """As JSON, with the verdicts, and it is the same afterwards."""
    report = example()
    write_json(report, tmp_path / "report.json")
    assert read_json(tmp_path / "report.json") == report
    goals = json.loads((tmp_path / "report.json").read_text())["goals"]
    assert [(goal["row"], goal["value"], goal["must_met"], goal["aim_met"]) for goal in goals] == [
        ("call", 0.25, "not met", "not met"),
        ("call", None, "-", "-"),
        ("call", 0.5, "-", "not met"),
        ("array", None, "-", "-"),
    ]


def test_text_and_markdown_have_the_same_figures() -> None:
    """The machine, each goal with its ratio and verdicts, each figure with its ratio to C, and who was left out."""
    text, markdown = as_text(example()), as_markdown(example())
    for shown in (text, markdown):
        assert "A processor, 2 cores, Linux 6.18, Python 3.11" in shown
        assert "Typed calls, one in flight, a core each" in shown
        assert "raw sockets + msgspec (Typed calls, one in flight): gave no answer within 60 s" in shown
        assert "TooLarge: so it is" in shown
    (line,) = [line.split("  ") for line in text.splitlines() if "pyzmq REQ/REP + msgspec" in line and "<=" in line]
    assert [cell.strip() for cell in line if cell][1:] == [
        "30.0 us",
        "pyzmq REQ/REP + msgspec",
        "120 us",
        "0.25",
        "<= 0.20",
        "not met",
        "<= 0.15",
        "not met",
    ]
    assert "| namedipc, blocking client | 30.0 us | 45.5 us | 0.50 |" in markdown
    for shown in (text, markdown):
        assert "0 of 1 musts met, 0 of 2 aims met" in shown
    assert "A smoke run" in as_text(attrs.evolve(example(), smoke=True))


def test_figures_go_between_the_marks_of_a_page() -> None:
    """And replace those which are there; a page without marks is an error."""
    page = "before\n<!-- figures -->\nold\n<!-- end of figures -->\nafter\n"
    assert with_figures(page, "new") == "before\n<!-- figures -->\n\nnew\n\n<!-- end of figures -->\nafter\n"
    with pytest.raises(click.ClickException):
        with_figures("nothing", "new")


def test_the_page_of_the_documentation_has_the_marks() -> None:
    """So that the tool can put figures there."""
    page = (ROOT / "docs" / "benchmarks.md").read_text()
    assert "figures are here" in with_figures(page, "figures are here")


def test_the_page_tells_of_every_row_and_every_peer() -> None:
    """What each row does, and how each peer is used; of nothing that there is not."""
    page = (ROOT / "docs" / "benchmarks.md").read_text()
    tables = page.partition("## The rows")[2].partition("## Figures")[0]
    told = {
        name for cell in re.findall(r"^\| (`[^|]*) \|", tables, re.MULTILINE) for name in re.findall(r"`([^`]+)`", cell)
    }
    peers = {name for name, contender in CONTENDERS.items() if not contender.is_ours}
    assert told == {*ROWS, *peers}


def test_the_machine_is_named() -> None:
    """By its processor, the cores that may be used, its kernel and its Python."""
    assert f", {len(os.sched_getaffinity(0))} cores, Linux " in this_machine().in_words()


def test_drawing_needs_matplotlib(tmp_path: Path) -> None:
    """With it there are pictures of what was measured, without it there is a word on how to get it."""
    write_json(example(), tmp_path / "report.json")
    result = CliRunner().invoke(bench, ["--read", str(tmp_path / "report.json"), "--svg", str(tmp_path / "svg")])
    if result.exit_code:
        assert "namedipc[bench]" in result.output
    else:
        assert "namedipc, blocking client" in (tmp_path / "svg" / "latency.svg").read_text()


# ------------------------------------------------------------ running


@one_python
@needs_c
@pytest.mark.parametrize("part", range(PARTS))
def test_smoke_run_of_every_row(part: int, tmp_path: Path) -> None:
    """Every row of ours runs in real processes, and has a figure, or is not there yet and says why."""
    path = tmp_path / "report.json"
    rows = [name for name, row in ROWS.items() if row.goals][part::PARTS]
    options = [word for name in rows for word in ("--row", name)]
    done = subprocess.run(
        [*BENCH, "--smoke", "--json", str(path), *options], capture_output=True, text=True, timeout=58, check=False
    )
    assert done.returncode == 0, done.stderr
    document = json.loads(path.read_text())
    assert document["smoke"]
    assert document["rows"] == rows
    assert {goal["row"] for goal in document["goals"]} == set(rows)
    for figure in document["figures"]:
        if figure["absent"]:
            assert figure["contender"] in {"namedipc-views", "namedipc-arrays"}, figure
        else:
            assert figure["rounds"] == 1
            assert figure["median"] >= 0
    assert "Row " in done.stdout


@needs_c
def test_smoke_run_of_one_row_beside_peers(tmp_path: Path) -> None:
    """C, raw sockets and ourselves: the row has three ratios or says whom it was not compared with."""
    path = tmp_path / "report.json"
    peers = ["--peer", "c", "--peer", "raw"]
    subprocess.run([*BENCH, "--smoke", "--row", "call", *peers, "--json", str(path)], timeout=50, check=True)
    document = json.loads(path.read_text())
    assert [figure["contender"] for figure in document["figures"]] == [OURS, IN_TRIO, *UNCOMPILED_TOO, C, "raw"]
    values = [goal["value"] for goal in document["goals"]]
    assert values[0] is None
    assert all(value > 0 for value in values[1:])


def test_an_installed_package_has_the_benchmarks_inside(tmp_path: Path) -> None:
    """There the command finds them, and so do its processes."""
    shutil.copytree(ROOT / "src" / "namedipc", tmp_path / "namedipc")
    shutil.copytree(ROOT / "benchmarks", tmp_path / "namedipc" / "_benchmarks")
    done = subprocess.run(
        [*BENCH, "--smoke", "--row", "call-one-core"],
        capture_output=True,
        text=True,
        timeout=50,
        check=True,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        cwd=tmp_path,
    )
    assert "namedipc, blocking client" in done.stdout
    assert "Left out" not in done.stdout


def test_hostile_runs_and_prints_a_row_for_each_offender() -> None:
    """A smoke run with two kinds of offender: each has its latencies alone, beside it and beside the control."""
    options = ["--only", "flood", "garbage", "--rounds=1", "--calls=20", "--json"]
    run = subprocess.run(
        [sys.executable, "-m", "benchmarks.hostile", *options],
        capture_output=True,
        text=True,
        timeout=50,
        check=True,
        env=environment(),
    )
    rows = json.loads(run.stdout)
    assert [row["offender"] for row in rows] == ["flood", "garbage"]
    assert all(row[place]["p99"] >= row[place]["p50"] > 0 for row in rows for place in ("alone", "beside", "control"))
