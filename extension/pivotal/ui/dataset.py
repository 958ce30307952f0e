"""The Dataset page: a folder's images with their captions, and what can be done to them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from html import escape
from json import dumps

from pivotal.errors import PivotalError
from pivotal.jobs.signed import sign
from pivotal.tools.dataset.datasets import Datasets
from pivotal.tools.dataset.filters import KINDS, Filter, filter_from, number
from pivotal.tools.dataset.former_masks import WHAT as UNDOES_MASKS
from pivotal.tools.dataset.index import UNKNOWN, Found
from pivotal.tools.dataset.mask_files import mask_size
from pivotal.tools.dataset.opened import Opened
from pivotal.tools.dataset.places import ENDINGS
from pivotal.tools.dataset.settings import CaptionImages, EditCaptions, MaskImages, PrepareImages
from pivotal.tools.dataset.shown import LONGEST_EDITED
from pivotal.tools.dataset.work import WorkView
from pivotal.ui.dataset_forms import fields_html
from pivotal.ui.gradio_compat import slot

_PER_PAGE = 50
_THUMBNAIL = 320  # px
_TAGS_SHOWN = 200
_LONGEST_SHOWN = 2_000  # letters of a caption that is too long to be edited
_LONG = "A run cuts captions only where its Longest caption says so; else they take a chunk more of the text encoder's time."
_OF_PAGE = ("folder", "subfolders", "ending")
Query = Mapping[str, str]


def draw_dataset_page() -> None:
    """Draws the page where it is called: inside the gradio Blocks that is being made."""
    slot("dataset", "pivotal_dataset")


def dataset_version(datasets: Datasets, query: Query) -> str:
    """Another one whenever `dataset_html` may be another. Counts a few captions' tokens each time, until all are."""
    opened = _opened(datasets, query)
    if opened is None:
        return f"none:{datasets.work.view().version}"
    return f"{opened.place.folder}:{opened.version}:{opened.shown.count_more()}:{datasets.work.view().version}"


def dataset_html(datasets: Datasets, query: Query) -> str:
    """The page's fragment.

    Args:
        query: folder, filter, search, tag, least, tokens, page, tags ("1" shows them).
    """
    opened = _opened(datasets, query)
    parts = [_part("open", _open_form(opened))]
    if opened is None:
        return parts[0]
    problem = ""
    try:
        filter_, page = filter_from(query), number(query, "page", 1, 1, 1_000_000)
    except PivotalError as error:
        filter_, page, problem = Filter(), 1, f'<div class="pivotal-error">{escape(str(error))}</div>'
    chosen = opened.shown.chosen(filter_)
    pages = max(1, -(-len(chosen) // _PER_PAGE))
    page = min(page, pages)
    shown = chosen[(page - 1) * _PER_PAGE:page * _PER_PAGE]
    parts += [
        _part("filters", _filters(opened, filter_)), _part("search", _search(query)), _part("problem", problem),
        _part("tags", _tags(opened, filter_, query.get("tags") == "1")), _part("tools", _tools(datasets)),
        _part("work", _work(datasets.work.view())), _part("undo", _undo(opened)),
        _part("pages", _pages(page, pages, len(chosen))),
        *(_part(f"image-{_short(image.name)}", _card(opened, image, filter_), "pivotal-card") for image in shown),
    ]
    if pages > 1:
        parts.append(_part("more-pages", _pages(page, pages, len(chosen))))
    return "".join(parts)


def _opened(datasets: Datasets, query: Query) -> Opened | None:
    """The folder that is asked for, while it is open; without one the last one opened."""
    if not query.get("folder"):
        return datasets.newest()
    try:
        return datasets.get(query["folder"])
    except PivotalError:  # after a restart
        return None


def _part(name: str, inner: str, kind: str = "") -> str:
    return f'<div class="pivotal-part {kind or "pivotal-part-" + name}" data-part="{escape(name)}">{inner}</div>'


def _short(name: str) -> str:
    return hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _button(text: str, post: str, confirm: str = "", **body: object) -> str:
    asked = f' data-pivotal-confirm="{escape(confirm, quote=True)}"' if confirm else ""
    given = f' data-pivotal-body="{escape(dumps(body), quote=True)}"' if body else ""
    return (f'<button type="button" class="pivotal-small-button" data-pivotal-post="dataset/{post}"{given}{asked}>{escape(text)}'
            "</button>")


def _open_form(opened: Opened | None) -> str:
    folder = escape(str(opened.place.folder), quote=True) if opened else ""
    subfolders = " checked" if opened and opened.place.subfolders else ""
    ending = opened.place.ending if opened else ""
    endings = "".join(f'<option value="{one}"{" selected" if one == ending else ""}>{one or "as found"}</option>'
                      for one in ("", *ENDINGS))
    return (f'<div class="pivotal-dataset-open" data-pivotal-form data-pivotal-folder="{folder}">'
            '<label class="pivotal-field pivotal-grows"><span class="pivotal-label">Folder of images</span>'
            f'<input type="text" name="folder" value="{folder}" autocomplete="off" spellcheck="false"></label>'
            f'<label class="pivotal-field"><span class="pivotal-label">Captions end in</span><select name="ending">{endings}'
            '</select></label><label class="pivotal-field pivotal-check">'
            f'<input type="checkbox" name="subfolders"{subfolders}><span class="pivotal-label">Subfolders</span></label>'
            '<button type="button" class="pivotal-small-button" data-pivotal-from-form>Folder of the form</button>'
            f'{_button("Open" if opened is None else "Open, or look again", "open")}</div>')


def _filters(opened: Opened, filter_: Filter) -> str:
    counts, left = opened.shown.counts(filter_), opened.shown.count_more()
    lines = []
    for kind, words in KINDS.items():
        count = f"{counts[kind]:,}"
        if kind == "cut" and left:
            count += f" ({left:,} not counted yet)"
        if kind == "near" and opened.near is None:
            count = "?"
        pressed = "true" if kind == filter_.kind else "false"
        lines.append(f'<button type="button" class="pivotal-small-button" data-pivotal-ask="filter" value="{kind}" '
                     f'aria-pressed="{pressed}">{words} <b>{count}</b></button>')
    return f'<div class="pivotal-dataset-line">{"".join(lines)}{_button("Compare all images", "compare")}</div>'


def _search(query: Query) -> str:
    def field(name: str, label: str, default: str, size: int, tip: str = "") -> str:
        value = escape(query.get(name) or default, quote=True)
        return (f'<label class="pivotal-field" title="{escape(tip, quote=True)}">'
                f'<span class="pivotal-label">{label}</span><input type="text" '
                f'data-pivotal-ask="{name}" value="{value}" size="{size}" autocomplete="off"></label>')

    shows = query.get("tags") == "1"
    return ('<div class="pivotal-dataset-line">' + field("search", "Search in names and captions", "", 30)
            + field("least", "Too small below (px)", "512", 6) + field("tokens", "Long beyond (tokens)", "75", 6, _LONG)
            + f'<button type="button" class="pivotal-small-button" data-pivotal-ask="tags" '
              f'value="{"" if shows else "1"}">{"Hide" if shows else "Show"} tags</button></div>')


def _tags(opened: Opened, filter_: Filter, are_shown: bool) -> str:
    """The tag that is filtered by, and, if asked, the most frequent ones."""
    lines = []
    if filter_.tag:
        lines.append('<button type="button" class="pivotal-small-button" data-pivotal-ask="tag" value="" aria-pressed="true">'
                     f"{escape(filter_.tag[:80])} ✕</button>")
    if are_shown:
        found = opened.shown.tags(filter_)
        lines += [f'<button type="button" class="pivotal-small-button" data-pivotal-ask="tag" value="{escape(tag, quote=True)}">'
                  f"{escape(tag[:80])} <b>{count}</b></button>" for tag, count in found[:_TAGS_SHOWN]]
        lines.append(f'<span class="pivotal-note">{len(found):,} tags</span>')
    return f'<div class="pivotal-dataset-line">{"".join(lines)}</div>' if lines else ""


def _tools(datasets: Datasets) -> str:
    """Nothing in here changes while the page is used, so that what is typed stays."""
    names = datasets.captioners()
    return (_tool("Change these captions", fields_html(EditCaptions, (*_OF_PAGE, "preview")),
                  _button("Preview", "change", preview=True) + _button("Change", "change", preview=False))
            + _tool("Write captions for these images", fields_html(CaptionImages, _OF_PAGE, {"captioner": names}),
                    _button("Write captions", "captions"))
            + _tool("Make masks for these images", fields_html(MaskImages, _OF_PAGE), _button("Make masks", "masks"))
            + _tool("Cut copies of these images", fields_html(PrepareImages, _OF_PAGE), _button("Cut", "prepare")))


def _tool(title: str, fields: str, buttons: str) -> str:
    return (f'<details class="pivotal-dataset-tool"><summary>{title}</summary><div data-pivotal-form>'
            f'<div class="pivotal-grid-fields">{fields}</div><div class="pivotal-dataset-line">{buttons}</div></div></details>')


def _work(view: WorkView) -> str:
    if view.state == "idle":
        return ""
    share = 100 * view.done / view.of if view.of else 0
    stop = _button("Stop", "work/stop") if view.state == "running" else ""
    troubles = "".join(f"<li>{escape(text)}</li>" for text in view.troubles)
    if view.troubled > len(view.troubles):
        troubles += f"<li>and {view.troubled - len(view.troubles):,} more</li>"
    told = f'<ul class="pivotal-problem-list">{troubles}</ul>' if troubles else ""
    message = f'<div class="pivotal-error">{escape(view.message)}</div>' if view.state == "failed" else ""
    words = f"{view.title}: {view.done:,} of {view.of:,}, {view.state}"
    return (f'<div class="pivotal-dataset-line"><span>{escape(words)}</span>{stop}</div>'
            f'<div class="pivotal-bar" role="progressbar" aria-valuenow="{share:.0f}" aria-valuemin="0" aria-valuemax="100">'
            f'<div style="width:{share:.1f}%"></div></div>{message}{told}')


def _undo(opened: Opened) -> str:
    what = [(opened.captions.undoes[:80], "undo")] if opened.captions.undoes else []
    what += [(UNDOES_MASKS, "masks/undo")] if opened.undoes_masks else []
    buttons = "".join(_button(f"Undo: {words}", post) for words, post in what)
    return f'<div class="pivotal-dataset-line" data-pivotal-form>{buttons}</div>' if what else ""


def _pages(page: int, pages: int, found: int) -> str:
    def turn(text: str, to: int) -> str:
        off = " disabled" if not 1 <= to <= pages or to == page else ""
        return (f'<button type="button" class="pivotal-small-button" data-pivotal-ask="page" value="{to}"{off} '
                f'aria-label="page {to}">{text}</button>')

    words = f"{found:,} image{'s' if found != 1 else ''}" + (f", page {page:,} of {pages:,}" if pages > 1 else "")
    turns = turn("« first", 1) + turn("‹ back", page - 1) + turn("next ›", page + 1) + turn("last »", pages) if pages > 1 else ""
    return f'<div class="pivotal-dataset-line"><span>{words}</span>{turns}</div>'


def _card(opened: Opened, image: Found, filter_: Filter) -> str:
    name, path = escape(image.name, quote=True), opened.place.folder / image.name
    trouble = opened.trouble(image)
    picture = f'<div class="pivotal-no-image">{escape(trouble[:200])}</div>' if trouble else (
        f'<a href="{escape(sign(path, 0), quote=True)}" target="_blank" rel="noopener"><img loading="lazy" '
        f'src="{escape(sign(path, _THUMBNAIL), quote=True)}" alt="{name}"></a>')
    return (f'{picture}<div class="pivotal-card-name" title="{name}">{name}</div>'
            f'<div class="pivotal-card-facts">{_facts(opened, image, filter_)}</div>'
            f'{_caption(image, name)}<div class="pivotal-dataset-line">{_painter(opened, image)}</div>')


def _facts(opened: Opened, image: Found, filter_: Filter) -> str:
    tokens = opened.shown.tokens(image) if len(image.caption or "") <= LONGEST_EDITED else None
    facts = [] if image.size == UNKNOWN else [f"{image.size[1]}×{image.size[0]}"]
    facts += [f"{tokens} tokens"] if tokens is not None else []
    marks = []
    if tokens is None or tokens > filter_.tokens:
        marks.append(f"more than {filter_.tokens} tokens")
    if image.size != UNKNOWN and min(image.size) < filter_.least:
        marks.append("too small")
    marks += [f"same as {other}" for other in opened.same.get(image.name, ())[:2]]
    marks += [f"like {other}" for other in (opened.near or {}).get(image.name, ())[:2]
              if other not in opened.same.get(image.name, ())]
    return escape(" · ".join(facts)) + "".join(f' <span class="pivotal-mark">{escape(mark)}</span>' for mark in marks)


def _caption(image: Found, name: str) -> str:
    if image.caption_trouble:
        return f'<div class="pivotal-error">{escape(image.caption_trouble)}</div>'
    text = image.caption or ""
    if len(text) > LONGEST_EDITED:
        return (f'<textarea rows="4" readonly>\n{escape(text[:_LONGEST_SHOWN])}</textarea><div class="pivotal-note">'
                f"{len(text):,} letters are too many to be edited here; these are the first.</div>")
    # The first line break behind a textarea's tag is no part of its text.
    return (f'<textarea rows="4" data-pivotal-caption="{name}" aria-label="caption of {name}" placeholder="no caption">\n'
            f"{escape(text)}</textarea>")


def _painter(opened: Opened, image: Found) -> str:
    if opened.trouble(image):
        return ""
    width, height = mask_size((image.size[1], image.size[0]))
    path = opened.place.folder / image.name
    facts = {"folder": str(opened.place.folder), "name": image.name, "width": width, "height": height, "image": sign(path, 0),
             "mask": sign(opened.place.mask(image.name), 0) if image.has_mask else ""}
    data = escape(dumps(facts), quote=True)
    return (f'<button type="button" class="pivotal-small-button" data-pivotal-paint="{data}">'
            f'{"Mask ●" if image.has_mask else "Paint a mask"}</button>')
