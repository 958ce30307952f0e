"""Who may use the model when: prompts during a run, Stop and Interrupt, checkpoints that change under it."""

import threading
import time
from pathlib import Path

import pytest

from host.client import LORA, alike, embedding

pytestmark = pytest.mark.host
LET = {"sharing.let_prompts_through": True}


def names(job):
    return [Path(file).name for file in job["files"]]


def test_a_generation_asked_for_during_a_run_waits_and_works(webui, images, unrelated, word):
    drawn = []
    webui.begin(images, word, **embedding(word))
    webui.at_step(1)
    asked = threading.Thread(target=lambda: drawn.append(webui.draw("an unrelated cat")))
    asked.start()
    status, count = webui.ask("/pivotal/v1/tokens", {"text": "a red circle"})  # waits for nobody
    assert (status, count["count"]) == (200, 3)
    webui.at_step(webui.job()["step"] + 5)
    assert drawn == []
    assert webui.stop()["state"] == "stopped"
    asked.join(120)
    assert drawn == [unrelated]


def test_prompts_let_through_work_and_leave_what_is_trained_alone(webui, images, unrelated, word):
    webui.train(images, f"{word}net", **LORA)
    with_lora = webui.draw(f"a circle<lora:{word}net:1>")
    webui.train(images, word, **embedding(word), **{"length.steps": 60})
    undisturbed = webui.draw(f"a {word} circle")
    webui.start(images, word, **embedding(word), **LET, **{"length.steps": 60})
    webui.at_step(1)
    assert alike(webui.draw(f"a circle<lora:{word}net:1>"), with_lora)
    assert webui.draw("an unrelated cat") == unrelated
    assert webui.job()["state"] == "running"
    assert webui.finished()["state"] == "finished"
    assert webui.draw(f"a {word} circle") == undisturbed
    assert webui.draw("an unrelated cat") == unrelated


def test_another_checkpoint_ends_the_run_and_what_was_learned_is_kept(webui, images, unrelated, word):
    _, title = webui.other_checkpoint()
    webui.begin(images, word, **embedding(word), **LET)
    webui.at_step(2)
    webui.draw("x", override_settings={"sd_model_checkpoint": title})
    job = webui.finished()
    assert job["state"] in ("stopped", "finished")
    told = " ".join(job["log"])
    assert "to resume" in told  # and how
    assert "The run ends here and keeps what it has learned." in told
    assert names(job) == [f"{word}.safetensors"]
    assert alike(webui.draw("an unrelated cat"), unrelated)


@pytest.mark.parametrize("path", ["/pivotal/v1/job/stop", "/sdapi/v1/interrupt"])
def test_stopping_keeps_what_was_learned(webui, images, path, word):
    plain = webui.draw(f"a {word} circle")
    webui.begin(images, word, **embedding(word), seed=time.time_ns() % 10**6)
    webui.at_step(2)
    webui.ask(path, {})
    job = webui.finished()
    assert (job["state"], names(job)) == ("stopped", [f"{word}.safetensors"])
    assert webui.draw(f"a {word} circle") != plain


def test_a_checkpoint_unloaded_in_mid_run_takes_nothing_of_it_away(webui, images, unrelated, word):
    """The API takes no lock for that. Where the host lets go of the weights the run ends with a sentence; else it goes on."""
    webui.begin(images, word, **embedding(word))
    webui.at_step(2)
    assert webui.ask("/sdapi/v1/unload-checkpoint", {})[0] in (200, 204)
    time.sleep(1)
    job = webui.job()
    if job["state"] == "running":
        job = webui.stop()
    else:
        assert any("to resume" in line for line in job["log"])
    assert names(job) == [f"{word}.safetensors"]
    webui.ask("/sdapi/v1/reload-checkpoint", {})
    assert alike(webui.draw("an unrelated cat"), unrelated)


def test_a_run_while_no_checkpoint_is_loaded_works_or_says_so(webui, images, unrelated, word):
    webui.ask("/sdapi/v1/unload-checkpoint", {})
    status, answer = webui.start(images, word, **embedding(word))
    if status == 200:
        job = webui.finished()
        assert job["state"] == "finished" or "checkpoint" in job["message"], job
    else:
        assert "checkpoint" in answer["problems"]["checkpoint"]
    webui.ask("/sdapi/v1/reload-checkpoint", {})
    assert alike(webui.draw("an unrelated cat"), unrelated)


def test_a_run_on_another_checkpoint_leaves_the_chosen_one(webui, images, unrelated, word):
    other, _ = webui.other_checkpoint()
    chosen = webui.ask("/sdapi/v1/options")[1]["sd_model_checkpoint"]
    webui.train(images, word, **embedding(word), checkpoint=other)
    assert webui.ask("/sdapi/v1/options")[1]["sd_model_checkpoint"] == chosen
    assert alike(webui.draw("an unrelated cat"), unrelated)
