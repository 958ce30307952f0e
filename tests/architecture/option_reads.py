"""Which options the sources read, told apart by their section: `kind` of one section is not that of another."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

from pivotal.config.options import parts, tables

# They declare, check, describe or show options; to be used, an option must be read elsewhere.
_NOT_USES = ("config/sections", "config/rules", "config/imports", "config/build", "config/derived", "config/options",
             "config/presets", "config/files", "ui/", "toy/")


def section_classes(config: type) -> dict[str, tuple[str, ...]]:
    """Class name to the keys under which it stands: {"Noise": ("noise",), "Embedding": ("embeddings",)}."""
    found: dict[str, tuple[str, ...]] = {}
    for field, hint, row in parts(config):
        kind = row or hint
        if hasattr(kind, "__dataclass_fields__"):
            found[kind.__name__] = (*found.get(kind.__name__, ()), field.name)
    return found


def reads(package: Path, config: type) -> set[str]:
    """Every ``section.name`` and top-level ``name`` that is read as an attribute, rows without their number."""
    classes = section_classes(config)
    found: set[str] = set()
    for path in package.rglob("*.py"):
        if not path.relative_to(package).as_posix().startswith(_NOT_USES):
            found |= set(_reads_of(ast.parse(path.read_text(encoding="utf-8")), classes, config.__name__))
    return found


def _reads_of(tree: ast.Module, classes: Mapping[str, tuple[str, ...]], config: str) -> Iterator[str]:
    names = _names_of_sections(tree, _as_imported(tree, classes), tuple(key for keys in classes.values() for key in keys), config)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
            for section in names.get(_last(node.value), ()):
                yield f"{section}.{node.attr}".lstrip(".")


def _as_imported(tree: ast.Module, classes: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """The sections' classes by the names under which a file imports them: others may have the same names."""
    return {alias.asname or alias.name: classes[alias.name] for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("pivotal.config.sections")
            for alias in node.names if alias.name in classes}


def _last(node: ast.expr) -> str:
    """``noise`` of config.noise, of noise, of self.noise, of config.embeddings[0] the table's name."""
    if isinstance(node, ast.Subscript):
        return _last(node.value)
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _names_of_sections(tree: ast.Module, classes: Mapping[str, tuple[str, ...]], keys: tuple[str, ...],
                       config: str) -> dict[str, set[str]]:
    """What each identifier of a file may stand for: a section's key, or "" for the whole config."""
    names: dict[str, set[str]] = {key: {key} for key in keys}
    for word in ("config", "self"):  # TrainConfig's own methods say self
        names.setdefault(word, set()).add("")
    for node in ast.walk(tree):
        for target, sections in _bindings(node, names, classes, keys, config):
            names.setdefault(target, set()).update(sections)
    for node in ast.walk(tree):  # once more, for names bound to names that were bound later in the file
        for target, sections in _bindings(node, names, classes, keys, config):
            names.setdefault(target, set()).update(sections)
    return names


def _bindings(node: ast.AST, names: Mapping[str, set[str]], classes: Mapping[str, tuple[str, ...]],
              keys: tuple[str, ...], config: str) -> Iterator[tuple[str, set[str]]]:
    """Names that a statement gives to sections: by annotation, by assignment, by walking over a table."""
    if isinstance(node, (ast.arg, ast.AnnAssign)) and node.annotation is not None:
        words = {inner.id for inner in ast.walk(node.annotation) if isinstance(inner, ast.Name)}
        target = node.arg if isinstance(node, ast.arg) else _last(node.target)
        for word in words & classes.keys():
            yield target, set(classes[word])
        if config in words:
            yield target, {""}
    elif isinstance(node, ast.Assign):
        for target in node.targets:
            pairs = zip(target.elts, node.value.elts, strict=False) if isinstance(target, ast.Tuple) \
                and isinstance(node.value, ast.Tuple) else [(target, node.value)]
            for left, right in pairs:
                if _last(right) in names and not isinstance(right, ast.Name | ast.Call):
                    yield _last(left), names[_last(right)]
    elif isinstance(node, (ast.For, ast.comprehension)):
        tables_walked = {_last(inner) for inner in ast.walk(node.iter) if isinstance(inner, (ast.Attribute, ast.Name))}
        targets = [inner.id for inner in ast.walk(node.target) if isinstance(inner, ast.Name)]
        for key in {*keys} & tables_walked:
            for target in targets:
                yield target, {key}


def expected(config: type) -> set[str]:
    """Every option as `reads` writes it."""
    rows = {table.key: table.section for table in tables(config)}
    found = set()
    for field, hint, _ in parts(config):
        kind = rows.get(field.name, hint)
        inner = parts(kind) if hasattr(kind, "__dataclass_fields__") else ()
        found |= {f"{field.name}.{one.name}" for one, _, _ in inner} or {field.name}
    return found
