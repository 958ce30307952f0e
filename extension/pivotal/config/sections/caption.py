"""What is done to a caption before the text encoder gets it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pivotal.config.options import option

TagDropout = Literal["each tag", "later tags more", "all at once"]


@dataclass(frozen=True)
class Caption:
    """Changes of captions, in the order from lines to the trigger word; embeddings are put in last."""

    lines: Literal["joined", "one of them"] = option(
        "joined", "Takes a caption file of several lines as one caption, or one of its lines each time.",
        label="Several lines")
    prefix: str = option("", "Text before each caption file's words.", tokens="caption", label="Caption prefix")
    suffix: str = option("", "Text after each caption file's words.", tokens="caption", label="Caption suffix")
    wildcards: bool = option(False, "Picks one of several words each time: {red|dark red}. Doubled braces stay as they are.")
    delimiter: str = option(",", "Separates a caption's tags.")
    keep_tags: int = option(0, "Number of tags at the beginning that are neither shuffled nor dropped.", ge=0, le=1000,
                            ss="ss_keep_tokens")
    keep_separator: str = option(
        "", "Mark in captions, such as |||: tags before it (and after a second one) stay as they are, the others may change. "
        "Empty: none.")
    tag_dropout: float = option(0.0, "Share of tags that are left out, anew each time.", ge=0, le=1,
                                ss="ss_caption_tag_dropout_rate")
    tag_dropout_kind: TagDropout = option(
        "each tag", "Leaves out each tag by itself; the last tag that often and earlier ones less and less; or all tags at once.",
        label="Tags are left out", source="OneTrainer's modes RANDOM, RANDOM WEIGHTED and FULL")
    tags_to_drop: tuple[str, ...] = option(
        (), "Tags that may be left out, one per line, * for any letters. Empty: all but the kept ones.", widget="textarea")
    tags_to_keep: tuple[str, ...] = option((), "Tags that are never left out, one per line, * for any letters.",
                                           widget="textarea")
    tag_patterns: Literal["words", "regular expressions"] = option(
        "words", "Takes the lines of the two lists as words with * for any letters, or each as a regular expression for a whole "
        "tag, such as (red|blue) hat.", label="Lists of tags hold")
    shuffle: bool = option(False, "Shuffles the tags each time.", label="Shuffle tags", ss="ss_shuffle_caption")
    dropout: float = option(0.0, "Share of captions that are left out as a whole, embeddings included, which learn nothing then.",
                            ge=0, le=1, label="Caption dropout", ss="ss_caption_dropout_rate")
    dropout_every_epochs: int = option(0, "Leaves out all captions in every Nth epoch, the first being 1; 0 never.",
                                       ge=0, le=10_000, label="Caption dropout every", unit="epochs",
                                       ss="ss_caption_dropout_every_n_epochs")
    trigger_word: str = option("", "Word put before each caption that does not contain it yet.", tokens="caption",
                               label="Trigger word")
    weighted: bool = option(
        False, "Reads (words:1.2), (more) and [less] as the WebUI does in prompts. Off: brackets are letters.",
        label="Weighted captions", ss="ss_weighted_captions")
    max_tokens: Literal["as the host", "75", "150", "225"] = option(
        "as the host", "Cuts longer captions off. As the host takes them whole, in chunks of 75 as prompts are, with a new one "
        "at BREAK.",
        label="Longest caption", ss="ss_max_token_length")
    padding: bool = option(
        True, "Fills captions up to 75 tokens, as prompts are. Off: the UNet is told only as many tokens as the longest of a "
        "batch has.", label="Pad captions", source="kohya's no_token_padding")
