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
