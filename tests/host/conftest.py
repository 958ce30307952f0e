"""One real WebUI for all tests of this folder; see server.py for how it is named."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from fake_host import write_dataset
from host.client import WebUI
from host.server import COMMAND, DIR, URL, StartedServer, named_checkpoints, server


@pytest.fixture(scope="session")
def webui() -> Iterator[WebUI]:
    found = server()
    if found is None:
        pytest.skip(f"no WebUI: {DIR} names no installed one ({COMMAND} says how to start it), {URL} none that runs")
    try:
        webui = WebUI(found, named_checkpoints())
        webui.warm_up()
        yield webui
    finally:
        found.close()


@pytest.fixture(autouse=True)
def nothing_runs(webui) -> None:
    """A test that failed may have left its run."""
    webui.stop()


@pytest.fixture(scope="session")
def inside(webui) -> WebUI:
    """The same, with the probe in its process."""
    if webui.ask("/pivotal-probe/registered")[0] != 200:
        pytest.skip(f"the probe (tests/host/probe) is not among its extensions; {DIR} puts it there")
    return webui


@pytest.fixture(scope="session")
def ours(inside) -> WebUI:
    """The same, with a process that may be killed."""
    if not isinstance(inside.server, StartedServer):
        pytest.skip(f"it was not started by the tests; {DIR} would have them start one")
    return inside


@pytest.fixture(scope="session")
def images(tmp_path_factory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("images"))


@pytest.fixture
def unrelated(webui) -> bytes:
    """What a prompt gives that no run may change.

    Drawn anew for each test: a checkpoint that is loaded anew may round otherwise (AUTOMATIC1111 1.10.1 with SDXL, in one value
    of 12288 by 1, after a restart).
    """
    webui.draw("an unrelated cat")  # the first one of a process may load, move or cast what all later ones find
    return webui.draw("an unrelated cat")


@pytest.fixture
def word(request) -> str:
    """A name that no other test or session uses."""
    return "zk" + "".join(letter for letter in request.node.name.partition("[")[0][5:25] if letter.isalpha()) + str(os.getpid())
