"""The other process of a probe: joins a mechanism by what it is told, and then does as it is told.

`python -m namedipc.cli.probes.participant MECHANISM HANDLE` prints `ready` once it has joined. Then it obeys
the lines of its standard input: `put MESSAGE` is answered `done`, `take` by `took MESSAGE`. What fails is
answered `failed REASON`.
"""

from __future__ import annotations

import signal
import sys

from ._sides import Side
from .mechanisms import mechanism_named


def main(title: str, handle: str) -> None:
    """Join, and obey until the input ends; Ctrl-C is for whoever asks."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with mechanism_named(title).join(handle) as side:
            print("ready", flush=True)
            for line in sys.stdin:
                print(obey(side, *line.split()), flush=True)
    except OSError as error:
        print(f"failed {error.strerror or error}", flush=True)


def obey(side: Side, verb: str, message: str = "") -> str:
    """Do one thing, and say how it went."""
    if verb == "put":
        side.put(message.encode())
        return "done"
    return f"took {side.take().decode()}"


if __name__ == "__main__":
    main(*sys.argv[1:])
