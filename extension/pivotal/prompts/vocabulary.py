"""CLIP's real vocabulary of 49408 tokens, with no download: open-clip-torch ships its BPE merges."""

from __future__ import annotations

import gzip
import importlib.util
import json
import os
import tempfile
from pathlib import Path
from threading import Lock
from typing import Any, ClassVar

import ftfy  # comes with open-clip-torch; some hosts have no tokenizer until a checkpoint is loaded
from transformers import CLIPTokenizer

from pivotal.errors import FormatError, HostError
from pivotal.prompts.pieces import byte_letters

SIZE = 49408
MERGES_FILE = "bpe_simple_vocab_16e6.txt.gz"
# 256 letters, the same 256 ending a word, the merges, and two marks are the 49408 (openai/CLIP, simple_tokenizer.py).
MERGES = SIZE - 2 * 256 - 2


class EmbeddedTokenizer(CLIPTokenizer):
    """transformers' CLIPTokenizer with the ids of transformers 4 (and so of AUTOMATIC1111) under transformers 5 too.

    transformers 4 mends the text with ftfy (curly quotes, full-width letters, `&amp;`, control characters) before it
    splits it. transformers 5 (seen in 5.23.0) runs the `tokenizers` library alone and leaves that out. What stays
    different, of 74000 letters tried: those that only one of two Unicode versions knows, U+0345, and ſ behind '.
    """

    # The fast tokenizer keeps truncation and padding as its state: a counter's call beside a padded one got 77 ids
    # (5.23.0, in 45 of 12000 calls of three threads). Of the class, as an instance with a lock could not be copied.
    _turn: ClassVar[Lock] = Lock()

    def _encode_plus(self, text: Any, *args: Any, **kwargs: Any) -> Any:
        # All public ways of transformers 5 into the fast tokenizer pass here; the slow one cleans text by itself.
        if not self.is_fast:
            return super()._encode_plus(text, *args, **kwargs)
        text = clean(text) if isinstance(text, str) else [clean(one) for one in text]
        with self._turn:
            return super()._encode_plus(text, *args, **kwargs)


def clean(text: str) -> str:
    """`text` as transformers 4.30.2's slow CLIPTokenizer sees it: mended by ftfy, single spaces, lower case."""
    return " ".join(ftfy.fix_text(text).split()).lower()


def clip_tokenizer(folder: Path) -> CLIPTokenizer:
    """The tokenizer of every SD 1, SD 2 and SDXL text encoder, made from open-clip-torch's file.

    Args:
        folder: where vocab.json and merges.txt are kept; written when missing, each in one piece.

    Raises:
        HostError: open-clip-torch is not installed.
        FormatError: `folder` holds another vocabulary.
    """
    if not ((folder / "vocab.json").is_file() and (folder / "merges.txt").is_file()):
        write_vocabulary(folder)
    tokenizer = EmbeddedTokenizer.from_pretrained(str(folder), local_files_only=True, model_max_length=77)
    if len(tokenizer.get_vocab()) != SIZE:
        raise FormatError(f"{folder}: {len(tokenizer.get_vocab())} tokens, expected {SIZE}. "
                          "Delete vocab.json and merges.txt there; they are written anew at the next start.")
    return tokenizer


def write_vocabulary(folder: Path) -> None:
    """Writes vocab.json and merges.txt, as transformers reads them, into `folder`, which is made if missing."""
    merges = read_merges()
    letters = list(byte_letters().values())
    tokens = [*letters, *(letter + "</w>" for letter in letters), *("".join(merge.split()) for merge in merges),
              "<|startoftext|>", "<|endoftext|>"]
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = {token: number for number, token in enumerate(tokens)}
    _replace(folder / "vocab.json", json.dumps(vocabulary, ensure_ascii=False))
    _replace(folder / "merges.txt", "#version: 0.2\n" + "\n".join(merges) + "\n")


def read_merges() -> list[str]:
    """The 48894 merges, first learned first, each two parts with a space between."""
    found = importlib.util.find_spec("open_clip")  # finding does not import: open_clip takes seconds and torchvision
    if found is None or found.origin is None:
        raise HostError("The package open_clip is missing; its vocabulary is needed. "
                        "Install it: pip install open-clip-torch")
    packed = Path(found.origin).parent / MERGES_FILE
    if not packed.is_file():
        raise HostError(f"{packed} is missing. Install the package again: pip install --force-reinstall --no-deps "
                        "open-clip-torch")
    with gzip.open(packed, "rt", encoding="utf-8") as file:
        lines = file.read().split("\n")
    return lines[1 : 1 + MERGES]  # line 0 is the version


def _replace(path: Path, text: str) -> None:
    """Writes `path` aside and moves it into place, so that a second process never reads half a vocabulary."""
    handle, aside = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".tmp")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    except BaseException:
        Path(aside).unlink()
        raise
