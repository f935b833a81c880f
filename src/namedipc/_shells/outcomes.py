"""What has become of a turn of the service loop, or of a step of it. Plain integers: they are on the hot path."""

from __future__ import annotations

from typing import Final

IDLE: Final = 0
"""There is nothing to do until `epoll` is readable."""
TURN: Final = 1
"""The time is up, and there is more to do."""
UNTIMED: Final = 2
"""A frame was taken that has no latency."""
