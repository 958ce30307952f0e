"""extension/pivotal/config/SETTINGS.md: every setting of the source documents and of the trainers, and ours."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pivotal.config.imports.a1111_names import A1111, A1111_FILE
from pivotal.config.imports.invoke_names import INVOKE
from pivotal.config.imports.kohya_names import KOHYA, SUBSET
from pivotal.config.imports.onetrainer_names import CONCEPT, EMBEDDING_ROW, ONETRAINER, SAMPLE
from pivotal.config.imports.rules import Rule
from settings.documents import DOCUMENTS, Not, Of, Ours

FILE = Path(__file__).resolve().parents[2] / "extension" / "pivotal" / "config" / "SETTINGS.md"
TRAINERS: dict[str, tuple[str, dict[str, Rule]]] = {
    "kohya": ("kohya: sd-scripts and the GUI", KOHYA),
    "subset": ("kohya: a dataset's .toml, beside the names above", SUBSET),
    "onetrainer": ("OneTrainer", ONETRAINER),
    "concept": ("OneTrainer: a concept", CONCEPT),
    "embedding": ("OneTrainer: an embedding; options of its row", EMBEDDING_ROW),
    "sample": ("OneTrainer: a sample", SAMPLE),
    "invoke": ("Invoke Training", INVOKE),
    "a1111": ("AUTOMATIC1111: the Train tab and its settings", A1111),
    "a1111 file": ("AUTOMATIC1111: the settings-....json beside a training's logs", A1111_FILE),
}


def target(setting: Of | Ours | Not) -> tuple[tuple[str, ...], str]:
    """The options that a setting became, and what is said of it."""
    if isinstance(setting, Not):
        return (), setting.reason
    if isinstance(setting, Ours):
        return setting.keys, setting.remark
    rule = TRAINERS[setting.trainer][1][setting.name]
    return rule.keys, rule.text


def _row(name: str, keys: tuple[str, ...], remark: str) -> str:
    return f"| {name} | {', '.join(f'`{key}`' for key in keys) or 'none'} | {remark} |".replace("  ", " ")


def _lines() -> Iterator[str]:
    yield "# Settings of other trainers, and where they are here"
    yield ""
    yield ("Made by `python tests/settings/write.py` from the rules by which Pivotal imports those trainers' files. `install.py "
           "import FILE -o RUN.yaml`, or **Run file** on the page, reads such a file and says what was not taken over.")
    for title, settings in DOCUMENTS.items():
        yield from ("", f"## {title}", "", "| Setting there | Here | |", "|---|---|---|")
        yield from (_row(label, *target(setting)) for label, setting in settings.items())
    for title, rules in TRAINERS.values():
        yield from ("", f"## {title}", "", "| Name | Here | |", "|---|---|---|")
        yield from (_row(f"`{name}`", rule.keys, rule.text) for name, rule in rules.items())


def table() -> str:
    """The whole file."""
    return "\n".join(_lines()) + "\n"
