"""What a probe answers with: whether it holds, and what was seen."""

from __future__ import annotations

import attrs


@attrs.frozen
class Observation:
    """Whether a property holds, and the sentence that says what was seen."""

    holds: bool
    seen: str


@attrs.frozen
class Assessment:
    """A row of the chapter's table."""

    mechanism: str
    transparent: Observation
    named: Observation
    channel_based: Observation
    multi_client: Observation
