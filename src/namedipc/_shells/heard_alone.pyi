from typing import Any

from .._codec import Codec
from .._protocol.ring import Header
from .polling import Spinner
from .ring_messages import BroadcastReceiver

class HeardAlone:
    def __init__(self, header: Header, codec: Codec[Any], spinner: Spinner | None) -> None: ...
    def take(self, receiver: BroadcastReceiver[Any]) -> list[Any] | None: ...
    def receive(self, receiver: BroadcastReceiver[Any], end: float) -> list[Any] | None: ...
