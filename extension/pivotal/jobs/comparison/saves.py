"""What can be compared: the saves of a run, and files of the host's folders."""

from __future__ import annotations

import itertools
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from pivotal.config.train import TrainConfig
from pivotal.errors import OptionError
from pivotal.formats.header import read_metadata
from pivotal.hosts.protocol import Folders
from pivotal.jobs.paths import run_paths
from pivotal.jobs.result import read_recipe
from pivotal.prompts.placeholders import safe_file_name

SUFFIXES = (".safetensors", ".pt", ".bin")
RESULT, BESIDE = "result", "_embeddings"
_MARK = r"(?:-(?P<mark>\d{6,}|best|raw))?"
_STEP = re.compile(r"-\d{6,}$")
_LAST = {"best": 1, "raw": 2, RESULT: 3}  # behind the numbered ones, in this order


@dataclass(frozen=True)
class Save:
    """Files that are used together: a network, embeddings, or both, as they were after one step."""

    name: str  # unique in a comparison: "000050", "best", "result", or a file's name
    label: str  # for the page
    network: Path | None = None
    embeddings: Mapping[str, Path] = field(default_factory=dict)  # word of prompts -> its file
    step: int | None = None
    run: str = ""  # the run whose save it is

    @property
    def files(self) -> tuple[Path, ...]:
        """All of them."""
        return (*([self.network] if self.network else []), *self.embeddings.values())


def fresh_folder(parent: Path) -> Path:
    """A folder under `parent` that is not there yet, called after the time."""
    stamp = time.strftime("%Y%m%d-%H%M%S")
    names = (stamp if number == 1 else f"{stamp}-{number}" for number in itertools.count(1))
    return next(parent / name for name in names if not (parent / name).exists())


def run_names(folders: Folders) -> list[str]:
    """The runs of this host as `recipe_of` finds them, the latest first; reads none of their files."""
    found = [path for path in (folders.scratch / "runs").glob("*/run.yaml") if path.is_file()]
    found.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    return [path.parent.name for path in found]


def recipe_of(folders: Folders, run: str) -> TrainConfig:
    """The options of the run of that name.

    Raises:
        OptionError: there is none.
    """
    recipe = read_recipe(run_paths(folders, run))
    if recipe is None:
        raise OptionError({"run": f"there is no run {run!r} in {folders.scratch / 'runs'}"})
    return recipe


def run_saves(folders: Folders, recipe: TrainConfig) -> list[Save]:
    """Every save of a run that is still there, by its step, the result last. Files of others are never among them."""
    networks: dict[str, Path] = {}
    embeddings: dict[str, dict[str, Path]] = {}
    steps: dict[str, int | None] = {}
    for mark, word, path, metadata in _own_files(folders, recipe):
        steps[mark] = _whole_number(metadata.get("pivotal.step"))
        if word is None:
            networks[mark] = path
            embeddings.setdefault(mark, {}).update(_beside(path, recipe))
        else:
            embeddings.setdefault(mark, {}).setdefault(word, path)
    marks = sorted(steps, key=lambda mark: (_LAST.get(mark, 0), int(mark) if mark.isdigit() else 0))
    return [Save(mark, _label(mark, steps[mark]), networks.get(mark), embeddings.get(mark, {}), steps[mark], recipe.name)
            for mark in marks]


def _own_files(folders: Folders, recipe: TrainConfig) -> Iterator[tuple[str, str | None, Path, dict[str, str]]]:
    """Mark, word (None: the network), file and metadata of each file that says that it is of this run."""
    wanted: list[tuple[Path, str, str | None]] = [(folders.loras, safe_file_name(recipe.name), None)]
    wanted += [(folders.embeddings, word, word) for word in map(safe_file_name, (
        row.placeholder for row in recipe.embeddings if row.train))]
    for folder, stem, word in wanted:
        pattern = re.compile(re.escape(stem) + _MARK + r"\.safetensors")
        for path in sorted(folder.iterdir()):
            found = pattern.fullmatch(path.name)
            metadata = read_metadata(path) if found else {}
            if found and metadata.get("pivotal.name") == recipe.name:
                yield found["mark"] or RESULT, word, path, metadata


def words_folder(network: Path) -> Path:
    """Where the words of a network lie that has none bundled."""
    return network.with_name(network.stem + BESIDE)


def _beside(network: Path, recipe: TrainConfig) -> dict[str, Path]:
    """The embeddings that lie in a folder beside a network that has none bundled."""
    folder = words_folder(network)
    found = {word: folder / f"{word}.safetensors" for word in (safe_file_name(row.placeholder) for row in recipe.embeddings)}
    return {word: path for word, path in found.items() if path.is_file()}


def _label(mark: str, step: int | None) -> str:
    if mark.isdigit():
        return f"step {int(mark)}"
    return mark if step is None else f"{mark} (step {step})"


def _whole_number(text: str | None) -> int | None:
    return int(text) if text and text.isdecimal() else None


def listed_saves(folders: Folders, names: Sequence[str]) -> list[Save]:
    """A save for each file that `names` means: names as a prompt has them, or paths.

    Raises:
        OptionError: one is not there, or lies elsewhere.
    """
    known = host_files(folders) if any(not _is_path(name) for name in names) else []
    return [_listed(folders, name, known) for name in dict.fromkeys(names)]


def host_files(folders: Folders) -> list[Path]:
    """All LoRAs and embeddings of the host."""
    return [path for folder in (folders.loras, folders.embeddings) for path in sorted(folder.rglob("*"))
            if path.suffix.lower() in SUFFIXES and path.is_file() and not path.name.startswith(".")]


def _is_path(name: str) -> bool:
    return "/" in name or "\\" in name or name.lower().endswith(SUFFIXES)


def _listed(folders: Folders, name: str, known: Sequence[Path]) -> Save:
    by_name = (path for path in known if path.stem == name)
    path = _inside(folders, name) if _is_path(name) else next(by_name, None)
    if path is None:
        raise OptionError({"files": f"there is no LoRA and no embedding {name!r} in {folders.loras} and {folders.embeddings}"})
    if path.is_relative_to(folders.loras):
        return Save(path.stem, path.stem, path)
    word = _word_of(path)
    return Save(path.stem, path.stem, None, {word: path}, _whole_number(read_metadata(path).get("pivotal.step")))


def _inside(folders: Folders, name: str) -> Path | None:
    """The file, if it lies in one of the host's folders; where a link in there leads is the user's own affair."""
    if ".." in Path(name).parts:
        return None
    for folder in (folders.loras, folders.embeddings):
        path = folder / name  # which is `name` itself if that is absolute
        with suppress(OSError):  # longer than any name
            if path.is_relative_to(folder) and path.suffix.lower() in SUFFIXES and path.is_file():
                return path
    return None


def _word_of(path: Path) -> str:
    """The word that an embedding was trained as: a copy's file has the step behind it."""
    title = read_metadata(path).get("modelspec.trigger_phrase", "")
    return safe_file_name(title) if title else _STEP.sub("", path.stem)
