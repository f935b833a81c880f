"""SharedStruct and SharedArray: what both checkers accept, with the exact type."""

from __future__ import annotations

from typing import assert_type

import numpy as np
import numpy.typing as npt

from namedipc import BlockingMemory, Memory, SharedStruct
from namedipc.numpy import SharedArray

from .names import SCALE, Scale

FRAMES = SharedArray("run/frames", np.uint8, (480, 640))

assert_type(SCALE, SharedStruct[Scale])
assert_type(SCALE.at("elsewhere"), SharedStruct[Scale])
assert_type(FRAMES, SharedArray[np.uint8])
assert_type(SharedArray("x", np.dtype(np.float64), 3), SharedArray[np.float64])


async def in_trio() -> None:
    """The memory, alone, shared, after a death, and its changes."""
    async with SCALE.create(if_exists="keep", persist=True, mode=0o660, spin=False) as memory:
        assert_type(memory, Memory[Scale])
        assert_type(memory.content, Scale)
        assert_type(memory.version, int)
        assert_type(memory.is_current, bool)
        async with memory.lock() as scale:
            assert_type(scale, Scale)
            scale.grams += 20
        async with memory.lock_shared() as scale:
            assert_type(scale.grams, int)
        async with memory.recover() as scale:
            assert_type(scale, Scale)
        async for version in memory.watch():
            assert_type(version, int)
        await memory.aclose()
    async with FRAMES.open(wait_seconds=1) as frames, frames.lock() as pixels:
        assert_type(pixels, npt.NDArray[np.uint8])


def in_blocking_code() -> None:
    """The same in blocking code."""
    with SCALE.open(wait_seconds=1) as memory:
        assert_type(memory, BlockingMemory[Scale])
        with memory.lock(timeout=1) as scale, memory.lock_shared(timeout=1) as same:
            assert_type(scale, Scale)
            assert_type(same, Scale)
        with memory.recover(timeout=1) as scale:
            scale.letters = 0
        for version in memory.watch():
            assert_type(version, int)
        memory.close()
    with FRAMES.create(if_exists="replace") as frames:
        assert_type(frames, BlockingMemory[npt.NDArray[np.uint8]])
        assert_type(frames.content, npt.NDArray[np.uint8])
