"""Drives a real SD.Next over HTTP, with Pivotal in its extensions folder and an SD 1 or SDXL checkpoint loaded.

    PIVOTAL_SDNEXT_URL=http://127.0.0.1:7860 python -m pytest -m host tests/host/test_real_sdnext.py

The images folder must be one that it can read, so it runs on this machine. On a CPU without triton, SD.Next answers every
generation with an error until Settings > Model Quantization > Dequantize using torch.compile is off.
"""

import base64
import io
import json
import os
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from PIL import Image

from fake_host import write_dataset

pytestmark = pytest.mark.host
URL = os.environ.get("PIVOTAL_SDNEXT_URL", "").rstrip("/")


@pytest.fixture(scope="module", autouse=True)
def server():
    if not URL:
        pytest.skip("PIVOTAL_SDNEXT_URL does not say where SD.Next is")


def ask(path, data=None):
    """(status, answer)"""
    body = None if data is None else json.dumps(data).encode()
    request = urllib.request.Request(URL + path, body, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=600) as reply:
            text = reply.read()
            return reply.status, json.loads(text) if text else None
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def draw(prompt, steps=4):
    """The picture's pixels."""
    status, answer = ask("/sdapi/v1/txt2img", {"prompt": prompt, "seed": 7, "steps": steps, "width": 64, "height": 64,
                                               "cfg_scale": 3, "sampler_name": "Default", "save_images": False})
    assert status == 200, answer
    return Image.open(io.BytesIO(base64.b64decode(answer["images"][0]))).convert("RGB").tobytes()


def alike(one, other):
    """Equal but for the rounding that a LoRA leaves when the host takes it out of the weights (lora_apply.py)."""
    return sum(abs(first - second) for first, second in zip(one, other, strict=True)) / len(one) < 0.2


def job_when(condition):
    until = time.monotonic() + 600
    while time.monotonic() < until:
        _, job = ask("/pivotal/v1/job")
        if condition(job):
            return job
        time.sleep(0.2)
    raise AssertionError(f"after 600 s the job is {job}")


def finished():
    return job_when(lambda job: job["state"] not in ("running", "stopping"))


def start(folder, name, **options):
    if ask("/pivotal/v1/job")[1]["state"] in ("running", "stopping"):  # of a test that failed
        ask("/pivotal/v1/job/stop", {})
        finished()
    return ask("/pivotal/v1/jobs", {"options": {
        "name": name, "dataset.folder": str(folder), "dataset.resolution": 64, "dataset.captions": "object",
        "length.steps": 2, "batch.size": 2, "samples.every_steps": 0, "save.existing": "replace", **options}})


def train(folder, name, **options):
    """The files of a run that ended well."""
    status, answer = start(folder, name, **options)
    assert status == 200, answer
    job = finished()
    assert (job["state"], job["message"]) == ("finished", "")
    return [Path(file) for file in job["files"]]


def embedding(word, vectors=2):
    return {"embeddings.0.placeholder": word, "embeddings.0.token_count": vectors, "embeddings.0.initial_text": "green",
            "embeddings.0.learning_rate": 0.05}


LORA = {"network.method": "lora", "network.rank": 4, "targets.learning_rate": 0.02}


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="module")
def other():
    """What an unrelated prompt gives, which no run may change."""
    return draw("an unrelated cat")


def test_the_tab_is_in_the_page():
    _, config = ask("/config")
    tabs = [part["props"].get("label") for part in config["components"] if part["type"] == "tabitem"]
    assert tabs.count("Pivotal") == 1


def test_a_trained_word_is_used_at_once_and_nothing_else_changes(images, other):
    word = f"zkhost{os.getpid()}"
    before = draw(f"a {word} circle")
    train(images, word, **embedding(word))
    after = draw(f"a {word} circle")  # the same text as before: the host has it in its cache of encoded prompts
    assert after != before
    assert draw("an unrelated cat") == other
    train(images, word, **embedding(word), seed=99)
    assert draw(f"a {word} circle") not in (before, after)


def test_a_word_that_became_shorter_takes_nothing_of_the_longer_one(images, other):
    long, short = f"zkhostlong{os.getpid()}", f"zkhostshort{os.getpid()}"
    train(images, long, **embedding(long, 3))
    train(images, long, **embedding(long, 1))
    train(images, short, **embedding(short, 1))
    assert draw(f"a {long} circle") == draw(f"a {short} circle")
    assert draw("an unrelated cat") == other


def test_a_lora_works_right_after_its_run_and_is_never_stale(images):
    name = f"zkhostnet{os.getpid()}"
    prompt, plain = f"a circle<lora:{name}:1>", draw("a circle")
    train(images, name, **LORA)
    first = draw(prompt)
    assert first != plain
    assert alike(draw("a circle"), plain)
    draw(prompt)  # the host has it in its weights when it is written anew
    train(images, name, **LORA, seed=99)
    assert draw(prompt) not in (first, plain)
    train(images, name, **LORA)
    assert draw(prompt) == first
    assert alike(draw("a circle"), plain)


def test_what_a_lora_of_another_strength_leaves_in_the_weights_is_not_trained_on(images, other):
    """lora_apply.py takes it out with the strength of the prompt after, and leaves the rest in the weights."""
    name, word = f"zkhoststrength{os.getpid()}", f"zkhoststrengthword{os.getpid()}"
    train(images, word, **embedding(word))
    clean = draw(f"a {word} circle")
    train(images, name, **LORA)
    draw(f"a circle<lora:{name}:1>")
    draw(f"a circle<lora:{name}:0.5>")
    train(images, word, **embedding(word))
    assert draw(f"a {word} circle") == clean
    assert draw("an unrelated cat") == other


@pytest.mark.parametrize("method", ["loha", "lokr", "dylora", "oft", "boft", "ia3", "glora"])
def test_every_method_is_read_by_the_host(images, method):
    name, plain = f"zkhost{method}{os.getpid()}", draw("a circle")
    train(images, name, **LORA | {"network.method": method})
    assert draw(f"a circle<lora:{name}:1>") != plain


@pytest.mark.parametrize("fuses", [True, False])
def test_changes_of_biases_are_told_where_the_host_breaks_on_them(images, fuses):
    """lora_apply.py, network_add_weights: in its fuse mode it adds a bias to the weights of its layer."""
    name, plain = f"zkhostfull{os.getpid()}", draw("a circle")
    ask("/sdapi/v1/options", {"lora_fuse_native": fuses})
    try:
        train(images, name, **LORA | {"network.method": "full"})
        told = [line for line in ask("/pivotal/v1/job")[1]["log"] if "it changes biases" in line]
        assert bool(told) == fuses
        if not fuses:
            assert draw(f"a circle<lora:{name}:1>") != plain
            assert alike(draw("a circle"), plain)
    finally:
        ask("/sdapi/v1/options", {"lora_fuse_native": True})


def test_one_file_brings_the_network_and_the_word(images):
    name, word = f"zkhostpivot{os.getpid()}", f"zkhostword{os.getpid()}"
    prompt = f"a {word} circle"
    plain = draw(prompt)
    files = train(images, name, **LORA, **embedding(word))
    assert [file.name for file in files if file.suffix == ".safetensors"] == [f"{name}.safetensors"]
    whole = draw(f"{prompt}<lora:{name}:1>")
    unnamed = draw(f"a circle<lora:{name}:1>")
    assert len({plain, whole, unnamed}) == 3
    train(images, name, **LORA, **embedding(word), seed=99)
    assert draw(f"{prompt}<lora:{name}:1>") not in (plain, whole)


def test_a_generation_asked_for_during_a_run_waits_and_works(images, other):
    drawn = []
    start(images, "zkhostwait", **embedding("zkhostwait"), **{"length.steps": 40})
    job_when(lambda job: job["step"] >= 1)
    asked = threading.Thread(target=lambda: drawn.append(draw("an unrelated cat")))
    asked.start()
    status, count = ask("/pivotal/v1/tokens", {"text": "a red circle"})  # waits for nobody
    assert (status, count["count"], drawn) == (200, 3, [])
    assert finished()["state"] == "finished"
    asked.join(60)
    assert drawn == [other]


def test_prompts_let_through_between_steps_work_and_leave_the_weights_as_they_were(images, other):
    name, word = f"zkhostthrough{os.getpid()}", f"zkhostlet{os.getpid()}"
    train(images, name, **LORA)
    with_lora = draw(f"a circle<lora:{name}:1>")
    train(images, word, **embedding(word), **{"length.steps": 30})
    undisturbed = draw(f"a {word} circle")
    start(images, word, **embedding(word), **{"length.steps": 30, "sharing.let_prompts_through": True})
    job_when(lambda job: job["step"] >= 1)
    assert draw(f"a circle<lora:{name}:1>") == with_lora
    assert draw("an unrelated cat") == other
    assert ask("/pivotal/v1/job")[1]["state"] == "running"
    assert finished()["state"] == "finished"
    assert draw(f"a {word} circle") == undisturbed
    assert draw("an unrelated cat") == other


@pytest.mark.parametrize("path", ["/pivotal/v1/job/stop", "/sdapi/v1/interrupt"])
def test_stopping_keeps_what_was_learned(images, path):
    plain = draw("a zkhoststop circle")
    start(images, "zkhoststop", **embedding("zkhoststop"), **{"length.steps": 2000, "seed": time.time_ns() % 10**6})
    job_when(lambda job: job["step"] >= 2)
    ask(path, {})
    job = finished()
    assert job["state"] == "stopped"
    assert 2 <= job["step"] < 2000
    assert [Path(file).name for file in job["files"]] == ["zkhoststop.safetensors"]
    assert draw("a zkhoststop circle") != plain


def test_a_model_unloaded_in_mid_run_ends_the_run_with_a_sentence(images, other):
    start(images, "zkhostgone", **embedding("zkhostgone"), **{"length.steps": 2000})
    job_when(lambda job: job["step"] >= 2)
    assert ask("/sdapi/v1/unload-checkpoint", {})[0] == 204  # takes no lock
    job = finished()
    assert job["step"] < 2000
    assert any("SD.Next has unloaded" in line for line in job["log"])
    assert [Path(file).name for file in job["files"]] == ["zkhostgone.safetensors"]
    assert draw("an unrelated cat") == other  # loads it again


def test_a_run_on_another_checkpoint_leaves_the_chosen_one_loaded(images, other):
    _, options = ask("/sdapi/v1/options")
    names = [model["title"].partition(" [")[0] for model in ask("/sdapi/v1/sd-models")[1]]
    names.remove(options["sd_model_checkpoint"].partition(" [")[0])
    if not names:
        pytest.skip("SD.Next has one model only")
    train(images, "zkhostother", **embedding("zkhostother"), checkpoint=names[0])
    assert ask("/sdapi/v1/options")[1]["sd_model_checkpoint"] == options["sd_model_checkpoint"]
    assert draw("an unrelated cat") == other


def test_a_missing_folder_is_told_under_its_option():
    status, answer = start("/nowhere/at/all", "zkhostbad", **embedding("zkhostbad"))
    assert status == 422
    assert "does not exist" in answer["problems"]["dataset.folder"]
