"""What the page tells of a run before it starts: its captions, its length, its needs, and what would need less."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from pivotal.config.train import TrainConfig
from pivotal.formats.kept_files import size_words
from pivotal.jobs.outlook.captions import ShownCaption
from pivotal.jobs.outlook.outlook import Offer, Outlook
from pivotal.jobs.outlook.words import disk_line, is_tight, memory_lines, time_lines
from pivotal.jobs.signed import sign
from pivotal.jobs.watch.plan_words import plan_lines
from pivotal.prompts.placeholders import find_placeholders
from pivotal.ui.labels import label_of_key

_THUMBNAIL = 96  # px


def plan_html(found: Outlook, placeholders: Sequence[str]) -> str:
    """The whole plan.

    Args:
        placeholders: words that are embeddings, to be marked in the captions.
    """
    lines = [*plan_lines(found.planned), *time_lines(found)]
    notices = [f"{label_of_key(TrainConfig, key)}: {text}" for key, text in found.notices.items()]
    return (f'<div class="pivotal-plan">{_notes(lines)}{_list("To consider", notices)}{_needs(found)}'
            f"{_offers(found)}{_captions(found.captions, placeholders)}</div>")


def _notes(lines: Sequence[str]) -> str:
    return "".join(f'<div class="pivotal-note">{escape(line)}</div>' for line in lines)


def _list(title: str, lines: Sequence[str]) -> str:
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f'<div class="pivotal-note pivotal-plan-part"><b>{title}</b><ul>{items}</ul></div>' if lines else ""


def _needs(found: Outlook) -> str:
    """Memory and disk; what may be too little stands out."""
    warned = '<div class="pivotal-error">That may be more than the graphics card has left.</div>' if is_tight(found) else ""
    is_full = found.disk.total > found.disk.free
    return (_notes(memory_lines(found)) + warned
            + f'<div class="{"pivotal-error" if is_full else "pivotal-note"}">{escape(disk_line(found.disk))}</div>')


def _offers(found: Outlook) -> str:
    if not found.offers:
        return ""
    return ('<details class="pivotal-plan-part"><summary class="pivotal-note">What would need less memory</summary>'
            f'<ul class="pivotal-offers">{"".join(map(_offer, found.offers))}</ul></details>')


def _offer(offer: Offer) -> str:
    words = ", ".join(f"{label_of_key(TrainConfig, key)}: {_shown(value)}" for key, value in offer.values.items())
    saved = f"about {size_words(offer.saves)} less; " if offer.saves else ""
    return f'<li>{set_button(words, offer.values)} <span class="pivotal-note">{escape(saved + offer.why)}</span></li>'


def set_button(words: str, values: Mapping[str, Any]) -> str:
    """A button that puts `values` (by option's key) into the form (javascript/pivotal_set.js)."""
    data = escape(json.dumps(dict(values)), quote=True)
    return (f'<button type="button" class="pivotal-small-button" data-pivotal-set="{data}" title="Sets it in the form">'
            f"{escape(words)}</button>")


def _shown(value: Any) -> str:
    return ("on" if value else "off") if isinstance(value, bool) else str(value)


def _captions(captions: Sequence[ShownCaption], placeholders: Sequence[str]) -> str:
    cut = sum(caption.cut is not None for caption in captions)
    more = f", {cut} of them cut off" if cut else ""
    count = "first caption" if len(captions) == 1 else f"first {len(captions)} captions"
    rows = "".join(_caption(caption, placeholders) for caption in captions)
    return ('<details class="pivotal-plan-part" open><summary class="pivotal-note">The '
            f"{count}, as the text encoder gets them{more}</summary>"
            f'<ol class="pivotal-captions">{rows}</ol></details>')


def _caption(caption: ShownCaption, placeholders: Sequence[str]) -> str:
    count = ""
    if caption.tokens is not None:
        chunks = f", {caption.chunks} chunks" if caption.chunks > 1 else ""
        count = f"{caption.tokens} token{'' if caption.tokens == 1 else 's'}{chunks}"
    kept = caption.text if caption.cut is None else caption.text[:caption.cut]
    lost = "" if caption.cut is None else f'<s title="does not reach the text encoder">{escape(caption.text[caption.cut:])}</s>'
    words = _marked(kept, placeholders) + lost or '<i class="pivotal-note">no words</i>'
    return (f'<li><img loading="lazy" width="{_THUMBNAIL}" height="{_THUMBNAIL}" alt="" '
            f'src="{escape(sign(caption.image, 2 * _THUMBNAIL), quote=True)}" title="{escape(caption.image.name, quote=True)}">'
            f'<div><div>{words}</div><div class="pivotal-note">{escape(caption.image.name)} &middot; {count}</div></div></li>')


def _marked(text: str, placeholders: Sequence[str]) -> str:
    spans = [(start, end) for start, end, _ in find_placeholders(text, placeholders)]
    ends = [0, *(end for _, end in spans)]
    pieces = [escape(text[begin:start]) + f'<mark class="pivotal-tokens-embedding">{escape(text[start:end])}</mark>'
              for begin, (start, end) in zip(ends, spans, strict=False)]
    return "".join(pieces) + escape(text[ends[-1]:])
