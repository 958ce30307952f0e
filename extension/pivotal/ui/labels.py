"""How the page calls an option, wherever it speaks of one."""

from __future__ import annotations

from pivotal.config.options import tables, walk


def label_of_key(config: type, key: str) -> str:
    """``Embedding 2, token count`` for ``embeddings.1.token_count``; a key that is no option stays as it is."""
    for option in walk(config):
        if option.key == key:
            section = key.rpartition(".")[0]
            return f"{section.replace('_', ' ').replace('.', ', ').capitalize()}, {option.label.lower()}" \
                if section and not option.spec.first_page else option.label
    for table in tables(config):
        if key == table.key:
            return table.key.rpartition(".")[2].replace("_", " ").capitalize()
        index, _, name = key.removeprefix(f"{table.key}.").partition(".")
        for option in walk(table.section):
            if index.isdigit() and option.key == name:
                return f"{table.section.__name__} {int(index) + 1}, {option.label.lower()}"
    return key
