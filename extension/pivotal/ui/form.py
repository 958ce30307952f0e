"""The form: every option's widget, in the order of the options, and its values back under their keys."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

import gradio as gr

from pivotal.config.build import build
from pivotal.config.options import Option, Table, chapter_of, parts, tables, walk
from pivotal.ui.finder import draw_finder, draw_setting, values_box, values_text
from pivotal.ui.gradio_compat import html, keep_out_of_ui_config, on_change
from pivotal.ui.rows import flat_from_rows, rows_editor, rows_from_flat, rows_text
from pivotal.ui.sample_rows import sample_editor
from pivotal.ui.widgets import as_typed, element_id, is_wide, widget_for


class Form:
    """Widgets for all options of `config`, drawn where it is made: what a beginner needs, then the rest, folded."""

    def __init__(self, config: type, values: Mapping[str, Any] | None = None):
        self.config = config
        self.widgets: dict[str, Any] = {}  # by option's key
        self.editors: dict[str, Any] = {}  # by table's key
        self.sections: dict[str, Any] = {}  # accordions, by section's name
        self._boxes: dict[str, Any] = {}  # what is shown and hidden, by option's key
        self._tables: dict[str, Table] = {table.key: table for table in tables(config)}
        self._options = list(walk(config))
        self._values = values or {}
        self._draw_first_page()
        titles = {name: title for name, title, _ in self._titles()}
        draw_finder(self._options, lambda option: "" if option.spec.first_page else titles[_section_of(option.key)])
        for name, title, note in self._titles():
            self._draw_chapter(name)
            self._draw_section(name, title, note)
        self._values_box = values_box(self._typed(self._values) | self._rows_texts(self._values, {
            key: editor.value for key, editor in self.editors.items()}))
        draw_setting(self.widgets, self._options, self._values_box)
        for other in dict.fromkeys(option.spec.shown_when[0] for option in self._options if option.spec.shown_when):
            self._show_by(other)

    # -- values

    @property
    def inputs(self) -> list[Any]:
        """The widgets whose values a handler takes, as `flat` expects them."""
        return [*(self.widgets[option.key] for option in self._options), *(self.editors[key] for key in self._tables),
                self._values_box]

    def flat(self, values: Sequence[Any]) -> dict[str, Any]:
        """Raw values of `inputs` under their dotted keys, unchecked."""
        count = len(self._options)
        flat = dict(zip((option.key for option in self._options), values[:count], strict=True))
        for table, text in zip(self._tables.values(), values[count:count + len(self._tables)], strict=True):
            flat |= flat_from_rows(text, table)
        return flat

    def config_of(self, values: Sequence[Any]) -> Any:
        """Raw values of `inputs` as a config.

        Raises:
            OptionError: with every problem by key.
        """
        return build(self.config, self.flat(values))

    def filled(self, flat: Mapping[str, Any]) -> list[Any]:
        """What to set `inputs` to so that they show `flat`; what it does not name goes to its default."""
        typed, rows = self._typed(flat), self._rows_texts(flat, {})
        updates = [gr.update(value=value) for value in (*typed.values(), *rows.values())]
        return [*updates, gr.update(value=values_text(typed | rows))]

    def _typed(self, flat: Mapping[str, Any]) -> dict[str, Any]:
        return {option.key: as_typed(option, flat.get(option.key, option.default)) for option in self._options}

    def _rows_texts(self, flat: Mapping[str, Any], shown: Mapping[str, str]) -> dict[str, str]:
        """Each table's rows as its text box holds them; `shown` where it says otherwise."""
        return {key: shown.get(key) or rows_text(rows_from_flat(flat, table), table) for key, table in self._tables.items()}

    # -- problems

    def opened(self, problems: Mapping[str, str]) -> list[Any]:
        """For each of `sections`, an update that unfolds it where it holds a problem."""
        # A table as a whole is a key, too.
        troubled = {key if key in self._tables else _section_of(key) for key in problems if not self._is_first_page(key)}
        return [gr.update(open=True) if name in troubled else gr.update() for name in self.sections]

    def _is_first_page(self, key: str) -> bool:
        return any(option.key == key and option.spec.first_page for option in self._options)

    # -- drawing

    def _draw_first_page(self) -> None:
        pending: list[Option] = []
        for field, hint, row in parts(self.config):
            if row is not None:
                if self._tables[field.name].first_page:
                    self._draw_flow(pending)
                    pending = []
                    self._draw_rows(field.name, [{}])
                continue
            prefix = field.name + "." if dataclasses.is_dataclass(hint) else field.name
            pending += [o for o in self._options if o.spec.first_page and _starts(o.key, prefix)]
        self._draw_flow(pending)

    def _titles(self) -> Iterator[tuple[str, str, str]]:
        yield "", "General", ""
        for field, hint, row in parts(self.config):
            section = row or hint
            if dataclasses.is_dataclass(section) and not (row and self._tables[field.name].first_page):
                yield field.name, field.name.replace("_", " ").capitalize(), (section.__doc__ or "").split("\n")[0]

    def _draw_chapter(self, name: str) -> None:
        heading = next((chapter_of(field) for field, _, _ in parts(self.config) if field.name == name), "")
        if heading:
            html(f'<div class="pivotal-chapter">{escape(heading)}</div>')

    def _draw_section(self, name: str, title: str, note: str) -> None:
        inside = [o for o in self._options if _section_of(o.key) == name and not o.spec.first_page]
        if not inside and name not in self._tables:
            return
        with gr.Accordion(title, open=False, visible=self._is_section_shown(name),
                          elem_id=f"pivotal_section_{name or 'general'}") as accordion:
            if note:
                html(f'<div class="pivotal-note">{escape(note)}</div>')
            if name in self._tables:
                self._draw_rows(name, [])
            self._draw_flow(inside)
        self.sections[name] = accordion

    def _draw_rows(self, name: str, usual: list[dict[str, Any]]) -> None:
        table = self._tables[name]
        self.editors[name] = rows_editor(table, rows_from_flat(self._values, table) or usual)

    def _draw_flow(self, options: Sequence[Option]) -> None:
        """Wide widgets on lines of their own, the others side by side."""
        line: list[Option] = []
        for option in options:
            if is_wide(option):
                self._draw_line(line)
                self._draw_line([option])
                line = []
            else:
                line.append(option)
        self._draw_line(line)

    def _draw_line(self, options: Sequence[Option]) -> None:
        if not options:
            return
        with gr.Row(equal_height=True):
            for option in options:
                self._draw(option)

    def _draw(self, option: Option) -> None:
        name, arguments = widget_for(option)
        if option.key in self._values:
            arguments["value"] = as_typed(option, self._values[option.key])
        width = 320 if name == "Slider" else 200  # a slider's help shares a line with its number
        with gr.Column(min_width=width, visible=self._is_shown(option), elem_id=element_id(option.key) + "_box") as box:
            self.widgets[option.key] = keep_out_of_ui_config(getattr(gr, name)(**arguments))
            if option.spec.widget == "sample lines":
                sample_editor(option)
        self._boxes[option.key] = box

    def _is_shown(self, option: Option) -> bool:
        if option.spec.shown_when is None:
            return True
        other, wanted = option.spec.shown_when
        return self._first_value(other) in wanted

    def _first_value(self, key: str) -> Any:
        return self._values.get(key, next(option.default for option in self._options if option.key == key))

    def _is_section_shown(self, name: str) -> bool:
        other = self._master_of(name)
        return other is None or self._first_value(other) in self._wanted_by(name, other)

    def _master_of(self, name: str) -> str | None:
        """The option elsewhere without which nothing in the section means anything; None when there is none."""
        inside = [o for o in self._options if _section_of(o.key) == name and not o.spec.first_page]
        others = {o.spec.shown_when[0] if o.spec.shown_when else None for o in inside}
        outside = {other for other in others if other is None or _section_of(other) != name or self._is_first_page(other)}
        return outside.pop() if len(outside) == 1 else None

    def _wanted_by(self, name: str, other: str) -> set[Any]:
        return {value for o in self._options if _section_of(o.key) == name and o.spec.shown_when
                and o.spec.shown_when[0] == other for value in o.spec.shown_when[1]}

    def _show_by(self, other: str) -> None:
        """Shows and hides, when `other` changes, all that depends on it: in one go, for each answer is a round trip."""
        dependent = {o.key: o.spec.shown_when[1] for o in self._options if o.spec.shown_when and o.spec.shown_when[0] == other}
        sections = {name: self._wanted_by(name, other) for name in self.sections if self._master_of(name) == other}

        def show(value: Any) -> list[Any]:
            return [gr.update(visible=value in wanted) for wanted in (*dependent.values(), *sections.values())]

        boxes = [*(self._boxes[key] for key in dependent), *(self.sections[name] for name in sections)]
        on_change(self.widgets[other], show if len(boxes) > 1 else lambda value: show(value)[0], [self.widgets[other]], boxes)


def _section_of(key: str) -> str:
    return key.rpartition(".")[0].partition(".")[0]


def _starts(key: str, prefix: str) -> bool:
    return key.startswith(prefix) if prefix.endswith(".") else key == prefix
