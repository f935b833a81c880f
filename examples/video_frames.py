"""A video from one process to another: numpy frames that are not copied at the receiver.

A camera sends frames of 1.5 MB by a Channel. The viewer works on each in place, and keeps one, whose memory stays its
own; that of all others goes back to the camera, for the next frames.

Prints what the viewer has seen, and how much memory the camera needed for it:

    200 frames of 1.5 MB.
    The square went from column 0 to column 1194.
    The frame that was kept, number 50, has not changed.
    The camera had at most 8 frames on their way.
"""

from __future__ import annotations

from pathlib import Path

import attrs
import numpy as np
import numpy.typing as npt
from _company import run, say, stage

from namedipc import Channel, Limits

HEIGHT, WIDTH, FRAMES = 1200, 1280, 200
SQUARE, STEP, KEPT = 80, 6, 50
FRAME_BYTES = 3 << 19
ON_THEIR_WAY = 8
LIMITS = Limits(payload_bytes=ON_THEIR_WAY * FRAME_BYTES)


@attrs.frozen(eq=False)
class Frame:
    """One picture, grey."""

    number: int
    pixels: npt.NDArray[np.uint8]


VIDEO = Channel("video", Frame)


def film(directory: Path) -> None:
    """The camera: a bright square wanders to the right. It uses one array for all of its frames."""
    pixels = np.zeros((HEIGHT, WIDTH), np.uint8)
    with VIDEO.at(directory / "video").connect(wait_seconds=5, limits=LIMITS) as viewer:
        for number in range(FRAMES):
            pixels[:] = number % 100
            pixels[:SQUARE, number * STEP : number * STEP + SQUARE] = 255
            viewer.send(Frame(number, pixels))
        if buffers() > ON_THEIR_WAY:
            raise SystemExit(f"the camera has {buffers()} buffers")


def buffers() -> int:
    """How many buffers this process has mapped."""
    return Path("/proc/self/maps").read_text().count("namedipc payloads")


def show(directory: Path) -> None:
    """The viewer: takes the background off each frame, in place, and looks where the square is."""
    columns = []
    with VIDEO.at(directory / "video").listen(limits=LIMITS) as listener, listener.accept(timeout=10) as camera:
        for frame in camera:
            frame.pixels[frame.pixels < 255] = 0
            columns.append(int(frame.pixels[0].argmax()))
            if frame.number == KEPT:
                kept = frame
    expected = np.zeros((HEIGHT, WIDTH), np.uint8)
    expected[:SQUARE, KEPT * STEP : KEPT * STEP + SQUARE] = 255
    say(f"{len(columns)} frames of {kept.pixels.nbytes / 1e6:.1f} MB.")
    say(f"The square went from column {columns[0]} to column {columns[-1]}.")
    is_same = np.array_equal(kept.pixels, expected)
    say(f"The frame that was kept, number {kept.number}, has {'not ' if is_same else ''}changed.")
    say(f"The camera had at most {ON_THEIR_WAY} frames on their way.")


def main() -> None:
    with stage() as (directory, company):
        company.wait(*[company.start(work, directory) for work in (show, film)])


if __name__ == "__main__":
    run(main)
