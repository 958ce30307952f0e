"""All that differs between gradio 3.41, 4.40 and 6 in serving the embedded host's page, and nothing else."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

AT_ONCE = 8  # handlers; in 3.41 all share one queue, and an image that waits for a training run must not block others


def queue(page: gr.Blocks) -> None:
    """Lets handlers of the page run beside each other, each reporting progress."""
    name = "default_concurrency_limit"
    page.queue(**{name if name in inspect.signature(page.queue).parameters else "concurrency_count": AT_ONCE})


def mount(app: Any, page: gr.Blocks, shared: Sequence[Path], logins: Mapping[str, str]) -> None:
    """Puts `page` at the root of `app`, and lets it hand out the files in the folders `shared`.

    Args:
        logins: name to password of whom it lets in; empty is everybody.
    """
    page.auth, page.auth_message = list(logins.items()) or None, None  # 3.41 has no arguments for these
    page.allowed_paths = [str(folder) for folder in shared]
    offered = {"allowed_paths": page.allowed_paths, "ssr_mode": False, "auth": page.auth}
    taken = inspect.signature(gr.mount_gradio_app).parameters
    gr.mount_gradio_app(app, page, path="/", **{name: value for name, value in offered.items() if name in taken})


def quietly(event: Callable[..., Any], work: Callable[..., Any], inputs: list[Any], outputs: list[Any]) -> None:
    """Binds `work` to an event: at once, beside the queue, and not among the page's public endpoints."""
    private = {"api_visibility": "private"} if "api_visibility" in inspect.signature(event).parameters else {"api_name": False}
    event(work, inputs=inputs, outputs=outputs, queue=False, show_progress="hidden", **private)
