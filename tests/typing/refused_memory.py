"""SharedStruct and SharedArray: what both checkers refuse. Never imported."""

from __future__ import annotations

import numpy as np

from namedipc import SharedStruct
from namedipc.numpy import SharedArray

from .names import SCALE, Scale, Tariff

SharedStruct("x", Tariff)  # type: ignore[type-var]
SharedStruct("x", Scale())  # type: ignore[arg-type]
SharedStruct("x")  # type: ignore[call-arg]
SharedArray("x", int, 3)  # type: ignore[type-var]
SharedArray("x", np.uint8)  # type: ignore[call-arg]
SharedArray("x", np.uint8, (2.5,))  # type: ignore[arg-type]
SCALE.create(Scale())  # type: ignore[call-arg, arg-type]
SCALE.create(if_exists="ignore")  # type: ignore[arg-type]


async def in_trio() -> None:
    """A field has its type; the content is not replaced but changed; nothing is there before the name is opened."""
    async with SCALE.open() as memory, memory.lock() as scale:
        scale.grams = "heavy"  # type: ignore[assignment]
        memory.content = scale  # type: ignore[misc]
    SCALE.open().lock()  # type: ignore[attr-defined]


def in_blocking_code() -> None:
    """The same in blocking code."""
    with SCALE.open() as memory:
        memory.lock_shared(1)  # type: ignore[call-arg]
        memory.view()  # type: ignore[attr-defined]
