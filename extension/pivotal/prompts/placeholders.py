"""The words that stand for embeddings: found in captions, judged before a run, and made into file names."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Sequence
from typing import Any

from pivotal.prompts.layout import CHUNK
from pivotal.prompts.pieces import token_ids

LONGEST_NAME = 120  # bytes; file systems end at 255, and hosts append hashes, steps and extensions
WINDOWS_DEVICES = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])(?=\.|\Z)", re.IGNORECASE)  # with any extension
# What some host takes for something else before it looks for embeddings, and what it takes it for.
TAKEN = (
    (re.compile(r"<\w+:[^>]*>?"), "a host takes <word:..> for a LoRA or another extra network"),
    (re.compile(r"[()\[\]]"), "hosts take ( ) [ ] for more and less attention"),
    (re.compile(r"\\"), "a host takes \\ for the mark that makes the next sign literal"),
    (re.compile(r"\b(?:AND|BREAK)\b"), "hosts divide the prompt at the capital words AND and BREAK"),
    (re.compile(r"#"), "hosts take # for the begin of a comment"),
    (re.compile(r"\."), "a dot parts names inside of files that bundle embeddings"),
    (re.compile(r"[\x00-\x1f\x7f]"), "line breaks and other control characters are lost in a prompt"),
)


def find_placeholders(text: str, names: Collection[str]) -> list[tuple[int, int, str]]:
    """Begin, end and name of each placeholder in `text`, from left to right; of several at one place the longest.

    A name is found as words: ``cat`` neither in ``catalog`` nor in ``cat_2``, but in ``cat's``; ``<angle>`` anywhere.
    Case does not matter, nor which and how many blanks part its words.
    """
    known = sorted((name for name in names if name.strip()), key=lambda name: -len(" ".join(name.split())))
    if not known:
        return []
    pattern = re.compile("|".join(f"({_as_words(name)})" for name in known), re.IGNORECASE)
    return [(found.start(), found.end(), known[found.lastindex - 1]) for found in pattern.finditer(text)]


def _as_words(name: str) -> str:
    """A regular expression that finds `name` where no word goes on before or behind it."""
    words = name.split()
    before = r"(?<!\w)" if re.match(r"\w", words[0]) else ""
    behind = r"(?!\w)" if re.search(r"\w\Z", words[-1]) else ""
    return before + r"\s+".join(re.escape(word) for word in words) + behind


def captions_without(placeholder: str, captions: Sequence[str], others: Collection[str] = ()) -> list[int]:
    """Indices of the captions that do not contain `placeholder`; where all are listed it would never be trained.

    Args:
        others: the run's other placeholders, which may cover this one where they are longer.
    """
    names = {placeholder, *others}
    return [index for index, caption in enumerate(captions)
            if all(name != placeholder for _, _, name in find_placeholders(caption, names))]


def placeholder_problems(placeholder: str, *, vectors: int, tokenizer: Any, others: Sequence[str] = ()) -> list[str]:
    """Why `placeholder` cannot be trained or prompted, each a sentence with the remedy; empty when it can.

    Args:
        vectors: how many it will have.
        tokenizer: of the checkpoint's text encoder, see pieces.token_ids.
        others: the run's other placeholders.
    """
    if not placeholder.strip():
        return ["The placeholder is empty; give it the word that stands in your captions, for example zkwemb."]
    problems = [f'In "{_shown(placeholder)}", {why}; write the placeholder without "{_shown(found[0])}".'
                for pattern, why in TAKEN if (found := pattern.search(placeholder))]
    if not 1 <= vectors <= CHUNK:
        problems.append(f'"{placeholder}" would have {vectors} vectors, and a prompt has room for 1 to {CHUNK}; '
                        f"set a token count of at most {CHUNK}.")
    if len(safe_file_name(placeholder).encode()) > LONGEST_NAME:
        problems.append(f'"{placeholder[:20]}..." is longer than {LONGEST_NAME} bytes, too long for a file name; '
                        "shorten it.")
    return problems + _vocabulary_problems(placeholder, tokenizer) + [
        problem for other in others if (problem := _clash(placeholder, other, tokenizer))]


def _shown(text: str) -> str:
    """`text` on one line, with a control character's code in its place."""
    return "".join(letter if letter.isprintable() else f"U+{ord(letter):04X}" for letter in text)


def _vocabulary_problems(placeholder: str, tokenizer: Any) -> list[str]:
    """Whether the encoder already has `placeholder` as a word, or has nothing for it at all."""
    ids = token_ids(tokenizer, placeholder)
    if not ids:
        return [f'"{_shown(placeholder)}" has no letter that a text encoder reads; choose a word such as zkwemb.']
    if len(ids) == 1:
        return [f'"{_shown(placeholder)}" is an ordinary word of the text encoder (token {ids[0]}), so every prompt that '
                f'says it would use the embedding; choose a word that is none, for example "zk{_shown(placeholder.strip())}".']
    return []


def _clash(placeholder: str, other: str, tokenizer: Any) -> str | None:
    """One sentence when the two cannot be told apart everywhere."""
    if token_ids(tokenizer, placeholder) == token_ids(tokenizer, other):
        return f'"{placeholder}" and "{other}" are the same to the text encoder; rename one.'
    if safe_file_name(placeholder).casefold() == safe_file_name(other).casefold():
        return f'"{placeholder}" and "{other}" would be saved under one file name; rename one.'
    if find_placeholders(placeholder, [other]) or find_placeholders(other, [placeholder]) or _continues(
            placeholder, other) or _continues(other, placeholder):
        return f'"{placeholder}" and "{other}" overlap, so that a caption may mean either; rename one.'
    return None


def _continues(first: str, second: str) -> bool:
    """Whether `first` ends with the words that `second` begins with."""
    ending, beginning = first.casefold().split(), second.casefold().split()
    return any(ending[-length:] == beginning[:length] for length in range(1, min(len(ending), len(beginning)) + 1))


def safe_file_name(placeholder: str) -> str:
    """The stem of the embedding's file, which is also the word that finds it in a prompt.

    The placeholder itself wherever every system allows it as a name; what Windows forbids becomes ``_``, which no
    ordinary word has: were it dropped, ``<angle>`` would take over the word angle.
    """
    name = " ".join(unicodedata.normalize("NFC", placeholder).split())
    name = re.sub(r'[<>:"/\\|?*\x00-\x1f\x7f]', "_", name).strip(". ")
    return WINDOWS_DEVICES.sub(r"\1_", name, count=1) if WINDOWS_DEVICES.match(name) else name or "_"
