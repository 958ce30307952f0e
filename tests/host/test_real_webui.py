"""Drives a real AUTOMATIC1111 or reForge over HTTP, with Pivotal in its extensions folder and a checkpoint loaded.

    PIVOTAL_A1111_URL=http://127.0.0.1:7860 python -m pytest -m host tests/host
    PIVOTAL_REFORGE_URL=http://127.0.0.1:7860 python -m pytest -m host tests/host

It must have been started with --api; the images folder must be one that it can read, so it runs on this machine. A second
checkpoint of the same family is needed beside the one that is loaded.
"""

import base64
import hashlib
import html
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
VARIABLES = ("PIVOTAL_A1111_URL", "PIVOTAL_REFORGE_URL")
SERVER = {"url": ""}
STRINGS = Path(__file__).parents[1] / "unit" / "prompts" / "a1111_counts.json"
VECTORS = {"zkwemb": 2, "my style word": 3, "bigemb": 40, "<angle>": 1}  # what the host had when they were recorded


@pytest.fixture(scope="module", autouse=True, params=VARIABLES)
def server(request):
    SERVER["variable"] = request.param
    SERVER["url"] = os.environ.get(request.param, "").rstrip("/")
    if not SERVER["url"]:
        pytest.skip(f"{request.param} does not say where the WebUI is")


def ask(path, data=None):
    """(status, answer)"""
    body = None if data is None else json.dumps(data).encode()
    request = urllib.request.Request(SERVER["url"] + path, body, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=600) as reply:
            return reply.status, json.load(reply)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def draw(prompt):
    """The picture's hash, and its infotext, which in reForge goes on naming embeddings of earlier prompts."""
    status, answer = ask("/sdapi/v1/txt2img", {"prompt": prompt, "seed": 7, "steps": 4, "width": 64, "height": 64,
                                               "cfg_scale": 3, "sampler_name": "Euler", "save_images": False})
    assert status == 200, answer
    image = Image.open(io.BytesIO(base64.b64decode(answer["images"][0]))).convert("RGB")
    return hashlib.md5(image.tobytes()).hexdigest(), json.loads(answer["info"])["infotexts"][0]


def start(folder, word, steps, **more):
    return ask("/pivotal/v1/jobs", {"options": {
        "name": word, "dataset.folder": str(folder), "dataset.resolution": 64, "dataset.captions": "object",
        "embeddings.0.placeholder": word, "embeddings.0.token_count": 2, "embeddings.0.initial_text": "green",
        "length.steps": steps, "batch.size": 2, "optimizer.learning_rate": 0.05, "samples.every_steps": 0,
        "save.existing": "replace", **more}})


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


def train(folder, name, **more):
    """Trains a LoRA of two steps, or something else that `more` says; the files it wrote."""
    status, answer = ask("/pivotal/v1/jobs", {"options": {
        "name": name, "dataset.folder": str(folder), "dataset.resolution": 64, "dataset.captions": "object",
        "network.method": "lora", "network.rank": 4, "targets.learning_rate": 0.02, "targets.text_encoder_1": True,
        "targets.text_encoder_1_rate": 0.02, "length.steps": 2, "batch.size": 2, "samples.every_steps": 0,
        "save.existing": "replace", **more}})
    assert status == 200, answer
    job = finished()
    assert (job["state"], job["message"]) == ("finished", "")
    return [Path(file) for file in job["files"]]


def embedding(word):
    return {"embeddings.0.placeholder": word, "embeddings.0.token_count": 2, "embeddings.0.initial_text": "green",
            "embeddings.0.learning_rate": 0.05}


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("images"))


def test_the_tab_is_in_the_page():
    _, config = ask("/config")
    tabs = [part["props"].get("label") for part in config["components"] if part["type"] == "tabitem"]
    assert tabs.count("Pivotal") == 1


def test_a_trained_word_is_used_at_once_and_nothing_else_changes(images):
    word = f"zkhost{os.getpid()}"
    other, before = draw("an unrelated cat"), draw(f"a {word} circle")
    assert start(images, word, 5)[0] == 200
    job = finished()
    assert (job["state"], job["step"], job["message"]) == ("finished", 5, "")
    after = draw(f"a {word} circle")  # the same text as before: the host has it in its cache of encoded prompts
    assert after[0] != before[0]
    assert f'TI hashes: "{word}: ' in after[1]
    assert draw("an unrelated cat")[0] == other[0]
    start(images, word, 5, seed=99)
    assert finished()["state"] == "finished"
    assert draw(f"a {word} circle")[0] != after[0]


def test_a_lora_works_right_after_its_run_and_is_never_stale(images):
    name = f"zkhostnet{os.getpid()}"
    prompt = f"a circle<lora:{name}:1>"
    plain = draw("a circle")
    train(images, name)
    first = draw(prompt)
    assert first[0] != plain[0]
    assert f'Lora hashes: "{name}: ' in first[1]
    assert draw("a circle")[0] == plain[0]
    draw(prompt)  # the host has it in its layers when it is written anew
    train(images, name, seed=99)
    assert draw(prompt)[0] not in (first[0], plain[0])
    train(images, name)
    assert draw(prompt)[0] == first[0]
    assert draw("a circle")[0] == plain[0]


@pytest.mark.parametrize("method", ["loha", "lokr", "dylora", "oft", "boft", "ia3", "glora", "full"])
def test_every_method_is_read_by_the_host(images, method):
    if SERVER["variable"] == "PIVOTAL_REFORGE_URL" and method == "ia3":
        pytest.skip("its reader of networks, ComfyUI's, knows no IA3")
    name = f"zkhost{method}{os.getpid()}"
    plain = draw("a circle")
    train(images, name, **{"network.method": method})
    assert draw(f"a circle<lora:{name}:1>")[0] != plain[0]
    assert draw("a circle")[0] == plain[0]


def test_one_file_brings_the_network_and_the_word(images):
    name, word = f"zkhostpivot{os.getpid()}", f"zkhostword{os.getpid()}"
    prompt = f"a {word} circle"
    plain = draw(prompt)
    files = train(images, name, **embedding(word))
    assert [file.name for file in files if file.suffix == ".safetensors"] == [f"{name}.safetensors"]
    with_word, whole = draw(f"{prompt}<lora:{name}:0>"), draw(f"{prompt}<lora:{name}:1>")
    assert len({plain[0], with_word[0], whole[0]}) == 3
    assert f'TI hashes: "{word}: {name}' in whole[1]
    assert draw(prompt)[0] == plain[0]
    train(images, name, **embedding(word), seed=99)
    assert draw(f"{prompt}<lora:{name}:0>")[0] not in (plain[0], with_word[0])


def test_the_card_puts_tag_and_word_into_the_prompt(images):
    name, word = f"zkhostcard{os.getpid()}", f"zkhostcardword{os.getpid()}"
    train(images, name, **embedding(word), **{"samples.every_steps": 2, "samples.steps": 2, "samples.prompts": f"a {word}"})
    _, networks = ask("/sdapi/v1/loras")
    (listed,) = [network for network in networks if network["name"] == name]
    assert listed["alias"] == name
    _, card = ask(f"/sd_extra_networks/get-single-card?page=lora&tabname=txt2img&name={name}")
    assert f"<lora:{name}:" in html.unescape(html.unescape(card["html"]))
    assert word in card["html"]
    # The host looks for pictures when its Refresh button draws all cards anew; this is where it looks.
    assert Path(listed["path"]).with_suffix(".preview.png").is_file()


def test_a_generation_asked_for_during_a_run_waits_and_works(images):
    other, drawn = draw("an unrelated cat"), []
    start(images, "zkhostwait", 40)
    job_when(lambda job: job["step"] >= 1)
    asked = threading.Thread(target=lambda: drawn.append(draw("an unrelated cat")[0]))
    asked.start()
    status, count = ask("/pivotal/v1/tokens", {"text": "a red circle"})  # waits for nobody
    assert (status, count["count"], drawn) == (200, 3, [])
    assert finished()["state"] == "finished"
    asked.join(60)
    assert drawn == [other[0]]


def test_prompts_are_let_through_between_steps(images):
    name = f"zkhostlet{os.getpid()}"
    train(images, name)
    prompts = ["an unrelated cat", f"an unrelated cat<lora:{name}:1>", "an unrelated cat"]
    expected = [draw(prompt)[0] for prompt in prompts]
    start(images, "zkhostletthrough", 400, **{"sharing.let_prompts_through": True})
    job_when(lambda job: job["step"] >= 1)
    drawn = [draw(prompt)[0] for prompt in prompts]
    _, job = ask("/pivotal/v1/job")
    assert (job["state"], drawn) == ("running", expected)
    ask("/pivotal/v1/job/stop", {})
    assert finished()["state"] == "stopped"
    assert draw("an unrelated cat")[0] == expected[0]


def test_a_run_whose_checkpoint_is_replaced_ends_and_keeps_what_it_learned(images):
    _, options = ask("/sdapi/v1/options")
    _, listed = ask("/sdapi/v1/sd-models")
    chosen = options["sd_model_checkpoint"]
    other = next(one["title"] for one in listed if not one["title"].startswith(chosen.partition(" ")[0]))
    before = draw("an unrelated cat")
    start(images, "zkhostswitch", 2000, **{"sharing.let_prompts_through": True})
    job_when(lambda job: job["step"] >= 2)
    ask("/sdapi/v1/txt2img", {"prompt": "x", "steps": 1, "width": 64, "height": 64, "save_images": False,
                              "override_settings": {"sd_model_checkpoint": other}})
    job = finished()
    told = json.dumps(job["log"])
    assert "instead of" in told, job
    assert "keeps what it has learned" in told
    assert [Path(file).name for file in job["files"]] == ["zkhostswitch.safetensors"]
    assert draw("an unrelated cat")[0] == before[0]


@pytest.mark.parametrize("path", ["/pivotal/v1/job/stop", "/sdapi/v1/interrupt"])
def test_stopping_keeps_what_was_learned(images, path):
    start(images, "zkhoststop", 2000)
    job_when(lambda job: job["step"] >= 2)
    ask(path, {})
    job = finished()
    assert job["state"] == "stopped"
    assert 2 <= job["step"] < 2000
    assert [Path(file).name for file in job["files"]] == ["zkhoststop.safetensors"]
    assert "TI hashes" in draw("a zkhoststop circle")[1]


def test_a_missing_folder_is_told_under_its_option():
    status, answer = start("/nowhere/at/all", "zkhostbad", 5)
    assert status == 422
    assert "does not exist" in answer["problems"]["dataset.folder"]


def test_tokens_are_counted_as_recorded():
    if "clip_l" not in ask("/pivotal/v1/tokens", {"text": ""})[1]["encoders"]:
        pytest.skip("recorded with SD 1; open_clip's tokenizer, of SD 2, mends &amp; and <|endoftext|> otherwise")
    cases = json.loads(STRINGS.read_text("utf-8"))
    assert len(cases) >= 220
    for case in cases:
        _, answer = ask("/pivotal/v1/tokens", {"text": case["text"], "embeddings": VECTORS})
        assert (answer["count"], answer["limit"]) == (case["count"], case["limit"]), case["text"]
