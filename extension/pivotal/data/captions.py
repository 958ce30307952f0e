"""Which text goes with an image in an epoch."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from pivotal.data.folder import Item
from pivotal.prompts.templates import fill_template


@dataclass(frozen=True)
class Captions:
    """Texts for the images of a dataset; without templates they are the caption files'.

    Args:
        name: what [name] and {} become: the placeholders of the run.
        seed: with epoch and index it decides which template an image gets.
    """

    items: Sequence[Item]
    templates: Sequence[str]
    name: str
    seed: int

    def text(self, index: int, epoch: int) -> str:
        """The caption of image `index`; a template is drawn anew in each epoch."""
        filewords = self.items[index].caption or ""
        if not self.templates:
            return filewords
        template = random.Random(f"{self.seed}/captions/{epoch}/{index}").choice(self.templates)
        return fill_template(template, name=self.name, filewords=filewords)

    def all_texts(self) -> list[str]:
        """Every text that may come, each once."""
        if not self.templates:
            return list(dict.fromkeys(item.caption or "" for item in self.items))
        filewords = dict.fromkeys(item.caption or "" for item in self.items)
        return list(dict.fromkeys(fill_template(template, name=self.name, filewords=words)
                                  for template in self.templates for words in filewords))
