"""Damaged and hostile files, made from good ones by a seeded die, and what reads them.

    PYTHONPATH=extension:tests python tests/property/fuzz.py --count 10000

prints how many of each kind were read, how many refused in words, and the slowest; it ends with 1 when any of them crashed, took
more than 5 s of CPU time, ran code, wrote elsewhere, started a program, or when all together took more than 2 GB.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import os
import pickle
import random
import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pivotal.errors import PivotalError
from property.fuzz_kinds import Kind, kinds

SLOWEST_S, MOST_MB, HANGS_S = 5.0, 2048, 600
NUMBERS = (b"\0\0\0\0", b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\0\0\0\0\0\0\0\x80", b"\xff" * 8, b"1e999", b"-1", b"NaN")
WORDS = (b"__import__", b"../../../x", b"~nobody/x", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"[" * 3000, b"{", b"&a [*a,*a]",
         b"!!python/object/apply:os.system [x]", b'"F32"', b'"data_offsets":[0,99999999999]', b"\r\n", b"\0",
         "\U0001f600\u202e".encode())


@dataclass
class Told:
    """What came of the files of one kind."""

    read: int = 0
    refused: int = 0
    slowest: float = 0.0
    crashes: list[str] = field(default_factory=list)


class Marker:
    """Its pickle, when loaded by one who runs code, leaves a file."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


class Watch:
    """Notes programs that are started, and files that are written elsewhere, in this process while it is on."""

    STARTS = ("os.system", "os.exec", "os.posix_spawn", "os.fork", "os.forkpty", "subprocess.Popen", "socket.connect")
    WRITES = ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.truncate", "os.chmod", "shutil.move")

    def __init__(self) -> None:
        self.inside: Path | None = None  # where files may be written; None: it is off
        self.seen: list[str] = []
        sys.addaudithook(self._heard)  # for ever: Python has no way to take one away

    @contextmanager
    def over(self, inside: Path) -> Iterator[None]:
        """On, until it is left."""
        self.inside = inside.resolve()
        try:
            yield
        finally:
            self.inside = None

    def _heard(self, event: str, values: tuple[Any, ...]) -> None:
        if self.inside is None:
            return
        if event in self.STARTS:
            self.seen.append(f"{event} {values[:2]!r:.200}")
        elif (event == "open" and _writes(*values[1:3])) or event in self.WRITES:
            for path in values[:2 if event == "os.rename" else 1]:
                if isinstance(path, (str, bytes, os.PathLike)) and not self._is_inside(os.fsdecode(path)):
                    self.seen.append(f"{event} {path!r:.200}")

    def _is_inside(self, path: str) -> bool:
        whole = os.path.realpath(path)
        return whole.startswith(str(self.inside)) or whole == os.devnull or whole.endswith((".pyc", "__pycache__"))


def _writes(mode: object, flags: object) -> bool:
    told = isinstance(mode, str) and bool(set(mode) & set("wax+"))
    return told or (isinstance(flags, int) and bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)))


def mutated(data: bytes, others: list[bytes], mark: Path, dice: random.Random) -> bytes:
    """`data` with one to four wounds, or something else altogether."""
    for _ in range(dice.choice((1, 1, 2, 4))):
        data = _wounded(data, others, dice)
    if dice.random() < 0.02:
        data = pickle.dumps(Marker(mark), protocol=dice.choice((0, 2, 4)))
    return data


def _wounded(data: bytes, others: list[bytes], dice: random.Random) -> bytes:
    place = dice.randrange(len(data) + 1)
    near = min(place, dice.randrange(64))  # heads are where files say what they are
    kind = dice.randrange(8)
    if kind == 0:
        return data[:place]
    if kind == 1:
        return data[:near] + bytes([dice.randrange(256)]) + data[near + 1:]
    if kind == 2:
        return data[:place] + bytes([dice.randrange(256)]) + data[place + 1:]
    if kind == 3:
        number = dice.choice(NUMBERS)
        return data[:near] + number + data[near + len(number):]
    if kind == 4:
        return data[:place] + dice.choice(WORDS) + data[place:]
    if kind == 5:
        end = place + dice.randrange(200)
        return data[:place] + data[place:end] * dice.choice((2, 50)) + data[end:]
    if kind == 6:
        other = dice.choice(others)
        return data[:place] + other[dice.randrange(len(other) + 1):]
    return data[:place] + data[place + dice.randrange(1, 40):]


def attempts(kind: Kind, count: int, mark: Path, dice: random.Random, folder: Path) -> Iterator[Path]:
    """`count` damaged files, one at a time, each in a folder of its own that is emptied for it."""
    names, contents = list(kind.seeds), list(kind.seeds.values())
    for number in range(count):
        name = names[number % len(names)]
        place = folder / str(number)
        place.mkdir()
        (place / name).write_bytes(mutated(kind.seeds[name], contents, mark, dice))
        yield place / name
        shutil.rmtree(place)


WATCH = Watch()


def fuzz(count: int, seed: int, *, may_hang: bool = True) -> dict[str, Told]:
    """Reads `count` damaged files, evenly of all kinds; what came of them.

    Args:
        may_hang: False ends the process when one is read for ten minutes.
    """
    found: dict[str, Told] = {}
    with tempfile.TemporaryDirectory() as name, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        folder = Path(name)
        every = kinds(folder)
        for title, kind in every.items():
            told = found[title] = Told()
            mark, place = folder / "mark", folder / title.replace(" ", "-")
            place.mkdir()
            for path in attempts(kind, -(-count // len(every)), mark, random.Random(f"{seed}/{title}"), place):
                if not may_hang:
                    faulthandler.dump_traceback_later(HANGS_S, exit=True)
                _attempt(kind, path, mark, told, folder)
            if any(place.iterdir()):
                told.crashes.append("something was written beside the files")
    if not may_hang:
        faulthandler.cancel_dump_traceback_later()
    return found


def _attempt(kind: Kind, path: Path, mark: Path, told: Told, folder: Path) -> None:
    started = time.process_time()  # of the work: the machine may be busy with other things
    try:
        with WATCH.over(folder):
            kind.read(path)
        told.read += 1
    except PivotalError as error:
        told.refused += 1
        if not str(error).strip():
            told.crashes.append(f"{path.name}: refused without a word")
    except Exception as error:  # noqa: BLE001  whatever else comes is what is looked for
        told.crashes.append(f"{path.name} ({path.parent.name}): {type(error).__name__}: {str(error)[:200]}")
    spent = time.process_time() - started
    told.slowest = max(told.slowest, spent)
    if spent > SLOWEST_S:
        told.crashes.append(f"{path.name} ({path.parent.name}): took {spent:.1f} s")
    if mark.exists():
        told.crashes.append(f"{path.name} ({path.parent.name}): ran the file's code")
        mark.unlink()
    told.crashes += [f"{path.name} ({path.parent.name}): {line}" for line in WATCH.seen]
    WATCH.seen.clear()


def memory_mb() -> int:
    """The most that this process ever had; 0 where the system does not tell."""
    if sys.platform == "win32":
        return 0
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // (1024 if sys.platform == "linux" else 2**20)


def main() -> int:
    """The whole corpus, and a table of it; the last line is for programs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    found = fuzz(options.count, options.seed, may_hang=False)
    for title, told in found.items():
        print(f"{title:18} {told.read:6} read {told.refused:6} refused   slowest {told.slowest:.2f} s   {len(told.crashes)} bad")
        for line in told.crashes[:10]:
            print("   ", line)
    memory, bad = memory_mb(), sum(len(told.crashes) for told in found.values())
    print(json.dumps({"kinds": {title: [told.read, told.refused] for title, told in found.items()}, "bad": bad, "memory": memory,
                      "slowest": max(told.slowest for told in found.values())}))
    return int(bad > 0 or memory > MOST_MB)


if __name__ == "__main__":
    sys.exit(main())
