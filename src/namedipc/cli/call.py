"""`namedipc call`: call a method of any service from a shell, in JSON.

The law: standard output has results and nothing else, each in a line.
"""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterable, Iterator, Mapping, Sequence
from contextlib import closing
from typing import TypeAlias

import click

from namedipc import feed, inspect
from namedipc.inspect import JsonValue

from ._asking import asking, errors_in_a_line, show

Argument: TypeAlias = JsonValue | AsyncIterable[JsonValue]


@click.command()
@asking
@click.argument("method")
@click.argument("values", nargs=-1, metavar="[JSON]...")
@click.option("--arg", "pairs", multiple=True, metavar="NAME=JSON", help="An argument by its name.")
def call(
    path: str, timeout: float, wait_seconds: float, method: str, values: Sequence[str], pairs: Sequence[str]
) -> None:
    """Call METHOD of the service at PATH.

    Arguments are JSON, so a text is written '"soup"'. The result is printed in a line, of a stream each item; the
    timeout is then that of each item. A parameter which is a stream is read from standard input, an item a line.
    """
    args: list[Argument] = [_read(value) for value in values]
    kwargs: dict[str, Argument] = dict(map(_read_pair, pairs))
    with errors_in_a_line():
        described = _describe(inspect.schema(path, timeout=timeout, wait_seconds=wait_seconds), method)
        args, kwargs = _with_streams(described, args, kwargs)
        if "items" in described:
            # An argument that is called `timeout` is a TypeError, which is told: a checker knows no dict without it.
            items = inspect.stream(path, method, *args, timeout=timeout, **kwargs)  # type: ignore[arg-type]
            with closing(items):
                for item in items:
                    show(item)
            return
        result = inspect.call(path, method, *args, timeout=timeout, **kwargs)  # type: ignore[arg-type]  # likewise
        if "result" in described:
            show(result)


def _read(text: str) -> JsonValue:
    try:
        value: JsonValue = json.loads(text)
    except ValueError:
        raise click.UsageError(f"{text} is no JSON; a text is written '\"{text}\"'") from None
    return value


def _read_pair(text: str) -> tuple[str, JsonValue]:
    name, equals, value = text.partition("=")
    if not equals:
        raise click.UsageError(f"--arg {text}: write NAME=JSON")
    return name, _read(value)


def _describe(document: Mapping[str, JsonValue], method: str) -> dict[str, JsonValue]:
    """What the service says of a method; nothing of one that it does not have, which the call will tell."""
    methods = document["methods"]
    described = methods.get(method) if isinstance(methods, dict) else None
    return described if isinstance(described, dict) else {}


def _with_streams(
    described: Mapping[str, JsonValue], args: list[Argument], kwargs: dict[str, Argument]
) -> tuple[list[Argument], dict[str, Argument]]:
    """The arguments, with standard input in the place of the stream, if there is one."""
    order, requests = described.get("order"), described.get("requests")
    if not isinstance(order, list) or not isinstance(requests, dict):
        return args, kwargs
    if len(requests) > 1:
        raise click.ClickException(f"there is one standard input, and {len(requests)} parameters are streams")
    plain = [str(name) for name in order if name not in requests]
    if len(args) > len(plain):
        raise click.ClickException(f"{len(args)} arguments were given; beside the stream there are {len(plain)}")
    return [], {**dict(zip(plain, args, strict=False)), **kwargs, **{name: feed(_lines()) for name in requests}}


def _lines() -> Iterator[JsonValue]:
    for line in sys.stdin:
        if line.strip():
            yield _read(line.strip())
