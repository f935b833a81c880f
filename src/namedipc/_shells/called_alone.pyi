import threading

from .._protocol.calls import ClientSession
from .blocking_client import BlockingClientLink
from .client_link import Called
from .polling import Spinner
from .telling_lock import Lock
from .waiting import Clock

class CalledAlone:
    calls: int
    def __init__(
        self, fd: int, session: ClientSession[threading.Lock], lock: Lock, spinner: Spinner | None
    ) -> None: ...
    def call(self, link: BlockingClientLink, method: Called, body: bytes, clock: Clock) -> bytes | None: ...
