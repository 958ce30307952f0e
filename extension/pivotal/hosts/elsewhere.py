"""A host whose files go elsewhere: for a process that trains along with another, which writes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pivotal.hosts.protocol import Folders, Host


class Elsewhere:
    """`host` with empty folders of its own in `folder`; what is written there is nobody's result."""

    def __init__(self, host: Host, folder: Path):
        self._host = host
        self._folders = Folders(folder / "embeddings", folder / "loras", folder / "scratch")
        for path in (self._folders.embeddings, self._folders.loras, self._folders.scratch):
            path.mkdir(parents=True)

    def folders(self) -> Folders:
        """The other ones."""
        return self._folders

    def refresh(self, artifact: Path) -> None:
        """Nothing: no prompt shall find it."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._host, name)
