"""A run's samples: the newest large, then a grid of steps and prompts. javascript/pivotal_samples.js enlarges and compares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from pivotal.jobs.watch.view import JobView, sample_address

ROWS, MORE, MOST = 12, 100, 2000  # steps that are shown at first, with each press, and at most
_LARGE, _SMALL = 256, 128  # px of the pictures that are loaded

Query = Mapping[str, str]


@dataclass(frozen=True)
class _Grid:
    """The numbers of samples by step and column; a prompt drawn several times in a step has as many columns."""

    columns: Sequence[str]  # their prompts
    rows: Mapping[int, Mapping[int, int]]  # step -> column -> number of the sample


def samples_html(view: JobView, query: Query) -> str:
    """The samples of `view` as a fragment.

    Args:
        query: ``prompt``, a column's number, shows only that one; ``rows`` is how many of the older steps are shown.
    """
    if not view.samples:
        return ""
    grid = _grid(view)
    chosen = _chosen(query.get("prompt", ""), grid)
    columns = range(len(grid.columns)) if chosen is None else [chosen]
    rows = {step: {column: row[column] for column in columns if column in row} for step, row in grid.rows.items()}
    newest, *older = sorted((step for step, row in rows.items() if row), reverse=True)
    asked = _number(query.get("rows", ""))
    shown = older[:ROWS if asked is None else min(asked, MOST)]
    pieces = [_part("sample-head", _head(grid, chosen, len(view.samples))),
              # The page's script fills it with the picture that is pinned; the server does not know that one.
              f'<div data-part="sample-pin" class="pivotal-part pivotal-pin" data-run="{escape(view.id)}"></div>',
              _part("sample-newest", _newest(view, grid, newest, rows[newest])),
              _part("sample-grid", _table(view, grid, columns, [(step, rows[step]) for step in shown]) if shown else ""),
              _part("sample-more", _more(len(shown), len(older)))]
    return "".join(pieces)


def samples_version(view: JobView) -> str:
    """Another one whenever there are other samples."""
    return f"{view.id}:{view.samples_dropped + len(view.samples)}"


def _part(name: str, inner: str) -> str:
    return f'<div class="pivotal-part" data-part="{name}">{inner}</div>'


def _grid(view: JobView) -> _Grid:
    columns: dict[tuple[str, int], int] = {}  # prompt, and which of its images in a step -> column
    rows: dict[int, dict[int, int]] = {}
    drawn: dict[tuple[int, str], int] = {}
    for number, (step, prompt, _) in enumerate(view.samples, view.samples_dropped):
        ordinal = drawn.get((step, prompt), 0)
        drawn[step, prompt] = ordinal + 1
        column = columns.setdefault((prompt, ordinal), len(columns))
        rows.setdefault(step, {})[column] = number
    return _Grid([prompt for prompt, _ in columns], rows)


def _chosen(asked: str, grid: _Grid) -> int | None:
    number = _number(asked)
    return number if number is not None and number < len(grid.columns) else None


def _number(asked: str) -> int | None:
    return int(asked) if asked.isascii() and asked.isdigit() and len(asked) < 6 else None


def _head(grid: _Grid, chosen: int | None, count: int) -> str:
    choices = "".join(f'<option value="{index}"{" selected" if index == chosen else ""}>{escape(_short(prompt))}</option>'
                      for index, prompt in enumerate(grid.columns))
    choose = ('<select data-pivotal-ask="prompt" aria-label="Show the samples of one prompt"><option value="">All prompts'
              f"</option>{choices}</select>") if len(grid.columns) > 1 else ""
    return f'<div class="pivotal-samples-head"><span class="pivotal-title">Samples <span>({count})</span></span>{choose}</div>'


def _newest(view: JobView, grid: _Grid, step: int, row: Mapping[int, int]) -> str:
    words = {column: escape(grid.columns[column], quote=True) for column in row}
    figures = "".join(f'<figure data-step="{step}" data-column="{column}">'
                      f"{_image(view, number, step, column, _LARGE, lazy=False)}"
                      f'<figcaption title="{words[column]}">{words[column]}</figcaption></figure>'
                      for column, number in row.items())
    return f'<div class="pivotal-note">{_step_words(step)}</div><div class="pivotal-newest">{figures}</div>'


def _table(view: JobView, grid: _Grid, columns: Sequence[int], rows: Sequence[tuple[int, Mapping[int, int]]]) -> str:
    heads = "".join(f'<th scope="col" data-column="{column}" title="{escape(grid.columns[column], quote=True)}">'
                    f"{escape(_short(grid.columns[column], 24))}</th>" for column in columns)
    lines = "".join(f'<tr data-step="{step}"><th scope="row">{_step_words(step)}</th>' + "".join(
        f"<td>{_image(view, row[column], step, column, _SMALL) if column in row else ''}</td>" for column in columns) + "</tr>"
        for step, row in rows)
    return (f'<div class="pivotal-scroll"><table class="pivotal-samples"><thead><tr><th></th>{heads}</tr></thead>'
            f"<tbody>{lines}</tbody></table></div>")


def _more(shown: int, of: int) -> str:
    if shown >= min(of, MOST):
        return ""
    return (f'<button type="button" class="pivotal-small-button" data-pivotal-ask="rows" value="{shown + MORE}">Show '
            f"{min(MORE, of - shown)} more of {of} steps</button>")


def _step_words(step: int) -> str:
    return f"step {step}" if step else "before training"


def _short(text: str, most: int = 70) -> str:
    line = " ".join(text.split())
    return line if len(line) <= most else line[: most - 1] + "…"


def _image(view: JobView, number: int, step: int, column: int, side: int, *, lazy: bool = True) -> str:
    """A thumbnail; the link is its whole picture. Of which step and prompt it is, the row and the column say: there may be
    thousands of these in a page."""
    address = escape(sample_address(view.id, number))
    later = ' loading="lazy"' if lazy else ""
    return (f'<a href="{address}"><img src="{address}&amp;small={side}" alt="{_step_words(step)}, prompt {column + 1}"{later}>'
            "</a>")
