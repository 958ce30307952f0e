"""Which widget an option gets, and with what arguments; only what every gradio from 3.41 on takes."""

from __future__ import annotations

from typing import Any

from pivotal.config.options import Option

_MOST_SLIDER_STOPS = 200  # beyond, one stop of a slider is less than a pixel or two of the mouse


def element_id(key: str) -> str:
    """The id, in the page, of the option (or the row's option) of that key."""
    return "pivotal_" + key.replace(".", "_")


def widget_for(option: Option) -> tuple[str, dict[str, Any]]:
    """The gradio component's name and its arguments."""
    common = {"label": label_of(option), "info": option.spec.help, "elem_id": element_id(option.key),
              "elem_classes": token_classes(option)}
    if option.type is bool:
        return "Checkbox", common | {"value": option.default}
    if option.choices:
        return "Dropdown", common | {"value": option.default, "choices": list(option.choices)}
    if option.type is tuple:
        return "Textbox", common | {"value": as_typed(option, option.default), "lines": 3, "max_lines": 12}
    slider = _slider_range(option)
    if slider:
        return "Slider", common | slider | {"value": option.default}
    if option.type is int and not option.optional:
        # No limits and no precision: gradio would round 1.5, or refuse it in a pop-up before we can say so in place.
        return "Number", common | {"value": option.default}
    # Other numbers are typed as text, for 1e-4 must stay so, and an empty field means something.
    lines = 3 if option.spec.widget == "textarea" else 1
    return "Textbox", common | {"value": as_typed(option, option.default), "lines": lines, "max_lines": max(lines, 1)}


def label_of(option: Option) -> str:
    """The option's label with its unit."""
    return f"{option.label} ({option.spec.unit})" if option.spec.unit else option.label


def token_classes(option: Option) -> list[str]:
    """The marks by which the page's token counter finds a text that is tokenized."""
    if not option.spec.tokens:
        return []
    marks = {"pivotal-tokens": True, "pivotal-tokens-caption": option.spec.tokens == "caption",
             "pivotal-tokens-lines": option.type is tuple}
    return [mark for mark, applies in marks.items() if applies]


def as_typed(option: Option, value: Any) -> Any:
    """`value`, which may come from a form as it was typed there, as the option's widget shows it."""
    if option.type is tuple:
        return value if isinstance(value, str) else "\n".join(value)
    if option.type is bool or option.choices or (option.type is int and not option.optional) or _slider_range(option):
        return value
    return "" if value is None else str(value)


def is_wide(option: Option) -> bool:
    """Whether the widget needs a line of its own."""
    return option.type is tuple or option.spec.widget in ("folder", "textarea")


def _slider_range(option: Option) -> dict[str, Any]:
    low, high, step = option.spec.ge, option.spec.le, option.spec.step
    if option.optional or low is None or high is None or option.type not in (int, float):
        return {}
    if option.type is int:
        step = step or 1
    if step is None or (high - low) / step > _MOST_SLIDER_STOPS:
        return {}
    return {"minimum": low, "maximum": high, "step": step}
