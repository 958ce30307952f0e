"""The checkpoints that AUTOMATIC1111 and its relatives list."""

from __future__ import annotations

import os
from typing import Any


def listed_name(info: Any) -> str:
    """A checkpoint as the host lists it, without its extension."""
    return os.path.splitext(info.name)[0].replace("\\", "/")  # noqa: PTH122  "v1.5" has a dot and no suffix


def by_name() -> dict[str, Any]:
    """All checkpoints, by that name."""
    from modules import sd_models

    # A copy made in one go: another thread may be reading the folder anew.
    return {listed_name(info): info for info in list(sd_models.checkpoints_list.values())}
