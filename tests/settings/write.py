"""Writes SETTINGS.md anew: python tests/settings/write.py"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def main() -> None:
    sys.path[:0] = [str(ROOT / "extension"), str(ROOT / "tests")]
    made = importlib.import_module("settings.settings_table")
    made.FILE.write_text(made.table(), encoding="utf-8")
    print(made.FILE)


if __name__ == "__main__":
    main()
