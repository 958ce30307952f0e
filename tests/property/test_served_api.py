"""The served API under a seeded die; tests/api_client.py holds every answer of all other tests against the description, too."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import gradio
import pytest


@pytest.mark.slow
@pytest.mark.skipif(int(gradio.__version__.split(".")[0]) < 6, reason="schemathesis is among the newest environment's packages")
def test_whatever_is_asked_is_answered_as_described():
    done = subprocess.run([sys.executable, str(Path(__file__).with_name("api.py"))], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-1000:]
    assert "No issues found" in done.stdout
