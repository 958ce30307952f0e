"""What the WebUI gets when a package that the trainer needs is not there: a tab that says so and mends it.

Imports nothing that may be missing: SD.Next's quick start, for one, never runs install.py.
"""

from __future__ import annotations

from pathlib import Path

from pivotal.hosts.a1111_shell import A1111Shell
from pivotal.ui.missing import build_missing_tab

INSTALLER = Path(__file__).resolve().parents[2] / "install.py"
TAB_ID = "pivotal_train"


def show_what_is_missing(error: ImportError) -> None:
    """Puts that tab into the WebUI's page in place of the trainer's."""
    shell = A1111Shell()
    shell.add_tab(shell.title, TAB_ID, lambda: build_missing_tab(error, INSTALLER))
