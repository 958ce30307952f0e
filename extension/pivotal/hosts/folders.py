"""A host's folders, made where they are missing."""

from __future__ import annotations

from pathlib import Path

from pivotal.errors import HostError
from pivotal.hosts.protocol import Folders


def made(embeddings: Path | str, loras: Path | str, scratch: Path | str) -> Folders:
    """The three, absolute and existing.

    Raises:
        HostError: one cannot be made.
    """
    found = [Path(folder).absolute() for folder in (embeddings, loras, scratch)]
    for folder in found:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise HostError(f"{folder} cannot be made: {error.strerror or error}.") from error
    return Folders(*found)


def webui_folders() -> Folders:
    """Of AUTOMATIC1111, Forge and reForge, which take them from the command line."""
    from modules import paths, shared

    # Set by the built-in Lora extension, which may be disabled.
    loras = getattr(shared.cmd_opts, "lora_dir", None) or Path(paths.models_path) / "Lora"
    return made(shared.cmd_opts.embeddings_dir, loras, Path(paths.data_path) / "pivotal")
