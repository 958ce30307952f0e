"""The demo run that ships with the project: images of a thing that the toy checkpoint has never seen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pivotal.config.files import read_run_file

TOY = "toy"  # the checkpoint that ships with the project
_ASSETS = Path(__file__).resolve().parents[2] / "assets"


def demo_run(assets: Path = _ASSETS) -> dict[str, Any]:
    """The demo's options by key; empty when the demo is not there.

    ``assets/demo/<word>.yaml`` is a run file; its dataset folder is relative to it.
    """
    files = sorted((assets / "demo").glob("*.yaml"))
    if not files:
        return {}
    flat = read_run_file(files[0])
    folder = files[0].parent / flat.get("dataset.folder", files[0].stem)
    return {**flat, "dataset.folder": str(folder)} if folder.is_dir() else {}
