"""A process that is killed at any moment leaves whole files, a state to go on from, and nothing else once it has gone on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
SCRIPT, PATHS = TESTS / "killed.py", os.pathsep.join([str(TESTS.parent / "extension"), str(TESTS)])
pytestmark = [pytest.mark.once, pytest.mark.skipif(os.name == "nt", reason="Windows has neither fork nor SIGKILL")]


def killed(folder, trials, seed):
    done = subprocess.run([sys.executable, str(SCRIPT), str(folder), str(trials), str(seed)], capture_output=True, text=True,
                          env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": PATHS}, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_a_few_times(tmp_path):
    told = killed(tmp_path, 6, seed=1)
    assert told["trials"] == 6 and told.get("killed", 0) >= 3 and told["queues opened"] and told["room made"] == 1


@pytest.mark.slow
def test_two_hundred_times(tmp_path, figures):
    told = killed(tmp_path, 200, seed=2)
    figures("kills", told)
    assert told["killed"] > 150 and told["with a state"] > 80 and told["while writing"] > 10
    assert min(told[f"killed, {kind}"] for kind in ("as it is", "slow", "full")) > 40
