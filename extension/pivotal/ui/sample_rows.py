"""The sample prompts as a table: another view of the option's lines, which stay the only place where they are kept.

A script in the page (javascript/pivotal_sample_rows.js) reads the lines into rows and writes rows back as lines.
"""

from __future__ import annotations

import json
from html import escape
from typing import Any

from pivotal.config.options import Option, Table
from pivotal.config.sample_lines import OFF, SampleLine, flags, sampler_names
from pivotal.ui.gradio_compat import html
from pivotal.ui.rows import schema
from pivotal.ui.widgets import element_id

_AS_THE_RUN = "as the run"  # of a choice; a field is empty instead


def sample_editor(option: Option) -> None:
    """Draws the table of the lines in `option`'s text box, folded."""
    html(lines_html(option.key), elem_id=f"{element_id(option.key)}_table")


def lines_html(key: str) -> str:
    """The table, folded, of the lines in the text box with the element id of `key`."""
    told = escape(json.dumps(lines_schema(key)), quote=True)
    return ('<details class="pivotal-more"><summary>As a table</summary>'
            f'<div class="pivotal-rows" data-pivotal-rows="{told}"></div></details>')


def lines_schema(key: str) -> dict[str, Any]:
    """What the scripts must know: of rows, and of how a row is written as a line."""
    told = schema(Table(key, SampleLine))
    fields = [field | ({"choices": [_AS_THE_RUN, *field["choices"]], "default": _AS_THE_RUN} if field["choices"]
                       else {"empty": _AS_THE_RUN} if field["name"] in flags() else {}) for field in told["fields"]]
    words = told["words"] | {"add": "Add sample", "in_use_help": "Off: stays in the list behind a #, and is not drawn."}
    return told | {"title": "Sample", "fields": fields, "words": words,
                   "lines": {"text": "prompt", "flags": flags(), "off": OFF, "names": {"sampler": sampler_names()}}}
