"""What can be done to many captions at once. Each change is a function of a caption's text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Literal, get_args

import regex  # as `re`, with a limit of time; transformers' tokenizers need it, so that every host has it

from pivotal.errors import OptionError

Action = Literal["replace", "prefix", "suffix", "add tag", "remove tag", "rename tag", "sort tags", "unique tags"]
ACTIONS: tuple[Action, ...] = get_args(Action)
_NEEDS_TEXT = ("prefix", "suffix")
_NEEDS_FIND = ("replace", "add tag", "remove tag", "rename tag")
PATIENCE_S = 1.0  # of the processor, for an expression and a caption; some expressions would take years
LONGEST_PATTERN = 2_000  # letters
DELIMITER = ","
Edit = Callable[[str], str]


@dataclass(frozen=True)
class Change:
    """What is to be done to captions."""

    action: Action
    find: str = ""  # the words or the tag
    text: str = ""  # what takes their place, or is added
    is_regular: bool = False  # whether `find` is a regular expression; \\1 in `text` is its first group
    any_case: bool = False  # whether capitals are as small letters

    @property
    def words(self) -> str:
        """For people, in a list of what can be undone."""
        shown = [f"{part[:40]!r}" for part in (self.find, self.text) if part]
        return " ".join([self.action, " by ".join(shown) if self.action == "replace" else " ".join(shown)]).strip()


def edit_of(change: Change) -> Edit:
    """`change` as a function of a caption.

    Raises:
        OptionError: something it needs is missing, or the regular expression is none. The function raises it, too, when
            the expression takes too long.
    """
    if change.action not in ACTIONS:
        raise OptionError({"action": f"expected one of {', '.join(ACTIONS)}; got {change.action!r}"})
    if change.action in _NEEDS_FIND and not change.find.strip():
        raise OptionError({"find": f"needs the {'words' if change.action == 'replace' else 'tag'} to look for"})
    if change.action in _NEEDS_TEXT and not change.text:
        raise OptionError({"text": f"needs the {change.action}"})
    if change.action == "replace":
        return _replacing(change)
    wanted = _normal(change.find, change.any_case)
    by_name: dict[str, Edit] = {
        "prefix": lambda words: change.text + words,
        "suffix": lambda words: words + change.text,
        "add tag": lambda words: _joined([*tags_of(words), change.find.strip()])
        if wanted not in (_normal(tag, change.any_case) for tag in tags_of(words)) else words,
        "remove tag": partial(_without, wanted=wanted, any_case=change.any_case),
        "rename tag": partial(_renamed, wanted=wanted, new=change.text.strip(), any_case=change.any_case),
        "sort tags": lambda words: _joined(sorted(tags_of(words), key=str.casefold)),
        "unique tags": lambda words: _joined(list({_normal(tag, True): tag for tag in reversed(tags_of(words))}.values())[::-1]),
    }
    return by_name[change.action]


def tags_of(caption: str) -> list[str]:
    """The tags between commas, without blanks at their ends; empty ones left out."""
    return [tag.strip() for tag in caption.split(DELIMITER) if tag.strip()]


def count_tags(captions: Iterable[str]) -> list[tuple[str, int]]:
    """In how many captions each tag stands, the most frequent first."""
    counts = Counter(tag for caption in captions for tag in dict.fromkeys(tags_of(caption)))
    return sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))


def _joined(tags: list[str]) -> str:
    return f"{DELIMITER} ".join(tags)


def _normal(tag: str, any_case: bool) -> str:
    return tag.strip().casefold() if any_case else tag.strip()


def _without(words: str, wanted: str, any_case: bool) -> str:
    tags = tags_of(words)
    kept = [tag for tag in tags if _normal(tag, any_case) != wanted]
    return words if len(kept) == len(tags) else _joined(kept)


def _renamed(words: str, wanted: str, new: str, any_case: bool) -> str:
    tags = tags_of(words)
    renamed = [new if _normal(tag, any_case) == wanted else tag for tag in tags]
    return words if renamed == tags else _joined([tag for tag in renamed if tag])


def _replacing(change: Change) -> Edit:
    if len(change.find) > LONGEST_PATTERN:
        raise OptionError({"find": f"has {len(change.find)} letters; at most {LONGEST_PATTERN} can be looked for"})
    if not change.is_regular and not change.any_case:
        return lambda words: words.replace(change.find, change.text)
    try:
        pattern = regex.compile(change.find if change.is_regular else regex.escape(change.find, literal_spaces=True),
                                regex.IGNORECASE if change.any_case else 0)
    except regex.error as error:
        raise OptionError({"find": f"is no regular expression: {error}"}) from error
    by = change.text if change.is_regular else change.text.replace("\\", "\\\\")

    def replaced(words: str) -> str:
        try:
            return pattern.sub(by, words, timeout=PATIENCE_S, concurrent=True)
        except TimeoutError as error:
            raise OptionError({"find": f"takes more than {PATIENCE_S:g} s on one caption; no caption was changed. Use a simpler "
                                       "expression, without repeats inside of repeats"}) from error
        except (regex.error, IndexError) as error:
            raise OptionError({"text": f"does not fit the expression: {error}"}) from error

    return replaced
