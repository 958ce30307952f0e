"""A process that is killed at any moment leaves whole files, a state to go on from, and nothing else once it has gone on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
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
    told = killed(tmp_path, 3, seed=1)  # one of each kind
    assert told["trials"] == 3 and told.get("killed", 0) + told.get("ended before", 0) == 3 and told["room made"] == 1
    assert told["killed"] >= 1 and told["files looked at"] > 20


@pytest.mark.slow
def test_two_hundred_times(tmp_path, figures):
    with ThreadPoolExecutor() as pool:  # each waits for a process
        parts = pool.map(lambda seed: killed(tmp_path / str(seed), 50, seed), range(2, 6))
        told = sum(map(Counter, parts), Counter())
    figures("kills", told)
    assert told["killed"] > 150 and told["with a state"] > 80 and told["while writing"] > 10
    assert min(told[f"killed, {kind}"] for kind in ("as it is", "slow", "full")) > 40
