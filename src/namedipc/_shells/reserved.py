"""The reserved interface: what every service answers, whoever asks, without its own interface being known.

The law: nothing here waits or changes anything; the document is made when it is first asked for.
"""

from __future__ import annotations

import datetime
import functools
import json
import os
from collections.abc import Callable
from typing import Any, Final

from .. import lowlevel
from .._codec import Codec
from .._json_schema import json_schema
from .._protocol.frames import Reserved
from .._schema import Schema
from .._statistics import Identity, ServiceStatistics
from .._version import __version__

NOTHING: Final[Codec[None]] = Codec(None)
IDENTITY: Final[Codec[Identity]] = Codec(Identity)
STATISTICS: Final[Codec[ServiceStatistics]] = Codec(ServiceStatistics)


class ReservedAnswers:
    """The answers of one service.

    Args:
        schema: Its interface.
        statistics: What it has done so far.
    """

    def __init__(self, schema: Schema[Any], statistics: Callable[[], ServiceStatistics]) -> None:
        self._schema = schema
        self._statistics = statistics
        self._identity = Identity(
            pid=os.getpid(),
            uid=os.geteuid(),
            executable=_executable(),
            interface=schema.name,
            version=__version__,
            began=datetime.datetime.now(datetime.UTC),
        )

    def body(self, number: int, *, is_json: bool) -> bytes:
        """Return the body of the reply to a call of the method with this number."""
        if number == Reserved.SCHEMA:
            return self._document
        if number == Reserved.IDENTITY:
            return _encode(IDENTITY, self._identity, is_json=is_json)
        if number == Reserved.STATISTICS:
            return _encode(STATISTICS, self._statistics(), is_json=is_json)
        return _encode(NOTHING, None, is_json=is_json)

    @functools.cached_property
    def _document(self) -> bytes:
        return json.dumps(json_schema(self._schema), separators=(",", ":")).encode()


def _encode(codec: Codec[Any], value: object, *, is_json: bool) -> bytes:
    return codec.encode_json(value) if is_json else codec.encode(value)


def _executable() -> str:
    try:
        return lowlevel.process_executable(os.getpid())
    except OSError:  # a /proc that hides it
        return ""
