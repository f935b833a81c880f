"""A service loop without trio around it: it pumps when a test tells it to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from namedipc import Limits, anyone, lowlevel
from namedipc._schema import Schema
from namedipc._shells.service_loop import ServiceLoop
from namedipc._shells.suspended import begin_handler
from namedipc._shells.trio_streams import ServedStreams


@contextmanager
def pumped_loop(path: Path, schema: Schema[Any], implementation: object, limits: Limits) -> Iterator[ServiceLoop]:
    """Listen at a path; at the end every connection is closed."""
    with lowlevel.unix_listen(path) as listener:
        listener.setblocking(False)
        loop = ServiceLoop(
            schema,
            implementation,
            listener,
            where=path.name,
            allow=anyone,
            limits=limits,
            spin=False,
            step=begin_handler,
            open_streams=ServedStreams,
        )
        try:
            yield loop
        finally:
            loop.clients.close()
