"""A tool's options as plain fields, for pages that the server draws: the same labels, helps and limits as everywhere."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from html import escape

from pivotal.config.derived import range_text
from pivotal.config.options import Option, walk
from pivotal.ui.widgets import as_typed, is_wide, label_of


def fields_html(section: type, skip: Collection[str] = (), choices: Mapping[str, Sequence[str]] | None = None) -> str:
    """Every option of `section` as a field whose name is its key.

    Args:
        skip: keys that the page gives otherwise.
        choices: key -> what there is to choose from on this machine.
    """
    return "".join(_field(option, (choices or {}).get(option.key, option.choices)) for option in walk(section)
                   if option.key not in skip)


def _field(option: Option, choices: Sequence[str]) -> str:
    when = ""
    if option.spec.shown_when:
        other, wanted = option.spec.shown_when
        when = f' data-pivotal-when="{escape(other)}={escape("|".join(str(value).lower() for value in wanted))}"'
    wide = " pivotal-wide" if is_wide(option) else ""
    name, limits = escape(option.key), range_text(option)
    title = f' title="{escape(limits)}"' if limits and not choices else ""
    label = f'<span class="pivotal-label">{escape(label_of(option))}</span>'
    note = f'<span class="pivotal-help">{escape(option.spec.help)}</span>'
    if option.type is bool:
        checked = " checked" if option.default else ""
        return (f'<label class="pivotal-field pivotal-check"{when}><input type="checkbox" name="{name}"{checked}>{label}{note}'
                "</label>")
    if choices:
        # With its value apart: the host may translate what is shown.
        lines = "".join(f'<option value="{escape(str(choice), quote=True)}"{" selected" if choice == option.default else ""}>'
                        f"{escape(str(choice))}</option>" for choice in choices)
        return f'<label class="pivotal-field"{when}>{label}<select name="{name}">{lines}</select>{note}</label>'
    value = escape(str(as_typed(option, option.default)), quote=True)
    return (f'<label class="pivotal-field{wide}"{when}>{label}<input type="text" name="{name}" value="{value}"{title} '
            f'autocomplete="off">{note}</label>')
