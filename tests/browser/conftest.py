"""A WebUI of our own in a process of its own, and pages of a real browser on it."""

import json
import os
import random
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from tiny import write_tiny

ROOT = Path(__file__).resolve().parents[2]
START_S, WAIT_MS = 600, 180_000  # generous: other work may share the machine


@dataclass(frozen=True)
class WebUI:
    """A server that answers."""

    address: str
    home: Path  # its own folder: embeddings/, models/Lora/, ...
    data: Path  # for what a file of tests makes
    open_page: Callable

    def open_tab(self, title: str):
        """A new page with the tab of that title in front."""
        page = self.open_page()
        page.goto(self.address)
        show_tab(page, title)
        return page

    def ask(self, path: str, body: dict | None = None) -> dict:
        """What the API answers; `body` is posted."""
        request = urllib.request.Request(f"{self.address}/pivotal/v1/{path}", None if body is None else json.dumps(body).encode(),
                                         {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as reply:
            return json.load(reply)


def show_tab(page, title: str) -> None:
    """Brings a tab to the front: gradio 3 names its tabs by a class, later ones by their role."""
    exactly = re.compile(rf"^\s*{re.escape(title)}\s*$")
    page.locator(":is([role=tab], .tab-nav > button)").filter(has_text=exactly).first.click()


def write(field, text: str) -> None:
    """Types `text` into a field as soon as a hand could.

    gradio 6 sets the fields of a section or tab that is opened for the first time to their first values once more, in the
    frame after the one in which they appear (core, render_previously_invisible_children); what was typed before that is lost.
    """
    field.wait_for()
    field.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done))))")
    field.fill(text)


def field_of(page, key: str):
    """The input of the option (or the row's option) of that key: "embeddings.0.placeholder"."""
    return page.locator(f"#pivotal_{key.replace('.', '_')} :is(textarea, input)").first


def fill(page, key: str, text: str) -> None:
    write(field_of(page, key), text)


def unfold(page, section: str) -> None:
    page.locator(f"#pivotal_section_{section}").locator(":is(button, .label-wrap)").first.click()


def wait_until(page, condition: str, arg: object = None, timeout_ms: int = WAIT_MS) -> None:
    """Waits until a JavaScript expression holds; in it `arg` is what was passed.

    A part of the page that is not there yet is waited for as well: gradio makes what is opened a frame or more later, and
    Playwright ends its own wait at the first error of a condition.
    """
    page.wait_for_function(f"""(arg) => {{
        try {{ return {condition} }} catch (early) {{ if (early instanceof TypeError) return false; throw early }}
    }}""", arg=arg, timeout=timeout_ms)


def free_port() -> int:
    """None of those that the system gives to whoever connects: the server takes it only after seconds of imports."""
    while True:
        port = random.SystemRandom().randrange(10_000, 30_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


@contextmanager
def served(data: Path, *flags: str) -> Iterator[str]:
    """`python -m pivotal webui` on a free port; yields its address once it answers."""
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    data.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "pivotal", "webui", "--data-dir", str(data), "--no-browser", "--port", str(port), *flags]
    # One thread: the layers are small, and Chromium wants a core, too.
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "extension"), "OMP_NUM_THREADS": "1"}
    with (data / "server.log").open("w") as log:
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT, cwd=data)
    try:
        wait_for_answer(server, f"{address}/pivotal/v1/job", data / "server.log")
        yield address
    finally:
        server.terminate()
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def wait_for_answer(server: subprocess.Popen, address: str, log: Path) -> None:
    for _ in range(START_S * 4):
        try:
            with urllib.request.urlopen(address, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            try:
                code = server.wait(0.25)
            except subprocess.TimeoutExpired:
                continue
            pytest.fail(f"the server ended with {code}:\n{log.read_text()}")
    pytest.fail(f"no answer in {START_S} s:\n{log.read_text()}")


@pytest.fixture(scope="session")
def server(tmp_path_factory) -> Iterator[tuple[str, Path]]:
    """Address and home of a WebUI with a tiny checkpoint. Each takes long to start, so that most files of tests share it."""
    folder = tmp_path_factory.mktemp("webui")
    write_tiny(folder / "tiny.safetensors", dtype=torch.float32)
    with served(folder / "home", "--checkpoint", str(folder / "tiny.safetensors")) as address:
        yield address, folder / "home"


@pytest.fixture(scope="module")
def webui(server, tmp_path_factory, open_page) -> WebUI:
    """The shared WebUI, in which nothing goes on, waits or is remembered. What a file trains has words of its own."""
    found = WebUI(*server, tmp_path_factory.mktemp("tests"), open_page)
    found.ask("queue/pause", {})
    for run in found.ask("queue?state=waiting")["runs"]:
        found.ask(f"queue/{run['id']}/remove", {})
    found.ask("job/stop", {})
    for _ in range(START_S * 4):
        if found.ask("job")["state"] not in ("running", "pausing", "paused", "stopping"):
            break
        time.sleep(0.25)
    found.ask("queue/clear", {})
    return found


@pytest.fixture(scope="module")
def open_page(browser) -> Iterator[Callable]:
    """Makes pages whose script errors fail the test that is being run when the module ends."""
    errors: list[str] = []
    made = []

    def make():
        page = browser.new_page()
        made.append(page)
        page.set_default_timeout(WAIT_MS)
        page.on("pageerror", lambda error: errors.append(str(error)))
        return page

    yield make
    for page in made:
        page.close()
    assert [error for error in errors if "pivotal" in error.lower()] == []


@pytest.fixture
def screenshot(request) -> Callable:
    """Keeps a picture of the page in the folder that PIVOTAL_SCREENSHOTS names, if it does."""

    def take(page, name: str) -> None:
        folder = os.environ.get("PIVOTAL_SCREENSHOTS")
        if folder:
            Path(folder).mkdir(parents=True, exist_ok=True)
            page.screenshot(path=Path(folder) / f"{request.node.name}_{name}.png", full_page=True)

    return take
