"""Programs that know nothing of namedipc at the other end: shell tools, `nc`, `socat`, and the chapter's C program.

They run in the test's directory, and are told the name relative to it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain, repeat
from pathlib import Path

import attrs
import pytest
import trio

from namedipc import (
    BlockingConnection,
    Channel,
    ConnectionLost,
    EndOfChannel,
    Fifo,
    InvalidMessage,
    RawFifo,
)

from .c_compiler import compiled

pytestmark = pytest.mark.usefixtures("no_leaks")

SECONDS = 20
LINES = Fifo("lines", str, framing="lines")
SPEECH = Channel("speech", str, framing="lines")


@attrs.frozen
class Order:
    """A message."""

    table: int
    dish: str


@attrs.frozen
class Bill:
    """Another."""

    table: int
    cents: int


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The names are relative to the test's directory."""
    monkeypatch.chdir(tmp_path)


def needs(program: str) -> str:
    """The path of a program; skip the test where it is missing."""
    path = shutil.which(program)
    if path is None:
        pytest.skip(f"no {program} on this machine")
    return path


def netcat() -> str:
    """The path of the `nc` that knows UNIX sockets and half-closes; others have neither."""
    path = needs("nc")
    usage = subprocess.run([path, "-h"], capture_output=True, text=True, check=False)
    if not {"-N", "-U"} <= set((usage.stdout + usage.stderr).split()):
        pytest.skip("the nc on this machine has no -N and -U, which OpenBSD's has")
    return path


@contextmanager
def shell(script: str, *arguments: str, status: int = 0) -> Iterator[subprocess.Popen[bytes]]:
    """Run a script of the shell beside the test; it must end by itself."""
    process = subprocess.Popen(["sh", "-c", script, "sh", *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with process:
        try:
            yield process
            assert process.wait(SECONDS) == status
        finally:
            process.kill()


def printed_by(process: subprocess.Popen[bytes]) -> bytes:
    """Everything it prints."""
    assert process.stdout is not None
    return process.stdout.read()


# ------------------------------------------------------------ a Fifo


def test_cat_reads() -> None:
    """It gets the lines, nothing else, and the end."""
    os.mkfifo(LINES.path)
    with shell("cat lines") as cat:
        with LINES.writer(wait_seconds=SECONDS) as writer:
            writer.send_many(["one", "", "caf\u00e9"])
        assert printed_by(cat) == b"one\n\ncaf\xc3\xa9\n"


def test_tail_follows() -> None:
    """`tail -f` stays for one writer after the other."""
    os.mkfifo(LINES.path)
    with shell("exec tail -f lines", status=-9) as tail:
        assert tail.stdout is not None
        for text in ("first", "second"):
            with LINES.writer(wait_seconds=SECONDS) as writer:
                writer.send(text)
            assert tail.stdout.readline() == f"{text}\n".encode()
        tail.kill()


def test_head_has_had_enough() -> None:
    """It takes what it wants and leaves; then nobody reads any more."""
    os.mkfifo(LINES.path)
    with shell("head -n 2 lines") as head, LINES.writer(wait_seconds=SECONDS) as writer:
        with pytest.raises(ConnectionLost):
            for word in chain(["one", "two"], repeat("more")):
                writer.send(word, timeout=SECONDS)
        assert printed_by(head) == b"one\ntwo\n"


def test_echo_writes() -> None:
    """One program after the other, to a reader that stays."""
    with LINES.reader() as reader:
        for text in ("one", "two words", ""):
            with shell('echo "$1" > lines', text):
                assert reader.receive(timeout=SECONDS) == text


def test_a_line_without_its_newline() -> None:
    """`printf` writes none by itself: told when its writer has left, not taken for a line."""
    with LINES.reader(until_writers_gone=True) as reader, shell("printf 'one\\ntwo' > lines"):
        assert reader.receive(timeout=SECONDS) == "one"
        with pytest.raises(InvalidMessage, match="without its newline"):
            reader.receive(timeout=SECONDS)
        with pytest.raises(EndOfChannel):
            reader.receive(timeout=SECONDS)


async def test_many_writers_and_readers() -> None:
    """Two shells and an end of namedipc write to one FIFO, two readers share it: each line once, and whole."""
    script = 'for number in $(seq 200); do echo "$1 $number"; done > lines'
    received: list[str] = []

    async def read(reader: trio.abc.ReceiveChannel[str]) -> None:
        async for line in reader:
            received.append(line)

    with trio.fail_after(SECONDS):
        async with (
            LINES.reader(until_writers_gone=True) as one,
            LINES.reader(until_writers_gone=True) as other,
            trio.open_nursery() as nursery,
            LINES.writer() as writer,  # stays to the end, so that no reader sees it before all have begun
        ):
            nursery.start_soon(read, one)
            nursery.start_soon(read, other)
            with shell(script, "first"), shell(script, "second"):
                await writer.send_many(f"third {number}" for number in range(1, 201))
                while len(received) < 600:
                    await trio.sleep(0.001)
    writers = ("first", "second", "third")
    assert Counter(received) == Counter(f"{writer} {number}" for writer in writers for number in range(1, 201))


def test_tools_between_two_queues() -> None:
    """A pipeline of shell tools takes from one typed queue and puts into another."""
    numbers = Fifo("numbers", int, framing="json-lines")
    results = Fifo("results", int, framing="json-lines")
    with results.reader(until_writers_gone=True) as reader:
        os.mkfifo(numbers.path)
        with shell("grep -v 3 numbers | sort -rn | awk '{ print $1 * $1 }' > results"):
            with numbers.writer(wait_seconds=SECONDS) as writer:
                writer.send_many([1, 2, 3, 13, 4])
            assert list(reader) == [16, 4, 1]


def test_awk_answers_in_json() -> None:
    """A worker of a dozen words: records in, other records out, both typed at this end."""
    orders = Fifo("orders", Order, framing="json-lines")
    bills = Fifo("bills", Bill, framing="json-lines")
    worker = r"""
        awk -F '[":,}]+' '{ printf "{\"table\": %d, \"cents\": %d}\n", $5, length($3) * 100 }' orders > bills
    """
    os.mkfifo(orders.path)
    with bills.reader(until_writers_gone=True) as reader, shell(worker):
        with orders.writer(wait_seconds=SECONDS) as writer:
            writer.send_many([Order(4, "soup"), Order(7, "cakes")])
        assert list(reader) == [Bill(4, 400), Bill(7, 500)]


# ------------------------------------------------------------ a Channel


def shout(connection: BlockingConnection[str]) -> None:
    """Answer each line."""
    for text in connection:
        connection.send(text.upper())


def test_nc_connects() -> None:
    """It sends what it is given, half-closes, and prints the answers."""
    program = netcat()
    with (
        SPEECH.listen() as listener,
        shell("printf 'hello\\nthere\\n' | \"$1\" -N -U speech", program) as client,
    ):
        with listener.accept(timeout=SECONDS) as connection:
            shout(connection)
        assert printed_by(client) == b"HELLO\nTHERE\n"


async def test_nc_connects_to_trio() -> None:
    """Several at the same time."""
    program = netcat()

    def ask(word: str) -> bytes:
        with shell('echo "$2" | "$1" -N -U speech', program, word) as client:
            return printed_by(client)

    with trio.fail_after(2 * SECONDS):
        async with SPEECH.listen() as listener, trio.open_nursery() as nursery:

            async def answer(connection: trio.abc.Channel[str]) -> None:
                async for text in connection:
                    await connection.send(text[::-1])

            nursery.start_soon(listener.serve, answer)
            for word, answered in (("one", b"eno\n"), ("two", b"owt\n")):
                assert await trio.to_thread.run_sync(ask, word) == answered
            nursery.cancel_scope.cancel()


def test_nc_listens() -> None:
    """It prints what it receives, and what is typed there is received."""
    program = netcat()
    with shell('exec "$1" -lU speech', program) as server, SPEECH.connect(wait_seconds=SECONDS) as connection:
        assert server.stdin is not None
        server.stdin.write(b"typed\n")
        server.stdin.flush()
        assert connection.receive(timeout=SECONDS) == "typed"
        connection.send_many(["one", "two"])
        connection.send_eof()
        assert server.stdout is not None
        assert [server.stdout.readline() for _ in range(2)] == [b"one\n", b"two\n"]
        server.stdin.close()


def test_socat_and_a_shell_serve_json() -> None:
    """A service without Python: a loop of the shell that answers each record with another."""
    socat = needs("socat")
    Path("serve.sh").write_text(
        r"""
        while read -r line; do
            table=$(expr "$line" : '.*"table":\([0-9]*\)')
            echo "{\"table\": $table, \"cents\": ${table}00}"
            echo
        done
        """
    )
    kitchen = Channel("kitchen", dict[str, int], framing="json-lines")
    script = 'exec "$1" UNIX-LISTEN:kitchen EXEC:"sh serve.sh"'
    with shell(script, socat), kitchen.connect(wait_seconds=SECONDS) as connection:
        for table in (4, 17):
            connection.send({"table": table, "guests": 2})
            assert connection.receive(timeout=SECONDS) == {"table": table, "cents": table * 100}
        connection.send_eof()
        assert list(connection) == []


# ------------------------------------------------------------ the chapter's C program


def test_office_hours_in_c(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Both of its ends, at a byte stream and at lines. It writes no newline: that is told, not guessed."""
    program = compiled(Path(__file__).parent / "c" / "office_hours.c", tmp_path_factory.mktemp("c"))
    heard = b'What I hear at office hours is "halp!".'
    raw = RawFifo("office_hours")
    with raw.reader() as stream, shell('"$1" write office_hours', program):
        assert b"".join(iter(lambda: stream.receive_some(timeout=SECONDS), b"")) == b"halp!"
    with shell('"$1" read office_hours', program) as listener:
        with raw.writer(wait_seconds=SECONDS) as stream_writer:
            stream_writer.send_all(b"halp!", timeout=SECONDS)
        assert printed_by(listener) == heard
    hours = Fifo("office_hours", str, framing="lines")
    with shell('"$1" read office_hours', program) as listener:
        with hours.writer(wait_seconds=SECONDS) as writer:
            writer.send("halp!")
        assert printed_by(listener) == heard
    with (
        hours.reader(until_writers_gone=True) as reader,
        shell('"$1" write office_hours', program),
        pytest.raises(InvalidMessage, match="without its newline"),
    ):
        reader.receive(timeout=SECONDS)
