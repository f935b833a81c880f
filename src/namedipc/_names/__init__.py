"""Names: path to descriptor. Claim, publish, attach, watch, remove.

The law of this layer: every kind of name goes through here, each errno becomes an error which names the path
and the remedy, and nothing has been changed when it is raised. No trio, no threads, no waiting: what would
block says so.
"""

from ._attach import connect_socket, name_exists, open_file, read_card
from ._claim import Claim, claim_socket, inherit_claim
from ._lock import Record, handover_name
from ._place import (
    RELOCATION,
    Kind,
    absolute,
    check_path,
    make_private_directory,
    runtime_directory,
    runtime_path,
)
from ._publish import open_fifo, publish_file
from ._remove import ListedName, list_names, remove_name, remove_published
from ._watch import NameWatch, poll_delays

__all__ = [
    "RELOCATION",
    "Claim",
    "Kind",
    "ListedName",
    "NameWatch",
    "Record",
    "absolute",
    "check_path",
    "claim_socket",
    "connect_socket",
    "handover_name",
    "inherit_claim",
    "list_names",
    "make_private_directory",
    "name_exists",
    "open_fifo",
    "open_file",
    "poll_delays",
    "publish_file",
    "read_card",
    "remove_name",
    "remove_published",
    "runtime_directory",
    "runtime_path",
]
