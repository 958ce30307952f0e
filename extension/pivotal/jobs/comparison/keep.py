"""Keeps one save of a run and puts the others away; nothing is destroyed."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pivotal.config.train import TrainConfig
from pivotal.errors import HostError, OptionError, TrainingError
from pivotal.formats.atomic import write_bytes
from pivotal.formats.network_file import hashed_bytes
from pivotal.formats.reading import read_safetensors
from pivotal.hosts.protocol import Folders, Host
from pivotal.jobs.comparison.saves import BESIDE, RESULT, Save, fresh_folder, recipe_of, run_saves, words_folder
from pivotal.jobs.paths import embedding_path, network_path, run_paths

_CARD = (".json", ".preview.png")  # beside a network's file, with its stem
_OF_A_NAME = ("ss_output_name", "modelspec.title")


@dataclass(frozen=True)
class Kept:
    """What became of a run's files."""

    save: Save  # the one that is left, as its files are called now
    name: str  # which one it was
    moved: tuple[Path, ...]  # what was put away, where it was
    folder: Path  # where that is now
    notices: tuple[str, ...] = ()

    @property
    def files(self) -> tuple[Path, ...]:
        """What is left of the run in the host's folders."""
        return self.save.files


def keep_only(host: Host, run: str, name: str, *, rename: bool) -> Kept:
    """Moves all saves of `run` but the one called `name` out of the host's folders.

    Args:
        rename: gives the kept one the names of the result, whose own files are put away as well.

    Raises:
        OptionError: there is no such run or save.
        TrainingError: a file cannot be moved; those before it are.
    """
    folders = host.folders()
    recipe = recipe_of(folders, run)
    saves = {save.name: save for save in run_saves(folders, recipe)}
    if name not in saves:
        raise OptionError({"save": f"{name!r} is no save of {run!r}; there are {', '.join(saves) or 'none'}"})
    away = _Away(fresh_folder(run_paths(folders, recipe.name).folder / "put_away"))
    kept = saves.pop(name)
    rename = rename and kept.name != RESULT
    stays = set(kept.files)
    for save in saves.values():
        # A result that stays the name's owner keeps its card; the one that takes its name takes the card over.
        away.move(save, stays, with_card=not (rename and save.name == RESULT))
    left = _renamed(kept, recipe, folders, away) if rename else kept
    return Kept(left, name, tuple(away.moved), away.folder, tuple(_refreshed(host, left.files)))


class _Away:
    """A folder that files are moved into, as they were named."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.moved: list[Path] = []

    def move(self, save: Save, stays: set[Path], *, with_card: bool) -> None:
        """All files of `save` but those in `stays`, each whole or not at all."""
        for path in save.files:
            if path not in stays:
                self.take(path)
        if save.network and with_card:
            for suffix in _CARD:
                card = save.network.with_suffix(suffix)
                if card.is_file():
                    self.take(card)
        if save.network:
            _remove_if_empty(words_folder(save.network))

    def take(self, path: Path) -> None:
        """One file; an embedding of a folder beside a network keeps that folder."""
        inner = path.parent.name if path.parent.name.endswith(BESIDE) else ""
        target = self.folder / inner / path.name
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(str(path), str(target))
        except OSError as error:
            raise TrainingError(f"{path} could not be moved to {target.parent}: {error.strerror or error}. Close what uses it, "
                                "and try again.") from error
        self.moved.append(path)


def _remove_if_empty(folder: Path) -> None:
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def _renamed(kept: Save, recipe: TrainConfig, folders: Folders, away: _Away) -> Save:
    """`kept` with its files under the names of the run's result."""
    network = network_path(folders, recipe.name)
    words = {word: embedding_path(folders.embeddings, word) if path.parent == folders.embeddings
             else words_folder(network) / path.name for word, path in kept.embeddings.items()}
    if kept.network:
        _write(network, _with_name(kept.network, network.stem))
        away.take(kept.network)
    for word, path in kept.embeddings.items():
        _write(words[word], path.read_bytes())
        away.take(path)
    if kept.network:
        _remove_if_empty(words_folder(kept.network))
    return replace(kept, network=network if kept.network else None, embeddings=words)


def _with_name(path: Path, stem: str) -> bytes:
    """A network's file that calls itself `stem`: hosts find one by that, too."""
    tensors, metadata = read_safetensors(path)
    named = {key: text for key, text in metadata.items() if not key.startswith("sshs_")}
    return hashed_bytes(tensors, named | {key: stem for key in _OF_A_NAME if key in named})


def _write(path: Path, data: bytes) -> None:
    try:
        write_bytes(path, data)
    except OSError as error:
        raise TrainingError(f"{path} could not be written: {error.strerror or error}. Nothing is lost: the save lies where it "
                            "was.") from error


def _refreshed(host: Host, files: Sequence[Path]) -> list[str]:
    """Has the host look at what is left, so that its lists are right; what it could not take up, in words."""
    notices = []
    for path in files:
        try:
            host.refresh(path)
        except HostError as error:
            notices.append(f"The host could not take up {path.name}: {error}")
    return notices
