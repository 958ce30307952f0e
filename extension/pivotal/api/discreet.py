"""Errors without the machine's paths: what the asker wrote himself may come back, where else things lie is told to nobody."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath
from typing import Any

from pivotal.errors import HostError
from pivotal.hosts.protocol import Host

_PART = r"[^\s'\"<>|*?,;()\[\]\\/]+"
_ABSOLUTE = re.compile(rf"(?<![\w/\\.:~>-])(?:[A-Za-z]:[\\/]|\\\\[\w$.-]+\\|/){_PART}(?:[\\/]+{_PART})+")
_TOLD = ("problems", "message", "notices")  # of an answer: sentences about what was asked


class Discreet:
    """Knows the host's folders, which get names, and shortens every other path to its last part."""

    def __init__(self, host: Host):
        self._host = host

    def text(self, text: str, said: Sequence[str]) -> str:
        """A sentence without paths that are not in `said`, nor under one that is."""
        for path, name in self._names():
            if path in text and not any(path in one for one in said):
                text = text.replace(path, name)
        return _ABSOLUTE.sub(lambda found: found[0] if _is_said(found[0], said) else "…/" + _last(found[0]), text)

    def answer(self, value: Any, said: Sequence[str]) -> Any:
        """An answer whose sentences about problems are without paths; what it hands out on purpose stays."""
        if not isinstance(value, dict):
            return value
        return {key: self._within(part, said) if key in _TOLD else part for key, part in value.items()}

    def _within(self, value: Any, said: Sequence[str]) -> Any:
        if isinstance(value, dict):
            return {key: self._within(part, said) for key, part in value.items()}
        if isinstance(value, list):
            return [self._within(part, said) for part in value]
        return self.text(value, said) if isinstance(value, str) else value

    def _names(self) -> Iterator[tuple[str, str]]:
        try:
            folders = self._host.folders()
        except HostError:  # their disk is gone; that is what is being told, most likely
            return
        yield str(folders.scratch), "Pivotal's folder"
        yield str(folders.loras), "the LoRA folder"
        yield str(folders.embeddings), "the embeddings folder"
        if len(Path.home().parts) > 1:  # in a container it may be the root
            yield str(Path.home()), "~"


def texts_in(value: Any) -> list[str]:
    """Every string in a body, names of its fields too."""
    if isinstance(value, dict):
        return [text for key, part in value.items() for text in (str(key), *texts_in(part))]
    if isinstance(value, list):
        return [text for part in value for text in texts_in(part)]
    return [value] if isinstance(value, str) else []


def _is_said(path: str, said: Sequence[str]) -> bool:
    kind: type[PurePath] = PurePosixPath if path.startswith("/") else PureWindowsPath
    whole = kind(path)
    given = {one.strip().strip("\"'").rstrip("/\\.:") for text in said for one in (text, *text.splitlines())}
    return any(str(part).rstrip(".:") in given for part in (whole, *whole.parents) if len(part.parts) > 1) or any(
        path.rstrip(".:") in text for text in said)


def _last(path: str) -> str:
    return re.split(r"[\\/]+", path.rstrip("/\\"))[-1]
