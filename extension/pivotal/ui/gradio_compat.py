"""All that differs between gradio 3.41, 4.40 and 6 in what this page uses, and nothing else."""

from __future__ import annotations

import inspect
from typing import Any

import gradio as gr


def keep_out_of_ui_config(component: Any) -> Any:
    """Hosts of A1111's kind write each labelled value into ui-config.json, where it would outlive our defaults."""
    component.do_not_save_to_config = True
    return component


def html(value: str, **arguments: Any) -> Any:
    """A gr.HTML that stands flush with its neighbours: 6 pads it, 3.41 does not, and our style rule evens it out."""
    return keep_out_of_ui_config(gr.HTML(value, elem_classes=["pivotal-flush"], **arguments))


def slot(panel: str, identifier: str) -> Any:
    """A place that the page's script keeps filled with one of the server's panels (api/panels.py)."""
    # The address is relative to the page: a proxy may put that anywhere.
    return html(f'<div class="pivotal-slot" data-pivotal-source="pivotal/v1/panel/{panel}"></div>', elem_id=identifier)


def on_click(button: Any, work: Any, inputs: list[Any], outputs: list[Any], show_progress: str = "hidden") -> None:
    """Runs `work` at once, beside other handlers, and keeps it out of gradio's own list of endpoints.

    Args:
        show_progress: "full" for what may take longer than a moment.
    """
    _listen(button.click, work, inputs, outputs, show_progress)


def on_change(component: Any, work: Any, inputs: list[Any], outputs: list[Any]) -> None:
    """As `on_click`, whenever the component's value changes."""
    _listen(component.change, work, inputs, outputs)


def on_choice(radio: Any, work: Any, inputs: list[Any], outputs: list[Any]) -> None:
    """As `on_change`, but only where the user changed it: 3.41 tells that of a gr.Radio by another name."""
    _listen(radio.input if hasattr(radio, "input") else radio.select, work, inputs, outputs)


def _listen(event: Any, work: Any, inputs: list[Any], outputs: list[Any], show_progress: str = "hidden") -> None:
    taken = inspect.signature(event).parameters
    # queue=False: the answer takes milliseconds, and must not wait behind an image that the host is drawing.
    extra: dict[str, Any] = {"queue": False, "show_progress": show_progress}
    extra |= {"api_visibility": "private"} if "api_visibility" in taken else {"api_name": False}
    event(work, inputs=inputs, outputs=outputs, **extra)
