"""The tab of an installation that lacks packages: what is missing, and a button that brings it."""

from __future__ import annotations

import subprocess
import sys
from html import escape
from pathlib import Path

import gradio as gr

from pivotal.ui.gradio_compat import html, keep_out_of_ui_config, on_click

LINES = 20  # of the installer's words that are shown
MINUTES = 20


def build_missing_tab(error: ImportError, installer: Path) -> None:
    """Draws the tab inside the gradio Blocks that is being made.

    Args:
        installer: install.py.
    """
    html(f'<div class="pivotal-title">Pivotal cannot start yet</div><div class="pivotal-note">{escape(str(error))}. '
         "Press the button, or close the WebUI and run this command; then start the WebUI again.</div>"
         f"<pre>{escape(command_line(installer))}</pre>", elem_id="pivotal_missing")
    button = keep_out_of_ui_config(gr.Button("Install what is missing", elem_id="pivotal_install", variant="primary"))
    answer = html("", elem_id="pivotal_install_answer")
    on_click(button, lambda: gr.update(value=install(installer)), [], [answer], "full")


def command_line(installer: Path) -> str:
    """What to type into a terminal."""
    return f'"{sys.executable}" "{installer}"'


def install(installer: Path) -> str:
    """Runs install.py as the WebUI's start does; what it said, as HTML."""
    try:
        done = subprocess.run([sys.executable, str(installer)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              encoding="utf-8", errors="replace", timeout=60 * MINUTES)
    except (OSError, subprocess.TimeoutExpired) as problem:
        return f'<div class="pivotal-error">{escape(str(problem))}</div>'
    said = "\n".join(done.stdout.strip().splitlines()[-LINES:])
    end = ("All is there now. Close the WebUI and start it again." if done.returncode == 0
           else "Something is still missing; the last lines say why.")
    return f'<div class="pivotal-{"note" if done.returncode == 0 else "error"}">{end}</div><pre>{escape(said)}</pre>'
