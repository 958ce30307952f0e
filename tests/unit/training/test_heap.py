"""Whether memory stays with the process, by the kernel's own count of pages that it had to hand out."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.once, pytest.mark.skipif(sys.platform != "linux", reason="glibc's settings")]

PROGRAM = """
import ctypes
import resource
from pathlib import Path
from pivotal.training.heap import kept_memory

ctypes.CDLL(None).prctl(41, 1, 0, 0, 0)  # PR_SET_THP_DISABLE: some systems hand out pages of 2 MB, of which few are counted

def pages(times):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(times):
        bytearray(b"x") * 100_000_000
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def held():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

counts = [pages(3)]
with kept_memory({device!r}):
    pages(1)
    counts.append(pages(3))
print(*counts, pages(3), held())
"""
ONE = 100_000_000 // 4096  # pages of a block


def told(device, **environment):
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("MALLOC_", "GLIBC_"))}
    done = subprocess.run([sys.executable, "-c", PROGRAM.format(device=device)], capture_output=True, text=True, check=True,
                          env=kept | {"PYTHONPATH": str(Path(__file__).resolve().parents[3] / "extension")} | environment)
    return [int(word) for word in done.stdout.split()]


def test_freed_memory_stays_for_the_next_step_and_is_given_back_at_the_end():
    before, inside, after, held = told("cpu")
    assert before > 3 * ONE * 0.9 and after > 3 * ONE * 0.9  # the kernel hands it out anew each time
    assert inside < ONE * 0.1
    assert held < 60_000_000  # of the block of 100 MB nothing stays


@pytest.mark.parametrize(("device", "environment"), [("cuda", {}), ("cpu", {"MALLOC_ARENA_MAX": "2"}),
                                                     ("cpu", {"GLIBC_TUNABLES": "glibc.malloc.arena_max=2"})])
def test_other_devices_and_the_owners_settings_are_left_alone(device, environment):
    before, inside, _, _ = told(device, **environment)
    assert before > 3 * ONE * 0.9 and inside > 3 * ONE * 0.9
