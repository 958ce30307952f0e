"""Which text goes with an image in an epoch."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass

from pivotal.config.sections.caption import Caption
from pivotal.data.folder import Item
from pivotal.prompts.placeholders import find_placeholders
from pivotal.prompts.templates import fill_template

_CHOICE = re.compile(r"(?<!\{)\{([^{}]*\|[^{}]*)\}(?!\})")


@dataclass(frozen=True)
class Captions:
    """Texts for the images of a dataset; without templates they are the caption files'.

    The order: prefix and suffix, wildcards, tags dropped, tags shuffled, the caption dropped, the template, the trigger
    word. Placeholders become vectors later, so no rule can take a word apart.

    Args:
        name: what [name] and {} become: the placeholders of the run.
        seed: with epoch and index it decides all that is drawn.
    """

    items: Sequence[Item]
    templates: Sequence[str]
    name: str
    seed: int
    rules: Caption = Caption()

    def text(self, index: int, epoch: int) -> str:
        """The caption of image `index` in epoch 0, 1, ...; what is drawn is drawn anew in each epoch."""
        dice = random.Random(f"{self.seed}/words/{epoch}/{index}")
        words = self._whole(self.items[index].caption or "")
        if self.rules.wildcards:
            words = _CHOICE.sub(lambda found: dice.choice(found[1].split("|")).strip(), words)
            words = words.replace("{{", "{").replace("}}", "}")
        words = self._tags(words, dice)
        if self._is_dropped(epoch, dice):
            return ""
        if self.templates:
            template = random.Random(f"{self.seed}/captions/{epoch}/{index}").choice(self.templates)
            words = fill_template(template, name=self.name, filewords=words)
        return self._triggered(words)

    def all_texts(self) -> list[str]:
        """Every text that may come, each once, as it is before anything is drawn but the template."""
        words = dict.fromkeys(self._whole(item.caption or "") for item in self.items)
        if self.templates:
            words = dict.fromkeys(fill_template(template, name=self.name, filewords=text)
                                  for template in self.templates for text in words)
        return list(dict.fromkeys(map(self._triggered, words)))

    def _whole(self, caption: str) -> str:
        return " ".join(piece for piece in (self.rules.prefix.strip(), caption, self.rules.suffix.strip()) if piece)

    def _tags(self, words: str, dice: random.Random) -> str:
        rules = self.rules
        if not (rules.tag_dropout or rules.shuffle):
            return words
        tags = [tag.strip() for tag in words.split(rules.delimiter) if tag.strip()]
        kept, others = tags[:rules.keep_tags], tags[rules.keep_tags:]
        others = [tag for tag in others if dice.random() >= rules.tag_dropout]
        if rules.shuffle:
            dice.shuffle(others)
        # A delimiter of a word character or two stands alone; a comma is followed by a blank.
        return (rules.delimiter.strip() + " ").join([*kept, *others])

    def _is_dropped(self, epoch: int, dice: random.Random) -> bool:
        every = self.rules.dropout_every_epochs
        return dice.random() < self.rules.dropout or bool(every) and (epoch + 1) % every == 0

    def _triggered(self, words: str) -> str:
        trigger = self.rules.trigger_word.strip()
        if not trigger or find_placeholders(words, [trigger]):
            return words
        return f"{trigger}, {words}" if words else trigger
