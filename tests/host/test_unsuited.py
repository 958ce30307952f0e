"""Checkpoints and settings that cannot be trained with: a run says so in a sentence, and nothing is lost."""

import os
import re
import shutil
import time
from pathlib import Path

import pytest

from host.client import alike, embedding
from host.server import OTHER_KIND

pytestmark = pytest.mark.host
TOLD = re.compile(r"weights|UNet outside|no checkpoint loaded")
# Of AUTOMATIC1111, Forge, reForge and SD.Next; and what each does with the weights, stored in 8 bits.
MOVED = ("--lowvram", "--medvram", "--unet-in-fp8-e4m3fn", "--clip-in-fp8-e4m3fn", "--always-offload-from-vram")
SMALLER = ({"fp8_storage": "Enable"}, {"sdnq_quantize_weights": ["Model"]},
           # The second has Forge hear of the first, which its own page tells it by another way (sysinfo.py, set_config).
           {"forge_unet_storage_dtype": "float8-e4m3fn", "forge_inference_memory": 1000})


def told_by_a_run(webui, images, word):
    """Why it did not train; "" when it did, and what it trained is used."""
    before = drawn(webui, f"a {word} circle")
    status, answer = webui.start(images, word, **embedding(word), seed=time.time_ns() % 10**6)
    if status != 200:
        assert status == 422
        return str(answer["problems"])
    job = webui.finished()
    assert job["state"] in ("finished", "failed"), job
    assert job["state"] == "failed" or drawn(webui, f"a {word} circle") != before
    return job["message"]


def drawn(webui, prompt="an unrelated cat"):
    """The picture; None where the WebUI itself cannot draw so, as on a CPU AUTOMATIC1111 1.10.1 with fp8 and SD.Next with
    --lowvram."""
    try:
        return webui.draw(prompt)
    except AssertionError:
        return None


class Restarts:
    """Starts the WebUI anew, with more flags; as it was when the test has ended, if it was asked for."""

    def __init__(self, webui):
        self.webui, self.is_due = webui, False

    def with_flags(self, *flags):
        self.is_due = True
        self.webui.server.kill()
        self.webui.server.start(*flags)

    def afterwards(self):
        self.is_due = True


@pytest.fixture
def restart(ours):
    restarts = Restarts(ours)
    yield restarts
    if restarts.is_due:
        restarts.with_flags()
        ours.warm_up()


@pytest.mark.parametrize("flag", MOVED)
def test_flags_that_move_or_shrink_the_weights_are_told_or_do_no_harm(ours, restart, images, flag, word):
    if flag.strip("-").replace("-", "_") not in ours.probe("settings")["flags"]:
        pytest.skip(f"it knows no {flag}")
    restart.with_flags(flag)
    before = drawn(ours)
    told = told_by_a_run(ours, images, word)
    assert not told or TOLD.search(told), told
    assert drawn(ours) == before


@pytest.mark.parametrize("stored", SMALLER, ids=lambda stored: next(iter(stored)))
def test_weights_stored_in_8_bits_are_refused_until_they_are_whole_again(ours, restart, images, stored, word):
    """Forge has AUTOMATIC1111's setting, and does nothing with it. Restarted afterwards, as AUTOMATIC1111 goes on to round
    weights that were 8 bits once to 16 (load_model_weights)."""
    option = next(iter(stored))
    settings = ours.probe("settings")["options"]
    if option not in settings:
        pytest.skip(f"it has no {option}")
    restart.afterwards()
    try:
        set_and_loaded(ours, stored)
        before = drawn(ours)
        told = told_by_a_run(ours, images, word)
        assert bool(TOLD.search(told)) == are_small(ours), told or "it trained"
        assert drawn(ours) == before
    finally:
        set_and_loaded(ours, {key: settings[key] for key in stored})
    ours.train(images, word, **embedding(word))


def are_small(webui):
    """Whether some of the loaded weights have 8 bits or fewer."""
    return any(re.match(r"torch\.(float8|int8|uint8)", told) for told in webui.probe("look")["model"].values())


def set_and_loaded(webui, options):
    """Some hosts read such an option only when a checkpoint is loaded."""
    assert webui.ask("/sdapi/v1/options", options)[0] == 200
    webui.ask("/sdapi/v1/unload-checkpoint", {})
    webui.ask("/sdapi/v1/reload-checkpoint", {})


def test_a_loaded_checkpoint_of_another_kind_is_refused_and_goes_on_to_draw(inside, images, unrelated, word):
    if not os.environ.get(OTHER_KIND):
        pytest.skip(f"{OTHER_KIND} names no file of Flux or Stable Diffusion 3")
    source, folder = Path(os.environ[OTHER_KIND]), Path(inside.probe("checkpoint_folder")["folder"])
    copy = Path(shutil.copy2(source, folder / f"{word}{source.suffix}"))
    try:
        inside.ask("/sdapi/v1/refresh-checkpoints", {})
        with inside.chosen(copy.stem):
            before = inside.draw("an unrelated cat")  # it is loaded no sooner
            assert inside.about()["checkpoint"]["family"] not in ("sd1", "sd2", "sdxl")
            status, answer = inside.start(images, word, **embedding(word))
            told = inside.finished()["message"] if status == 200 else str(answer["problems"])
            assert "cannot be trained on" in told, told
            assert inside.draw("an unrelated cat") == before
            assert inside.ask("/pivotal/v1/tokens", {"text": "a red circle"})[0] == 200
    finally:
        copy.unlink()
        inside.ask("/sdapi/v1/refresh-checkpoints", {})
    assert alike(inside.draw("an unrelated cat"), unrelated)
    inside.train(images, word, **embedding(word))
