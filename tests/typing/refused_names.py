"""Names: what both checkers refuse, though names are loaded when they are asked for. Never imported."""

from __future__ import annotations

import namedipc
import namedipc.lowlevel
import namedipc.testing

namedipc.Servce  # type: ignore[attr-defined]  # noqa: B018
namedipc.lowlevel.unix_conect  # type: ignore[attr-defined]  # noqa: B018
namedipc.testing.locl  # type: ignore[attr-defined]  # noqa: B018
