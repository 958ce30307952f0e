"""The Compare page: what to draw, and the grid of what is drawn."""

from __future__ import annotations

from html import escape
from pathlib import Path

import gradio as gr

from pivotal.config.options import Option, walk
from pivotal.hosts.protocol import Folders
from pivotal.jobs.comparison.comparisons import CompareView
from pivotal.jobs.comparison.plan import WORD, Column, words_in
from pivotal.jobs.comparison.saves import RESULT, Save, host_files, run_names
from pivotal.jobs.comparison.settings import Comparison
from pivotal.jobs.signed import sign
from pivotal.ui.buttons import add_button, copy_button, post_button, try_button
from pivotal.ui.gradio_compat import html, slot
from pivotal.ui.sample_rows import lines_html

PICTURE = 384  # px, of a cell's thumbnail
RUNS, SHOWN = 200, 40  # runs that are offered, and files that a search shows
_RUNS = "pivotal_compare_runs"
_STATES = {"running": "Drawing", "stopping": "Stopping", "finished": "Finished", "stopped": "Stopped", "failed": "Failed"}
_LARGE = ("prompts", "files")  # boxes of several lines
_FIRST = ("run", *_LARGE, "strengths", "seeds")  # the others are folded


def draw_compare_page() -> None:
    """Draws the page where it is called: inside the gradio Blocks that is being made."""
    with gr.Row(elem_id="pivotal_compare_page"):
        with gr.Column(scale=1, min_width=300):
            html(_form(), elem_id="pivotal_compare_form")
            slot("compare_files", "pivotal_compare_found")
        with gr.Column(scale=3, min_width=360):
            slot("compare", "pivotal_compare")


def compare_version(view: CompareView) -> str:
    """Another one whenever the grid may be another."""
    return f"{view.id}:{view.version}"


def files_version(folders: Folders, find: str) -> str:
    """Another one when a file of the host's folders comes or goes; cheap, so not for those in subfolders."""
    stamps = []
    for folder in (folders.loras, folders.embeddings, folders.scratch / "runs"):
        try:
            stamps.append(folder.stat().st_mtime_ns)
        except OSError:
            stamps.append(0)
    return f"{find}:{stamps}"


def _form() -> str:
    """The fields of a comparison, made of its options."""
    options = walk(Comparison)
    fields = "".join(_field(option) for option in options if option.key in _FIRST)
    more = "".join(_field(option) for option in options if option.key not in _FIRST)
    fields += f'<details class="pivotal-fold"><summary>More</summary><div class="pivotal-form">{more}</div></details>'
    buttons = post_button("Draw the comparison", "compare", main=True) + post_button("Stop", "compare/stop")
    note = ('<div class="pivotal-note">The same prompts at the same seeds with each save of a run, or with any files, on the '
            "loaded checkpoint.</div>")
    return f'<div class="pivotal-form" data-pivotal-form>{note}{fields}<div class="pivotal-buttons">{buttons}</div></div>'


def _field(option: Option) -> str:
    key, identifier = option.key, f"pivotal_compare_{option.key}"
    label, words = f'<span class="pivotal-label">{escape(option.label)}</span>', escape(option.spec.help)
    tail, after = f'<span class="pivotal-help">{words}</span>', ""
    if option.type is bool:
        checked = " checked" if option.default else ""
        return (f'<label class="pivotal-field pivotal-check"><input type="checkbox" id="{identifier}" name="{key}"{checked}>'
                f"{label}{tail}</label>")
    if option.choices:
        # With its value apart: the host may translate what is shown.
        choices = "".join(f'<option value="{escape(str(choice), quote=True)}">{escape(str(choice))}</option>'
                          for choice in option.choices)
        control = f'<select id="{identifier}" name="{key}"><option value=""></option>{choices}</select>'
    elif key in _LARGE:
        control = f'<textarea id="{identifier}" name="{key}" rows="3"></textarea>'
        after = f'<div id="{identifier}_table">{lines_html(f"compare.{key}")}</div>' if key == "prompts" else ""
    else:
        value = "" if option.default is None else escape(str(option.default), quote=True)
        listed = f' list="{_RUNS}"' if key == "run" else ""
        control = f'<input type="text" id="{identifier}" name="{key}" value="{value}"{listed} autocomplete="off">'
    return f'<label class="pivotal-field">{label}{control}{tail}</label>{after}'


def files_html(folders: Folders, find: str) -> str:
    """The runs there are, and the files whose names hold `find`, to be added by a press."""
    runs = "".join(f'<option value="{escape(name, quote=True)}"></option>' for name in run_names(folders)[:RUNS])
    names = [(_name_of(path, folders), path.stem) for path in host_files(folders)]
    found = [(name, stem) for name, stem in names if find.strip().lower() in name.lower()]
    rows = "".join(f"<li>{add_button(stem, 'pivotal_compare_files', name)}</li>" for name, stem in found[:SHOWN])
    more = f'<div class="pivotal-note">{len(found) - SHOWN} more; type a part of the name.</div>' if len(found) > SHOWN else ""
    search = ('<label class="pivotal-field"><span class="pivotal-label">Find a LoRA or an embedding</span><input type="text" '
              'data-pivotal-ask="find" autocomplete="off"><span class="pivotal-help">A press adds it to the files.</span>'
              "</label>")
    return (f'<div class="pivotal-part" data-part="runs"><datalist id="{_RUNS}">{runs}</datalist></div>'
            f'<div class="pivotal-part" data-part="search">{search}</div>'
            f'<div class="pivotal-part" data-part="found"><ul class="pivotal-chips">{rows}</ul>{more}</div>')


def _name_of(path: Path, folders: Folders) -> str:
    """As the field for files takes it: the path in its folder."""
    folder = folders.loras if path.is_relative_to(folders.loras) else folders.embeddings
    return path.relative_to(folder).as_posix()


def compare_html(view: CompareView) -> str:
    """`view` as a fragment."""
    if view.state == "idle":
        words = ('<div class="pivotal-state">Nothing is compared yet</div><div class="pivotal-note">Choose a run or files and '
                 "press Draw the comparison. You may close the page: it goes on, and is here when you come back.</div>")
        return f'<div class="pivotal-part" data-part="head">{words}</div>'
    notices = "".join(f'<div class="pivotal-note">{escape(text)}</div>' for text in view.notices)
    if view.folder is not None and not view.is_going_on:
        notices += f'<div class="pivotal-note">The images are in {escape(str(view.folder))}.</div>'
    return (f'<div class="pivotal-part" data-part="head" data-state="{view.state}">{_head(view)}{notices}{_kept(view)}</div>'
            f'<div class="pivotal-part" data-part="grid">{_grid(view)}</div>')


def _head(view: CompareView) -> str:
    share = 100 * view.done / view.of if view.of else 0
    doing = "waiting for the host to be free" if view.waiting else f"{view.done} of {view.of} images"
    kind = "pivotal-error" if view.state == "failed" else "pivotal-note"
    message = f'<div class="{kind}">{escape(view.message)}</div>' if view.message else ""
    return (f'<div class="pivotal-state"><span class="pivotal-badge pivotal-{view.state}">{_STATES[view.state]}</span>'
            f'<span class="pivotal-name">{escape(view.title)}</span></div>'
            f'<div class="pivotal-bar" role="progressbar" aria-valuenow="{share:.0f}" aria-valuemin="0" aria-valuemax="100">'
            f'<div style="width:{share:.1f}%"></div></div><div class="pivotal-line"><span class="pivotal-phase">{doing}</span>'
            f"</div>{message}")


def _kept(view: CompareView) -> str:
    if view.kept is None:
        return ""
    where = f"{len(view.kept.moved)} files are put away in {view.kept.folder}." if view.kept.moved else "Nothing was put away."
    names = ", ".join(path.name for path in view.kept.files)
    return f'<div class="pivotal-note">Kept: {escape(names)}. {escape(" ".join([where, *view.kept.notices]))}</div>'


def _grid(view: CompareView) -> str:
    """A line for each save, a column for each prompt, strength and seed."""
    several = len({column.seed for column in view.columns}) > 1
    heads = "".join(f'<th scope="col"><div class="pivotal-compare-prompt" title="{escape(column.prompt, quote=True)}">'
                    f"{escape(column.prompt) or '(empty)'}</div><small>{_column_words(column, several)}</small></th>"
                    for column in view.columns)
    rows = "".join(f'<tr><th scope="row">{_row_head(view, save)}</th>{_cells(view, index, save)}</tr>'
                   for index, save in enumerate(view.rows))
    table = f'<table class="pivotal-compare"><thead><tr><th></th>{heads}</tr></thead><tbody>{rows}</tbody></table>'
    return f'<div data-pivotal-form>{_renaming(view)}<div class="pivotal-compare-frame">{table}</div></div>'


def _column_words(column: Column, with_seed: bool) -> str:
    strength = [f"strength {column.strength:g}"] if column.strength is not None else []
    return ", ".join([*strength, *([f"seed {column.seed}"] if with_seed or not strength else [])])


def _cells(view: CompareView, row: int, save: Save) -> str:
    return "".join(f"<td>{_image(path, f'{save.label}: {column.prompt}, {_column_words(column, True)}')}</td>"
                   for path, column in zip(view.images[row], view.columns, strict=True))


def _image(path: Path | None, words: str) -> str:
    if path is None:
        return '<div class="pivotal-compare-empty"></div>'
    whole, small = (escape(sign(path, size), quote=True) for size in (0, PICTURE))
    text = escape(words, quote=True)
    return (f'<a href="{whole}" target="_blank" rel="noopener" data-pivotal-enlarge="compare"><img src="{small}" loading="lazy" '
            f'alt="{text}" title="{text}"></a>')


def _row_head(view: CompareView, save: Save) -> str:
    files = "".join(f"<small>{escape(path.name)}</small>" for path in save.files)
    return f"<div>{escape(save.label)}</div>{files}{_row_buttons(view, save)}"


def _row_buttons(view: CompareView, save: Save) -> str:
    if not save.files or view.is_going_on:
        return ""
    if view.kept is not None and save.run == view.run:
        if save.name != view.kept.name:
            return "<small>put away</small>"
        save = view.kept.save
    prompt = row_prompt(save, view.columns[0])
    buttons = try_button(prompt) + copy_button(prompt)
    if save.run and save.run == view.run and view.kept is None:
        others = sum(len(other.files) for other in view.rows if other.run == view.run and other.name != save.name)
        asks = (f"Keep {save.label} of {view.run} and put the {others} files of its other saves away? They are moved into the "
                "run's folder, not deleted.")
        buttons += post_button("Keep only this", "compare/keep", {"run": view.run, "save": save.name}, confirm=asks)
    return f'<div class="pivotal-buttons">{buttons}</div>'


def row_prompt(save: Save, column: Column) -> str:
    """The prompt of `column` as the host's box takes it with the files of `save` where they lie."""
    tag = f"<lora:{save.network.stem}:{1 if column.strength is None else column.strength:g}> " if save.network else ""
    prompt = column.prompt.replace(WORD, " ".join(words_in(save)))
    for word, path in save.embeddings.items() if not save.network else ():
        prompt = prompt.replace(word, path.stem)  # a copy's file is a word of its own
    return tag + prompt


def _renaming(view: CompareView) -> str:
    if not view.run or view.is_going_on or view.kept is not None or not any(
            save.run == view.run and save.name != RESULT for save in view.rows):
        return ""
    return ('<label class="pivotal-field pivotal-check"><input type="checkbox" name="rename" checked><span class="pivotal-label">'
            'Name the kept one as the result</span><span class="pivotal-help">So prompts that use the result use the kept one.'
            "</span></label>")

