"""Which text goes with an image each time it is seen."""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fnmatch import translate
from functools import lru_cache

from pivotal.config.sections.caption import Caption
from pivotal.data.concepts import Concept
from pivotal.data.folder import Item
from pivotal.prompts.layout import CHUNK
from pivotal.prompts.placeholders import find_placeholders
from pivotal.prompts.templates import FILEWORDS, fill_template

MOST_PAIRS = 10_000  # of templates and captions that are looked through before a run
_WEIGHT = re.compile(r"^[(\[]+|(?::\s*[\d.]+\s*)?[)\]]+$")  # of (red hat:1.2)
_CHOICE = re.compile(r"(?<!\{)\{([^{}]*\|[^{}]*)\}(?!\})")


@dataclass(frozen=True)
class Captions:
    """The images of a run with their texts; without templates these are the caption files'.

    The order: a line of the file, prefix and suffix, wildcards, tags dropped, tags shuffled, the caption dropped, the
    template, the trigger word. Placeholders become vectors later, so no rule can take a word apart.

    Args:
        seed: with epoch and index it decides all that is drawn.
    """

    items: Sequence[Item]
    concepts: Sequence[Concept]  # by the items' `concept`
    seed: int

    def text(self, index: int, epoch: int, time: int | None = None) -> str:
        """The caption of image `index` in epoch 0, 1, ...; what is drawn is drawn anew each time it is seen.

        Args:
            time: how often the image was seen before; None: once in each epoch.
        """
        time = epoch if time is None else time
        item = self.items[index]
        wording = self.concepts[item.concept].wording
        rules, dice = wording.rules, random.Random(f"{self.seed}/words/{time}/{index}")
        caption = random.Random(f"{self.seed}/lines/{time}/{index}").choice(item.lines) if item.lines else item.caption
        words = _whole(caption or "", rules)
        if rules.wildcards:
            words = _CHOICE.sub(lambda found: dice.choice(found[1].split("|")).strip(), words)
            words = words.replace("{{", "{").replace("}}", "}")
        words = _tags(words, rules, dice)
        every = rules.dropout_every_epochs
        if dice.random() < rules.dropout or bool(every) and (epoch + 1) % every == 0:
            return ""
        if wording.templates:
            template = random.Random(f"{self.seed}/captions/{time}/{index}").choice(wording.templates)
            words = _filled(template, words, wording.name, wording.before)
        return _triggered(words, rules)

    def all_texts(self) -> list[str]:
        """Every text that may come, each once, as it is before anything is drawn but the template and the line.

        Of very many captions and templates not every pair, but each of them at least once.
        """
        found: dict[str, None] = {}
        for index, concept in enumerate(self.concepts):
            wording = concept.wording
            still, dice = replace(wording.rules, tag_dropout=0.0, shuffle=False), random.Random(0)
            captions = (caption for item in self.items if item.concept == index for caption in item.lines or (item.caption,))
            words = list(dict.fromkeys(_tags(_whole(caption or "", still), still, dice) for caption in captions))
            if wording.templates:
                words = [_filled(template, text, wording.name, wording.before)
                         for template, text in _pairs(wording.templates, words)]
            found |= dict.fromkeys(_triggered(text, wording.rules) for text in words)
        return list(found)


def _pairs(templates: Sequence[str], texts: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Every template with every text, or, of too many, each of both in turn."""
    if len(templates) * len(texts) <= MOST_PAIRS:
        return itertools.product(templates, texts)
    count = max(len(templates), len(texts))
    return zip(*(itertools.islice(itertools.cycle(lines), count) for lines in (templates, texts)), strict=True)


def longest_in_chunks(rules: Caption) -> int | None:
    """How many chunks of 75 tokens a caption may have; None when it is never cut off."""
    return None if rules.max_tokens == "as the host" else int(rules.max_tokens) // CHUNK


def _whole(caption: str, rules: Caption) -> str:
    return " ".join(piece for piece in (rules.prefix.strip(), caption, rules.suffix.strip()) if piece)


def _filled(template: str, words: str, name: str, before: bool) -> str:
    text = fill_template(template, name=name, filewords=words)
    return f"{text} {words}".strip() if before and FILEWORDS not in template else text


def _tags(words: str, rules: Caption, dice: random.Random) -> str:
    separator = rules.keep_separator.strip()
    is_parted = bool(separator and rules.delimiter) and separator in words
    if not (rules.tag_dropout or rules.shuffle or is_parted):
        return words
    kept, others, tail = _parted(words, rules, separator if is_parted else "")
    others = _undropped(others, rules, dice)
    if rules.shuffle:
        dice.shuffle(others)
    # A delimiter of a word character or two stands alone; a comma is followed by a blank.
    return (rules.delimiter.strip() + " ").join([*kept, *others, *tail])


def _parted(words: str, rules: Caption, separator: str) -> tuple[list[str], list[str], list[str]]:
    """The tags that stay in front, those that may change, and those that stay behind."""
    def tags(text: str) -> list[str]:
        return [tag.strip() for tag in text.split(rules.delimiter) if tag.strip()]

    if separator:
        head, _, rest = words.partition(separator)
        others, _, tail = rest.partition(separator)
        return tags(head), tags(others), tags(tail)
    found = tags(words)
    return found[:rules.keep_tags], found[rules.keep_tags:], []


def _undropped(tags: Sequence[str], rules: Caption, dice: random.Random) -> list[str]:
    """The tags that stay this time; "later tags more" leaves out tag i (1, 2, ...) of n with i / n of the share."""
    if rules.tag_dropout_kind == "all at once":
        goes = dice.random() < rules.tag_dropout
        return [tag for tag in tags if not goes or not _may_go(tag, rules)]
    is_weighted, count = rules.tag_dropout_kind == "later tags more", len(tags)
    shares = (rules.tag_dropout * (place / count if is_weighted else 1) for place in range(1, count + 1))
    return [tag for tag, share in zip(tags, shares, strict=True) if dice.random() >= share or not _may_go(tag, rules)]


def _may_go(tag: str, rules: Caption) -> bool:
    """Whether a tag is one of those that may be left out."""
    are_regular = rules.tag_patterns == "regular expressions"
    if _is_listed(tag, rules.tags_to_keep, are_regular):
        return False
    return not rules.tags_to_drop or _is_listed(tag, rules.tags_to_drop, are_regular)


def _is_listed(tag: str, lines: tuple[str, ...], are_regular: bool) -> bool:
    """Whether one of `lines` is the whole tag, with or without its brackets and weight; capitals are as small letters."""
    forms = {tag, _WEIGHT.sub("", tag).strip()}
    return any(_pattern(line, are_regular).fullmatch(form) for line in lines for form in forms)


@lru_cache(maxsize=4096)
def _pattern(line: str, is_regular: bool) -> re.Pattern[str]:
    return re.compile(line if is_regular else translate(line), re.IGNORECASE)


def _triggered(words: str, rules: Caption) -> str:
    trigger = rules.trigger_word.strip()
    if not trigger or find_placeholders(words, [trigger]):
        return words
    return f"{trigger}, {words}" if words else trigger
