"""A WebUI of our own in a process of its own, and pages of a real browser on it."""

import os
import re
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
START_S, WAIT_MS = 180, 60_000  # generous: other work may share the machine


@dataclass(frozen=True)
class WebUI:
    """A server that answers."""

    address: str
    data: Path
    open_page: Callable

    def open_tab(self, title: str):
        """A new page with the tab of that title in front."""
        page = self.open_page()
        page.goto(self.address)
        show_tab(page, title)
        return page


def show_tab(page, title: str) -> None:
    """Brings a tab to the front: gradio 3 names its tabs by a class, later ones by their role."""
    exactly = re.compile(rf"^\s*{re.escape(title)}\s*$")
    page.locator(":is([role=tab], .tab-nav > button)").filter(has_text=exactly).first.click()


@contextmanager
def served(data: Path, *flags: str) -> Iterator[str]:
    """`python -m pivotal webui` on a free port; yields its address once it answers."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
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


@pytest.fixture(scope="module")
def open_page(browser) -> Iterator[Callable]:
    """Makes pages whose script errors fail the test that is being run when the module ends."""
    errors: list[str] = []
    pages = []

    def make():
        page = browser.new_page(viewport={"width": 1400, "height": 1000})
        page.set_default_timeout(WAIT_MS)
        page.on("pageerror", lambda error: errors.append(str(error)))
        pages.append(page)
        return page

    yield make
    for page in pages:
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
