"""Pictures that pass through three processes without being copied from one to the next: numpy arrays in shared memory.

A camera draws into the first array, a filter is woken by each picture and puts its edges into the second, a viewer is
woken by that. Each works at its own pace: who is slower skips pictures, and never misses the last.

Prints the edges of the last picture, a square that has wandered to the right:

    picture 30:
    ................................
    ...........................###..
    ...........................#.#..
    ...........................###..
    ................................
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from _company import run, say, stage

from namedipc.numpy import SharedArray

HEIGHT, WIDTH, PICTURES = 5, 32, 30
PICTURE = np.dtype([("number", np.uint32), ("pixels", np.uint8, (HEIGHT, WIDTH))])
CAMERA = SharedArray("camera", PICTURE, ())
EDGES = SharedArray("edges", PICTURE, ())


def draw(directory: Path) -> None:
    """The camera: a square, one step further in each picture."""
    with CAMERA.at(directory / "camera").open() as memory:
        for number in range(1, PICTURES + 1):
            with memory.lock() as picture:
                picture["number"] = number
                picture["pixels"] = 0
                picture["pixels"][1:4, number - 3 if number > 3 else 0 : number] = 255


def find_edges(directory: Path) -> None:
    """The filter: what is bright and has a neighbour that is not."""
    with CAMERA.at(directory / "camera").open() as camera, EDGES.at(directory / "edges").open() as edges:
        for _ in camera.watch():
            with camera.lock_shared() as picture, edges.lock() as result:
                bright = picture["pixels"] > 0
                inside = np.logical_and.reduce([np.roll(bright, step, axis) for axis in (0, 1) for step in (-1, 1)])
                result["pixels"] = bright & ~inside
                result["number"] = picture["number"]
                if picture["number"] == PICTURES:
                    return


def show(directory: Path) -> None:
    """The viewer: waits for the edges of the last picture."""
    with EDGES.at(directory / "edges").open() as edges:
        for _ in edges.watch():
            with edges.lock_shared() as picture:
                if picture["number"] == PICTURES:
                    rows = ["".join(".#"[pixel] for pixel in row) for row in picture["pixels"]]
                    say("\n".join([f"picture {picture['number']}:", *rows]))
                    return


def main() -> None:
    with (
        stage() as (directory, company),
        CAMERA.at(directory / "camera").create(),
        EDGES.at(directory / "edges").create(),
    ):
        company.wait(*[company.start(work, directory) for work in (show, find_edges, draw)])


if __name__ == "__main__":
    run(main)
