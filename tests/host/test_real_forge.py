"""Drives a real Forge over HTTP, with Pivotal in its extensions folder and two checkpoints of one family.

    PIVOTAL_FORGE_URL=http://127.0.0.1:7860 python -m pytest -m host tests/host/test_real_forge.py

It must have been started with --api; the images folder must be one that it can read, so it runs on this machine.
"""

import os
import threading
from pathlib import Path

import pytest

from fake_host import write_dataset
from host.test_real_webui import SERVER, ask, draw, embedding, finished, job_when, start, train

pytestmark = pytest.mark.host


@pytest.fixture(scope="module", autouse=True)
def server():
    SERVER["url"] = os.environ.get("PIVOTAL_FORGE_URL", "").rstrip("/")
    if not SERVER["url"]:
        pytest.skip("PIVOTAL_FORGE_URL does not say where the WebUI is")


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("images"))


def test_the_tab_is_in_the_page_once():
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
    assert f"TI: {word}" in after[1]
    assert draw("an unrelated cat") == other
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
    assert draw("a circle") == plain
    draw(prompt)  # the host has it in its weights when it is trained and written anew
    train(images, name, seed=99)
    assert draw(prompt)[0] not in (first[0], plain[0])
    train(images, name)
    assert draw(prompt)[0] == first[0]
    assert draw("a circle") == plain


@pytest.mark.parametrize("method", ["loha", "lokr", "dylora", "glora", "full"])
def test_the_methods_that_the_host_knows_are_read(images, method):
    name = f"zkhost{method}{os.getpid()}"
    plain = draw("a circle")
    train(images, name, **{"network.method": method})
    assert draw(f"a circle<lora:{name}:1>")[0] != plain[0]
    assert draw("a circle") == plain


def test_one_file_brings_the_network_and_the_word(images):
    name, word = f"zkhostpivot{os.getpid()}", f"zkhostword{os.getpid()}"
    prompt = f"a {word} circle"
    plain = draw(prompt)
    files = train(images, name, **embedding(word))
    assert [file.name for file in files if file.suffix == ".safetensors"] == [f"{name}.safetensors"]
    with_word, whole = draw(f"{prompt}<lora:{name}:0>"), draw(f"{prompt}<lora:{name}:1>")
    assert len({plain[0], with_word[0], whole[0]}) == 3
    assert f"TI: {word}" in whole[1]
    assert draw(prompt) == plain
    train(images, name, **embedding(word), seed=99)
    assert draw(f"{prompt}<lora:{name}:0>")[0] not in (plain[0], with_word[0])


def test_a_generation_asked_for_during_a_run_waits_and_works(images):
    other, drawn = draw("an unrelated cat"), []
    start(images, "zkhostwait", 20)
    job_when(lambda job: job["step"] >= 1)
    asked = threading.Thread(target=lambda: drawn.append(draw("an unrelated cat")))
    asked.start()
    status, count = ask("/pivotal/v1/tokens", {"text": "a red circle"})  # waits for nobody
    assert (status, count["count"], drawn) == (200, 3, [])
    assert finished()["state"] == "finished"
    asked.join(60)
    assert drawn == [other]


def test_prompts_are_let_through_between_steps_and_another_checkpoint_ends_the_run(images):
    name = f"zkhostlet{os.getpid()}"
    train(images, name)
    expected = [draw("an unrelated cat"), draw(f"an unrelated cat<lora:{name}:1>"), draw("an unrelated cat")]
    start(images, "zkhostswitch", 2000, **{"sharing.let_prompts_through": True})
    job_when(lambda job: job["step"] >= 1)
    drawn = [draw("an unrelated cat"), draw(f"an unrelated cat<lora:{name}:1>"), draw("an unrelated cat")]
    _, job = ask("/pivotal/v1/job")
    assert (job["state"], drawn) == ("running", expected)
    _, options = ask("/sdapi/v1/options")
    _, listed = ask("/sdapi/v1/sd-models")
    others = [one["title"] for one in listed if options["sd_model_checkpoint"] not in (one["title"], Path(one["filename"]).name)]
    assert others, "the WebUI needs a second checkpoint of the same family"
    ask("/sdapi/v1/txt2img", {"prompt": "x", "steps": 1, "width": 64, "height": 64, "save_images": False,
                              "override_settings": {"sd_model_checkpoint": others[0]}})
    job = finished()
    assert "The run ends here and keeps what it has learned." in " ".join(map(str, job["log"]))
    assert [Path(file).name for file in job["files"]] == ["zkhostswitch.safetensors"]
    assert draw("an unrelated cat") == expected[0]


@pytest.mark.parametrize("path", ["/pivotal/v1/job/stop", "/sdapi/v1/interrupt"])
def test_stopping_keeps_what_was_learned(images, path):
    start(images, "zkhoststop", 2000)
    job_when(lambda job: job["step"] >= 2)
    ask(path, {})
    job = finished()
    assert job["state"] == "stopped"
    assert 2 <= job["step"] < 2000
    assert [Path(file).name for file in job["files"]] == ["zkhoststop.safetensors"]
    assert "TI: zkhoststop" in draw("a zkhoststop circle")[1]
