"""The top of the form: a preset to fill it in with, and what that changes; at its end, a preset made of the form."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import gradio as gr

from pivotal.config.imports.read import told_text
from pivotal.config.imports.rules import Imported
from pivotal.config.presets import Preset, changes, filled_in, list_presets
from pivotal.config.train import TrainConfig
from pivotal.errors import OptionError
from pivotal.hosts.protocol import Host
from pivotal.jobs.user_presets import presets_folder, save_preset
from pivotal.ui.form import Form
from pivotal.ui.gradio_compat import html, keep_out_of_ui_config, on_click
from pivotal.ui.labels import label_of_key

_OWN = "Yours: "
_MAIN = (".placeholder", ".folder")  # of a row: never empty while the row is there
_NOTE = "Your folders, names and words stay; everything else goes to the preset's value or the default."


class Presets:
    """The two places of the page that deal with presets, and their buttons' work."""

    def __init__(self, host: Host):
        self.host = host

    def draw_choice(self) -> None:
        """What stands above the form."""
        with gr.Row(elem_id="pivotal_presets"):
            with gr.Column(scale=4, min_width=240):
                self.choice = keep_out_of_ui_config(gr.Dropdown(
                    label="Preset", info=_NOTE, choices=list(self._by_title()), value=None, elem_id="pivotal_preset",
                    allow_custom_value=True))
            with gr.Column(scale=1, min_width=100, elem_id="pivotal_preset_side"):
                self.fill = keep_out_of_ui_config(gr.Button("Fill in", elem_id="pivotal_fill_preset",
                                                            elem_classes=["pivotal-action"]))
                self.compare = keep_out_of_ui_config(gr.Button("Compare", elem_id="pivotal_compare_preset", size="sm",
                                                               elem_classes=["pivotal-action"]))
        self.told = html("", elem_id="pivotal_preset_told")

    def draw_keeping(self) -> None:
        """What stands beside the run file."""
        html('<div class="pivotal-note">The form as a preset, without your folders, names and words.</div>')
        with gr.Row(equal_height=True):
            self.name = keep_out_of_ui_config(gr.Textbox(label="Preset name", lines=1, elem_id="pivotal_preset_name"))
            self.replace = keep_out_of_ui_config(gr.Checkbox(label="Replace", value=False, elem_id="pivotal_preset_replace"))
        self.keep = keep_out_of_ui_config(gr.Button("Keep as a preset", elem_id="pivotal_keep_preset",
                                                    elem_classes=["pivotal-action"]))
        self.kept = html("", elem_id="pivotal_preset_kept")

    def connect(self, form: Form) -> None:
        """Gives the buttons their work, once the form is there."""
        self.form = form
        on_click(self.fill, self.filled, [self.choice, *form.inputs], [*form.inputs, self.told])
        on_click(self.compare, self.compared, [self.choice, *form.inputs], [self.told])
        on_click(self.keep, self.saved, [self.name, self.replace, *form.inputs], [self.choice, self.kept])

    def _by_title(self) -> dict[str, Preset]:
        presets = list_presets(presets_folder(self.host.folders())).values()
        return {(_OWN if preset.own else "") + preset.title: preset for preset in sorted(presets, key=lambda one: not one.own)}

    def filled(self, title: str | None, *values: Any) -> list[Any]:
        """The updates that fill the form in, and the words that say what changed."""
        preset = self._by_title().get(title or "")
        if preset is None:
            return [*(gr.update() for _ in self.form.inputs), gr.update(value=_error("Choose a preset first."))]
        before = self.form.flat(values)
        after = filled_in(preset, before)
        return [*self.form.filled(after), gr.update(value=changes_html(preset, before, after))]

    def compared(self, title: str | None, *values: Any) -> Any:
        """The words that say what filling in would change."""
        preset = self._by_title().get(title or "")
        if preset is None:
            return gr.update(value=_error("Choose a preset first."))
        before = self.form.flat(values)
        return gr.update(value=changes_html(preset, before, filled_in(preset, before), would=True))

    def saved(self, name: str, replace: bool, *values: Any) -> list[Any]:
        """Writes the form as a preset; the dropdown with it in, and what to say."""
        try:
            path = save_preset(self.host.folders(), name or "", self.form.flat(values), replace=replace)
        except OptionError as error:
            lines = [f"{label_of_key(TrainConfig, key)}: {text}" for key, text in error.problems.items()]
            return [gr.update(), gr.update(value=_error("\n".join(lines)))]
        except OSError as error:
            return [gr.update(), gr.update(value=_error(f"It could not be written: {error.strerror or error}"))]
        return [gr.update(choices=list(self._by_title())),
                gr.update(value=f'<div class="pivotal-note">Kept as {escape(str(path))}.</div>')]


def changes_html(preset: Preset, before: Mapping[str, Any], after: Mapping[str, Any], *, would: bool = False) -> str:
    """The preset's words, and each option that changes: its label, the old value and the new one.

    Args:
        would: nothing is changed yet.
    """
    lines, change = _lines(changes(before, after)), "would change" if would else "changed"
    count = f"Nothing {change}" if not lines else f"1 option {change}" if len(lines) == 1 else f"{len(lines)} options {change}"
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    more = f"<details open><summary>{count}</summary><ul>{items}</ul></details>" if lines else f"<div>{count}.</div>"
    about = f"<div>{escape(preset.about)}</div>" if preset.about else ""
    return f'<div class="pivotal-note pivotal-changes">{about}{more}</div>'


def _lines(found: Sequence[tuple[str, Any, Any]]) -> list[str]:
    """One line an option; a row that goes is one line."""
    gone = {row for key, _, new in found if new is None and (row := _row_of(key)) and key.endswith(_MAIN)}
    lines = {}
    for key, old, new in found:
        row = _row_of(key)
        if row in gone:
            table, _, index = row.partition(".")
            lines[row] = f"{table.removesuffix('s').capitalize()} {int(index) + 1}: removed"
        else:
            lines[key] = f"{label_of_key(TrainConfig, key)}: {_shown(old)} \u2192 {_shown(new)}"
    return list(lines.values())


def _row_of(key: str) -> str:
    """``embeddings.0`` for ``embeddings.0.placeholder``; empty for what is in no row."""
    match = re.match(r"\w+\.[0-9]+(?=\.)", key)
    return match[0] if match else ""


def imported_html(found: Imported) -> str:
    """What an import says: what changed its meaning, and what was not taken over."""
    pieces = []
    for title, told in (("not taken over", found.unknown), ("changed on purpose", found.changed),
                        ("without meaning here", found.quiet)):
        items = "".join(f"<li>{escape(told_text(one))}</li>" for one in told)
        state = "" if told is found.quiet else " open"
        if told:
            pieces.append(f"<details{state}><summary>{len(told)} {title}</summary><ul>{items}</ul></details>")
    return f'<div class="pivotal-note pivotal-changes"><div>Read from {escape(found.source)}.</div>{"".join(pieces)}</div>'


def _shown(value: Any) -> str:
    if value in (None, "", ()):
        return "empty"
    if isinstance(value, bool):
        return "on" if value else "off"
    return "; ".join(value) if isinstance(value, tuple) else str(value)


def _error(text: str) -> str:
    return f'<div class="pivotal-error">{escape(text)}</div>'
