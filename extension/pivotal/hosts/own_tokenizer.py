"""A tokenizer of our own, for what the host cannot count with its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pivotal.hosts.protocol import Folders
from pivotal.prompts.vocabulary import clip_tokenizer


class OwnTokenizer:
    """CLIP's, made when it is first asked for and kept; its files lie in the host's scratch folder."""

    def __init__(self, folders: Callable[[], Folders]):
        self._folders = folders
        self._made: Any = None

    def __call__(self) -> Any:
        if self._made is None:
            self._made = clip_tokenizer(self._folders().scratch / "vocabulary")
        return self._made
