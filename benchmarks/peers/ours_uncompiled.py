"""namedipc without what is compiled, where it was built with that: the same, by the environment of this process."""

from __future__ import annotations

import os
from typing import Final

os.environ["NAMEDIPC_COMPILED"] = "0"  # before namedipc is imported

from ..replay import replayed
from ..sides import Pair, Works
from .ours import broadcasting, calling, connected, serve, serve_readers

WORKS: Final[Works] = {
    "call": Pair(serve, calling),
    "clients": Pair(serve, replayed(connected)),
    "broadcast": Pair(serve_readers, broadcasting),
}
