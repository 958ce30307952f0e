"""The embedded host's page on whatever gradio is installed, asked over HTTP as a browser asks it."""

from __future__ import annotations

import json
import socket
import threading
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from PIL import Image

import tiny

gr = pytest.importorskip("gradio")
gradio_client = pytest.importorskip("gradio_client")
uvicorn = pytest.importorskip("uvicorn")

from starlette.responses import PlainTextResponse  # noqa: E402
from starlette.testclient import TestClient  # noqa: E402

from pivotal.errors import HostError  # noqa: E402
from pivotal.hosts.embedded.app import EmbeddedShell, serve  # noqa: E402
from pivotal.hosts.embedded.gallery import for_page, save_images  # noqa: E402
from pivotal.hosts.embedded.host import EmbeddedHost  # noqa: E402
from pivotal.hosts.embedded.own_names import OwnNames  # noqa: E402
from pivotal.hosts.embedded.static import head_tags, static_files  # noqa: E402

PROMPT = ("a red circle", "blue", 2, "Euler", 64, 64, 3.0, 5, 1)


class Served:
    """A host, its page at `address`, and a client that presses Generate."""

    def __init__(self, data: Path):
        for family in ("sd1", "sd2"):
            tiny.write_tiny(data / "models" / "Stable-diffusion" / f"{family}.safetensors", family)
        self.host = EmbeddedHost(data, device="cpu", toy=data / "no toy")
        self.host._tokenizer = tiny.tokenizer()
        shell = EmbeddedShell(self.host)
        shell.add_tab("Other", "other", lambda: gr.Button("Press me", elem_id="other_button"))
        shell.add_routes(lambda app: app.add_route("/pivotal/v1/ping", lambda request: PlainTextResponse("pong")))
        listener = socket.socket()
        listener.bind(("127.0.0.1", 0))
        listener.listen(128)
        self.port = listener.getsockname()[1]
        self.server = uvicorn.Server(uvicorn.Config(shell.make_app(), log_level="warning"))
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [listener]}, daemon=True)
        self.thread.start()
        self.address = f"http://127.0.0.1:{self.port}/"
        self.client = gradio_client.Client(self.address, verbose=False)

    def get(self, path: str) -> str:
        with urllib.request.urlopen(self.address + path, timeout=60) as answer:
            return answer.read().decode()

    def txt2img(self, *values):
        return self.client.predict(*values, api_name="/txt2img")


def shown_image(gallery) -> Image.Image:
    """gradio 3 clients get a folder, later ones a list."""
    found = next(Path(gallery).rglob("*.png")) if isinstance(gallery, str) else gallery[0]["image"]
    return Image.open(found)


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    served = Served(tmp_path_factory.mktemp("data"))
    yield served
    served.server.should_exit = served.server.force_exit = True  # gradio's clients keep a connection open
    served.thread.join(300)


def test_the_page_has_its_parts(served):
    config = json.loads(served.get("config"))
    identifiers = {part["props"].get("elem_id") for part in config["components"]}
    for name in ("prompt", "neg_prompt", "generate", "interrupt", "steps", "sampling", "cfg_scale", "width", "height", "seed",
                 "gallery"):
        assert f"txt2img_{name}" in identifiers
    assert {"setting_sd_model_checkpoint", "html_info_txt2img", "tab_other", "other_button"} <= identifiers
    width = next(part for part in config["components"] if part["props"].get("elem_id") == "txt2img_width")
    assert width["props"]["value"] == 64


def test_scripts_and_styles_are_in_the_head_and_served(served):
    page = served.get("")
    assert static_files()
    assert head_tags() in page.partition("</head>")[0]
    for name, path in static_files().items():
        assert served.get(f"pivotal/static/{name}") == path.read_text("utf-8")
    for bad in ("pivotal/static/install.py", "pivotal/static/javascript/../install.py", "pivotal/static/%2e%2e/install.py"):
        with pytest.raises(urllib.error.HTTPError) as caught:
            served.get(bad)
        assert caught.value.code == 404


def test_routes_of_others_come_before_the_page(served):
    assert served.get("pivotal/v1/ping") == "pong"


def test_txt2img_returns_an_image_and_keeps_it_with_its_infotext(served):
    gallery, info = served.txt2img(*PROMPT)
    assert "Steps: 2, Sampler: Euler, CFG scale: 3, Seed: 5, Size: 64x64, Model: sd1" in info
    image = shown_image(gallery)
    assert image.size == (384, 384)  # enlarged for the eye
    (saved,) = served.host.outputs.glob("*-5.png")
    with Image.open(saved) as original:
        assert original.size == (64, 64)
        expected = "a red circle\nNegative prompt: blue\nSteps: 2, Sampler: Euler, CFG scale: 3, Seed: 5, Size: 64x64, Model: sd1"
        assert original.info["parameters"] == expected
        assert original.resize((384, 384), Image.Resampling.NEAREST).tobytes() == image.convert("RGB").tobytes()


def test_what_goes_wrong_is_shown_in_words(served):
    _, info = served.txt2img("a", "", 2, "Euler", 64, 64, 3.0, 2**33, 1)
    assert "The seed must be" in info
    _, info = served.txt2img("a <lora:nope:1>", "", 2, "Euler", 64, 64, 3.0, 1, 1)
    assert "There is no LoRA" in info
    assert "Steps: 2" in info


def test_the_page_answers_while_the_model_is_in_use_and_an_image_waits_for_it(served):
    held, done = threading.Event(), threading.Event()

    def training():
        held.set()
        assert done.wait(300)

    thread = threading.Thread(target=lambda: served.host.run(training))
    thread.start()
    assert held.wait(300)
    job = served.client.submit(*PROMPT, api_name="/txt2img")
    assert "components" in served.get("config")
    assert not job.done()
    done.set()
    assert "Steps: 2" in job.result(timeout=300)[1]
    thread.join(300)


@pytest.mark.parametrize(("host", "is_served"), [
    ("127.0.0.1:7860", True), ("localhost:7860", True), ("LOCALHOST", True), ("pivotal.localhost:1", True), ("[::1]:7860", True),
    ("192.168.0.9:7860", True), ("evil.example:7860", False), ("localhost.evil.example", False),
    ("127.0.0.1.evil.example", False), ("[::1", False)])
def test_a_page_for_this_machine_alone_is_not_served_under_the_names_of_other_sites(host, is_served):
    client = TestClient(OwnNames(PlainTextResponse("ours")))
    reply = client.get("/", headers={"host": host})
    assert (reply.status_code, reply.text == "ours") == (200 if is_served else 403, is_served)
    assert is_served or "http://127.0.0.1:" in reply.text


def test_a_port_that_is_taken_is_told(served):
    with pytest.raises(HostError, match=rf"Port {served.port} cannot be used .*--port"):
        serve(served.host, EmbeddedShell(served.host), port=served.port, open_browser=False)
    with pytest.raises(HostError, match="Port 99999 cannot be used"):
        serve(served.host, EmbeddedShell(served.host), port=99999, open_browser=False)


def test_large_images_are_shown_as_they_are(tmp_path):
    paths = save_images(tmp_path, (Image.new("RGB", (512, 384)),), ("text",), seed=3)
    assert [path.name for path in paths] == ["00000-3.png"]
    assert for_page(paths, tmp_path / "large") == paths
    more = save_images(tmp_path, (Image.new("RGB", (8, 8)),) * 2, ("a", "b"), seed=2**32 - 2)
    assert [path.name for path in more] == ["00001-4294967294.png", "00002-4294967295.png"]


def test_an_unwritable_folder_is_told(tmp_path):
    (tmp_path / "a file").touch()
    with pytest.raises(HostError, match="cannot be saved"):
        save_images(tmp_path / "a file" / "in it", (Image.new("RGB", (8, 8)),), ("",), seed=1)
