"""Damaged and hostile files, made from good ones by a seeded die, and what reads them.

    PYTHONPATH=extension:tests python tests/property/fuzz.py --count 10000

prints how many of each kind were read, how many refused in words, and the slowest; it ends with 1 when any of them crashed, took
more than 5 s of CPU time, ran code, or when all together took more than 2 GB.
"""

from __future__ import annotations

import argparse
import io
import json
import pickle
import random
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch
from PIL import Image

from pivotal.config.build import draft
from pivotal.config.files import read_run_file
from pivotal.config.imports.read import imported
from pivotal.config.train import TrainConfig
from pivotal.data.folder import Reading
from pivotal.data.headers import upright_size
from pivotal.data.images import open_image, upright_rgb
from pivotal.data.sources import read_source
from pivotal.errors import PivotalError
from pivotal.formats.adapter_config import read_alphas
from pivotal.formats.embedding_file import bundled_words, encoders_in, read_embedding
from pivotal.formats.embedding_writing import EMBEDDING_STYLES, embedding_files
from pivotal.formats.network_file import family_of_network, network_bytes, read_network
from pivotal.formats.state_file import State, read_state, write_state

IMPORTS = Path(__file__).resolve().parents[1] / "unit" / "config" / "imports"
SLOWEST_S, MOST_MB = 5.0, 2048
NUMBERS = (b"\0\0\0\0", b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\0\0\0\0\0\0\0\x80", b"\xff" * 8, b"1e999", b"-1", b"NaN")
WORDS = (b"__import__", b"../../../x", b"~nobody/x", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"[" * 3000, b"{", b"&a [*a,*a]",
         b"!!python/object/apply:os.system [x]", b'"F32"', b'"data_offsets":[0,99999999999]', b"\r\n", b"\0",
         "\U0001f600\u202e".encode())


@dataclass(frozen=True)
class Kind:
    """Good files of one sort, as name -> bytes, and who reads them."""

    seeds: dict[str, bytes]
    read: Callable[[Path], object]


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


def kinds(folder: Path) -> dict[str, Kind]:
    """All that a user, or somebody whose file a user got, may hand us."""
    vectors = (torch.randn(2, 768, generator=torch.Generator().manual_seed(1)),)
    embeddings = {f"{style} {name}".replace(" ", "-"): data for style in EMBEDDING_STYLES
                  for name, data in embedding_files("word", vectors, style).items()}
    layer = {"lora_down.weight": torch.ones(4, 320), "lora_up.weight": torch.ones(320, 4), "alpha": torch.tensor(4.0)}
    network = network_bytes({"lora_unet_input_blocks_1_1_transformer_blocks_0_attn1_to_q": layer}, {"word": vectors}, {"a": "b"})
    write_state(folder / "seed.safetensors", State({"config": {"a": 1}}, {"x": torch.ones(3)}))
    return {
        "images": Kind(images(), read_image),
        "embeddings": Kind(embeddings, read_any_embedding),
        "networks": Kind({"net.safetensors": network}, lambda path: family_of_network(read_network(path))),
        "states": Kind({"state.safetensors": (folder / "seed.safetensors").read_bytes()}, read_state),
        "run files": Kind({"run.yaml": b"name: a\nlength: {steps: 5}\nembeddings:\n  - {placeholder: zk, token_count: 2}\n"},
                          lambda path: draft(TrainConfig, read_run_file(path))),
        "other trainers'": Kind({path.name: path.read_bytes() for path in sorted(IMPORTS.iterdir()) if path.suffix != ".py"},
                                lambda path: draft(TrainConfig, imported(path.read_text("utf-8", "replace"), path.name).flat)),
        "datasets": Kind({"set.jsonl": b'{"image": "a.png", "text": "a cat"}\n{"image": "a.png"}\n',
                          "set.txt": b"a.png\ta cat\n"}, read_dataset),
        "captions": Kind({"a.txt": "a (cat:1.2), {red|blue}\nzk\u00e4".encode()}, read_beside_image),
        "adapter settings": Kind({"adapter_config.json": b'{"r": 4, "lora_alpha": 8, "alpha_pattern": {"a.b": 2}}'},
                                 lambda path: read_alphas(path.parent / "adapter_model.safetensors", {})),
    }


def images() -> dict[str, bytes]:
    """A picture as PNG, JPEG, WebP, GIF, BMP and TIFF, with an orientation where there can be one."""
    picture = Image.effect_noise((48, 32), 60).convert("RGB")
    exif = Image.Exif()
    exif[0x0112] = 6
    found = {}
    for name, form, extra in (("a.png", "PNG", {"exif": exif}), ("a.jpg", "JPEG", {"exif": exif}), ("a.webp", "WEBP", {}),
                              ("a.gif", "GIF", {}), ("a.bmp", "BMP", {}), ("a.tiff", "TIFF", {})):
        data = io.BytesIO()
        picture.save(data, form, **extra)
        found[name] = data.getvalue()
    return found


def read_image(path: Path) -> object:
    """As a dataset's: by its header, then decoded."""
    read_source(str(path.parent), Reading(need_captions=False), path.parent)
    with open_image(path) as image:
        upright_size(image)
        return upright_rgb(image)


def read_any_embedding(path: Path) -> object:
    bundled_words(path)
    return read_embedding(path, encoders_in(path))


def read_dataset(path: Path) -> object:
    (path.parent / "a.png").write_bytes(_PLAIN)
    return read_source(str(path), Reading(), path.parent)


def read_beside_image(path: Path) -> object:
    (path.parent / "a.png").write_bytes(_PLAIN)
    return read_source(str(path.parent), Reading(), path.parent)


def _plain_png() -> bytes:
    data = io.BytesIO()
    Image.new("RGB", (8, 8)).save(data, "PNG")
    return data.getvalue()


_PLAIN = _plain_png()


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
        for path in place.iterdir():
            path.unlink()
        place.rmdir()


def fuzz(count: int, seed: int) -> dict[str, Told]:
    """Reads `count` damaged files, evenly of all kinds; what came of them."""
    found: dict[str, Told] = {}
    with tempfile.TemporaryDirectory() as name, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        folder = Path(name)
        every = kinds(folder)
        for title, kind in every.items():
            told = found[title] = Told()
            mark, place = folder / "mark", folder / title.replace(" ", "-")
            place.mkdir()
            for path in attempts(kind, count // len(every), mark, random.Random(f"{seed}/{title}"), place):
                _attempt(kind, path, mark, told)
            if any(place.iterdir()):
                told.crashes.append("something was written beside the files")
    return found


def _attempt(kind: Kind, path: Path, mark: Path, told: Told) -> None:
    started = time.thread_time()  # of this thread's work: the machine may be busy with other things
    try:
        kind.read(path)
        told.read += 1
    except PivotalError as error:
        told.refused += 1
        if not str(error).strip():
            told.crashes.append(f"{path.name}: refused without a word")
    except Exception as error:  # noqa: BLE001  whatever else comes is what is looked for
        told.crashes.append(f"{path.name} ({path.parent.name}): {type(error).__name__}: {str(error)[:200]}")
    spent = time.thread_time() - started
    told.slowest = max(told.slowest, spent)
    if spent > SLOWEST_S:
        told.crashes.append(f"{path.name} ({path.parent.name}): took {spent:.1f} s")
    if mark.exists():
        told.crashes.append(f"{path.name} ({path.parent.name}): ran the file's code")
        mark.unlink()


def main() -> int:
    """The whole corpus, and a table of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    found = fuzz(options.count, options.seed)
    for title, told in found.items():
        print(f"{title:18} {told.read:6} read {told.refused:6} refused   slowest {told.slowest:.2f} s   {len(told.crashes)} bad")
        for line in told.crashes[:10]:
            print("   ", line)
    memory = 0
    if sys.platform != "win32":
        import resource

        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // (1024 if sys.platform == "linux" else 2**20)
        print(f"at most {memory} MB in all")
    print(json.dumps({"files": sum(told.read + told.refused + len(told.crashes) for told in found.values()),
                      "bad": sum(len(told.crashes) for told in found.values())}))
    return int(any(told.crashes for told in found.values()) or memory > MOST_MB)


if __name__ == "__main__":
    sys.exit(main())
