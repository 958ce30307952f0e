"""What came of a run, as a card: the prompt to try, the files with their hashes, the recipe."""

from __future__ import annotations

import threading
from collections.abc import Callable
from html import escape
from pathlib import Path

from pivotal.hosts.protocol import Folders
from pivotal.jobs.result import Result, ResultFile, result_of
from pivotal.jobs.signed import sign
from pivotal.jobs.watch.view import JobView
from pivotal.ui.buttons import copy_button, page_button, post_button, try_button

PICTURE = 256  # px
_OVER = ("finished", "stopped")


class ResultCards:
    """The card of the latest run; its files are read once, not each time that the page asks."""

    def __init__(self, folders: Callable[[], Folders]):
        self._folders = folders
        self._guard = threading.Lock()
        self._made: tuple[tuple[object, ...], str] = ((), "")

    def version(self, view: JobView) -> str:
        """Another one when a file of the result is another, as after a save was kept in its place."""
        return str([_stamp(path) for path in view.files]) if view.state in _OVER else ""

    def html(self, view: JobView) -> str:
        """The card of the run that `view` shows; empty while it has no result."""
        if view.state not in _OVER or not view.files:
            return ""
        key = (view.id, view.version, self.version(view))
        with self._guard:
            if self._made[0] != key:
                result = result_of(view, self._folders())
                self._made = (key, card_html(result) if result else "")
            return self._made[1]


def _stamp(path: Path) -> int:
    """Another one when the file is another; 0 when it is gone."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def card_html(result: Result) -> str:
    """`result` as HTML."""
    picture = ""
    if result.picture is not None and result.picture.is_file():
        whole, small = (escape(sign(result.picture, size), quote=True) for size in (0, PICTURE))
        picture = (f'<a class="pivotal-result-picture" href="{whole}" target="_blank" rel="noopener"><img src="{small}" '
                   'alt="The last sample"></a>')
    files = "".join(map(_file, result.files))
    return (f'<div class="pivotal-result">{picture}<div class="pivotal-result-text">'
            f'<div class="pivotal-title">Try it with</div><div class="pivotal-try"><code>{escape(result.prompt)}</code>'
            f'{copy_button(result.prompt)}</div>{_buttons(result)}<div class="pivotal-note">{_numbers(result)}</div></div></div>'
            f'<div class="pivotal-title">Written: use the bold text in your prompts</div><ul class="pivotal-files">{files}</ul>'
            f"{_recipe(result)}")


def _buttons(result: Result) -> str:
    compare = post_button("Compare saves", "compare", {"run": result.name}, goto="compare",
                          title="Draws the same prompts with each save of this run")
    return f'<div class="pivotal-buttons">{try_button(result.prompt)}{compare}{page_button("Queue", "queue")}</div>'


def _numbers(result: Result) -> str:
    facts = [f"{result.steps} steps", f"{result.seconds:.0f} s"]
    if result.loss is not None:
        facts.append(f"loss {result.loss:.4g}")
    if result.error is not None:
        facts.append(f"error {'on held-out images ' if result.held_out else ''}{result.error:.4g}")
    return ", ".join(facts)


def _file(file: ResultFile) -> str:
    facts = [_size(file.size)] if file.size else ["gone"]
    if file.hashes is not None:
        every = f"SHA-256 {file.hashes.whole}\nAutoV2 {file.hashes.whole[:10]}"
        every += f"\nAutoV3 {file.hashes.tensors[:12]}" if file.is_network else ""
        facts.append(f'<span class="pivotal-hash" title="{escape(every, quote=True)}">{file.short_hash}</span>')
    return (f'<li><b class="pivotal-word">{escape(file.prompt)}</b> <code>{escape(str(file.path))}</code> '
            f"<small>{', '.join(facts)}</small></li>")


def _size(size: int) -> str:
    return f"{size / 2**20:.1f} MiB" if size >= 2**20 else f"{size / 2**10:.1f} KiB"


def _recipe(result: Result) -> str:
    if not result.recipe:
        return ""
    where = escape(str(result.run_file))
    return (f'<details class="pivotal-fold"><summary>Recipe</summary><div class="pivotal-note">{where}</div>'
            f'{copy_button(result.recipe)}<pre class="pivotal-log">{escape(result.recipe)}</pre></details>')
