"""Every text of the pages that always reads the same, as a template for a host's localization files.

The hosts replace a text node, or a tooltip, whose whole text is a key of their file (AUTOMATIC1111 and Forge:
localizations/*.json, javascript/localization.js). So the texts are gathered where they stand: options from their declarations,
all else from the sources of ui/ and of the page's scripts. Sentences with a name or a number in them cannot be translated so.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

from pivotal.config.options import Option, parts, tables, walk
from pivotal.config.sample_lines import SampleLine
from pivotal.config.train import TrainConfig
from pivotal.jobs.comparison.settings import Comparison
from pivotal.tools.dataset.filters import KINDS
from pivotal.tools.dataset.settings import CaptionImages, EditCaptions, MaskImages, PrepareImages
from pivotal.tools.registry import TOOLS
from pivotal.ui.widgets import label_of

_UI = Path(__file__).resolve().parent
_SCRIPTS = _UI.parents[2] / "javascript"
_HOLE = "\0"  # a name or a number in a text
_WORDS = re.compile(r"[A-Z][a-z]+(?:['’ ,.:;!?()-].*)?|[a-z]+(?: [a-z]+)+", re.DOTALL)
_CODE = re.compile(r"[_{}<>=\\/|\[\]]|\bpivotal|\.(?:json|py|js)\b|[a-z][A-Z]")  # what no text for people has
_TERMS = re.compile(r"\b(?:LoRAs?|LoCon|LoHa|LoKr|DoRA|DyLoRA|GLoRA|WebUI|pivotal tuning)\b")  # but for these words of the field
_LITERAL = re.compile(r'"((?:[^"\\\n]|\\.)*)"|`([^`]*)`')
_NAMES = frozenset(("use strict", "Content-Type", "True", "False", "Arrow", "Enter", "Escape", "sample lines",
                    "Slider", "Checkbox", "Dropdown", "Textbox", "Number"))  # of keys, widgets and the like
_COMPARED = re.compile(r'(?:===|!==|\bcase|\.matches\(|\.includes\(|Listener\()\s*$')  # before a literal that is not shown


def strings() -> list[str]:
    """All texts, each once, in their order."""
    found: dict[str, None] = {}
    for text in (*_of_options(), *KINDS.values(), *_of_sources()):
        found.setdefault(" ".join(text.split()))
    found.pop("", None)
    return list(found)


def _of_options() -> Iterator[str]:
    for field, hint, row in parts(TrainConfig):
        section = row or hint
        if hasattr(section, "__dataclass_fields__"):
            yield field.name.replace("_", " ").capitalize()
            yield (section.__doc__ or "").split("\n")[0]
            yield field.metadata.get("chapter", "")
    for option in walk(TrainConfig):
        yield from _texts(option)
    for table in tables(TrainConfig):
        yield f"Add {table.section.__name__.lower()}"
        for option in walk(table.section):
            yield from _texts(option)
    for tool in TOOLS.values():
        yield tool.title
        yield " ".join((tool.section.__doc__ or "").split())
    for section in (SampleLine, *(tool.section for tool in TOOLS.values()), Comparison, EditCaptions, CaptionImages, MaskImages,
                    PrepareImages):
        for option in walk(section):
            yield from _texts(option)


def _texts(option: Option) -> Iterator[str]:
    yield label_of(option)
    yield option.spec.help
    yield from (why for _, _, why in option.spec.void_when)


def _of_sources() -> Iterator[str]:
    for path in sorted(_UI.glob("*.py")):
        if path != Path(__file__).resolve():
            yield from _of_python(ast.parse(path.read_text(encoding="utf-8")))
    for path in sorted(_SCRIPTS.glob("*.js")):
        yield from _of_script(path.read_text(encoding="utf-8"))


def _of_python(node: ast.AST) -> Iterator[str]:
    """What stands in a module's texts; not in what it documents, raises or logs."""
    if isinstance(node, ast.JoinedStr):
        whole = "".join(str(part.value) if isinstance(part, ast.Constant) else _HOLE for part in node.values)
        yield from _shown(whole)
        for part in node.values:  # texts within its holes
            if isinstance(part, ast.FormattedValue):
                yield from _of_python(part.value)
        return
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield from _shown(node.value)
        return
    if isinstance(node, ast.Raise) or _is_log(node):
        return
    for child in ast.iter_child_nodes(node):
        if not (isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant)):
            yield from _of_python(child)


def _is_log(node: ast.AST) -> bool:
    return (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Name)
            and node.func.value.id == "log")


def _of_script(source: str) -> Iterator[str]:
    source = re.sub(r"(?m)^\s*//.*$|\s//\s.*$", "", source)
    for match in _LITERAL.finditer(source):
        if not _COMPARED.search(source, max(0, match.start() - 20), match.start()):
            yield from _shown(re.sub(r"\$\{[^}]*\}", _HOLE, match[1] or match[2] or ""))


def _shown(text: str) -> Iterator[str]:
    """A text that is none of HTML, or the text nodes and tooltips of one that is; nothing with a hole in it."""
    if re.search(r"</?[a-z]", text):
        reader = _Reader()
        reader.feed(text)
        reader.close()
        yield from (one.strip() for one in reader.found if not re.search(r"[<\0]", one) and re.search(r"[A-Za-z]{2}", one))
    elif (_HOLE not in text and text.strip() not in _NAMES and _WORDS.fullmatch(text.strip())
          and not _CODE.search(_TERMS.sub("", text))):
        yield text.strip()


class _Reader(HTMLParser):
    """Gathers a fragment's text nodes and tooltips."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_data(self, data: str) -> None:
        self.found.append(data)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value for name, value in attrs if name in ("title", "placeholder") and value]
