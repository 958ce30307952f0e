"""What every test may count on: our package on the path, no network, marks that skip what a machine cannot run."""

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

# Before anything imports a hub client or gradio: both read these once.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
# Tiny tensors: a second thread waits longer for the first than it works, many times longer on a busy machine.
os.environ.setdefault("OMP_NUM_THREADS", "1")

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "extension"), str(ROOT / "tests")]

MARKS = {
    "gpu": "needs a CUDA card",
    "host": "needs a real WebUI (A1111, Forge, ...)",
    "slow": "takes minutes",
    "once": "is about our own loop on torch, or our own scripts in a page's HTML, the same in all environments; install.py test "
    "--env all runs it in the newest",
    "browser": "drives a real Chromium; skipped only where there is none",
}
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
# No sandbox, since CI is root; the others keep it from calling home.
CHROMIUM_FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def pytest_configure(config: pytest.Config) -> None:
    """Declares the marks here, as the settings of pyproject.toml are read only from the project's root."""
    for mark, meaning in MARKS.items():
        config.addinivalue_line("markers", f"{mark}: {meaning}")


def turns(files: list[Path]) -> Callable[[pytest.Item], tuple[bool, int, bool]]:
    """The order of files: long ones first, so that no core waits for one at the end; a browser beside what needs none."""
    rooms: dict[str, list[Path]] = {}
    for file in dict.fromkeys(files):
        rooms.setdefault(file.relative_to(ROOT / "tests").parts[0], []).append(file)
    browser, long = rooms.pop("browser", []), rooms.pop("recipe", []) + rooms.pop("toy", [])
    places = {file: (False, place, last) for last, room in ((False, browser), (True, long)) for place, file in enumerate(room)}
    return lambda item: places.get(item.path, (True, 0, False))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skips gpu, host and slow tests unless `-m` names their mark, and browser tests where there is no browser."""
    if hasattr(config, "workerinput"):  # a process of pytest-xdist
        items.sort(key=turns([item.path for item in items]))
    asked = config.getoption("-m")
    for item in items:
        for mark in ("gpu", "host", "slow"):
            if item.get_closest_marker(mark) and mark not in asked:
                item.add_marker(pytest.mark.skip(reason=f"{MARKS[mark]}; run with -m {mark}"))
        if item.get_closest_marker("browser") and CHROMIUM is None:
            item.add_marker(pytest.mark.skip(reason="no Chromium is installed (Debian: apt install chromium)"))


@pytest.fixture(scope="session")
def browser(tmp_path_factory) -> Iterator:
    """A headless Chromium as a playwright BrowserContext: `page = browser.new_page(); page.goto(url)`.

    With a folder of its own, in which it keeps gradio's scripts as it compiled them: a fifth of what a page costs.
    """
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            tmp_path_factory.mktemp("chromium"), executable_path=CHROMIUM, args=CHROMIUM_FLAGS,
            viewport={"width": 1400, "height": 1000})
        yield context
        context.close()


@pytest.fixture
def figures(record_property) -> Callable[[str, object], None]:
    """Takes what a sweep counted, by the sweep's name, for figures.py: it goes into the report of --junitxml."""
    return lambda name, counted: record_property(f"figures.{name}", json.dumps(counted))
