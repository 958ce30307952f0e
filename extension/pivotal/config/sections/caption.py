"""What is done to a caption before the text encoder gets it."""

from __future__ import annotations

from dataclasses import dataclass

from pivotal.config.options import option


@dataclass(frozen=True)
class Caption:
    """Changes of captions, done in this order: from the prefix to the trigger word; embeddings are put in last."""

    prefix: str = option("", "Text before each caption file's words.", tokens="caption", label="Caption prefix")
    suffix: str = option("", "Text after each caption file's words.", tokens="caption", label="Caption suffix")
    wildcards: bool = option(False, "Takes one of several words anew each time: {red|dark red}. Doubled braces stay as they are.")
    delimiter: str = option(",", "Parts a caption's tags.")
    keep_tags: int = option(0, "Number of tags at the beginning that are neither shuffled nor dropped.", ge=0, le=1000,
                            ss="ss_keep_tokens")
    tag_dropout: float = option(0.0, "Share of tags that are left out, anew each time.", ge=0, le=1,
                                ss="ss_caption_tag_dropout_rate")
    shuffle: bool = option(False, "Puts the tags in another order each time.", label="Shuffle tags", ss="ss_shuffle_caption")
    dropout: float = option(0.0, "Share of captions that are left out whole. Nothing in them learns then, embeddings neither.",
                            ge=0, le=1, label="Caption dropout", ss="ss_caption_dropout_rate")
    dropout_every_epochs: int = option(0, "Leaves out all captions of every so many epochs, the first counted as 1; 0 never.",
                                       ge=0, le=10_000, label="Caption dropout every", unit="epochs",
                                       ss="ss_caption_dropout_every_n_epochs")
    trigger_word: str = option("", "Word that begins each caption in which it does not stand yet.", tokens="caption",
                               label="Trigger word")
