"""Between and beside the steps: a pause, a comparison, a measurement. The model is the WebUI's meanwhile or after."""

import time

import pytest

from host.client import embedding

pytestmark = pytest.mark.host
PATIENCE_S = 300


def test_a_pause_gives_the_model_back_and_changes_nothing(webui, images, unrelated, word):
    webui.train(images, word, **embedding(word), **{"length.steps": 60})
    undisturbed = webui.draw(f"a {word} circle")
    webui.start(images, word, **embedding(word), **{"length.steps": 60})
    webui.at_step(5)
    assert webui.ask("/pivotal/v1/job/pause", {})[0] == 200
    paused = webui.job_when(lambda job: job["state"] == "paused")
    assert 5 <= paused["step"] < 60
    assert webui.draw("an unrelated cat") == unrelated  # waits for nobody
    assert webui.ask("/pivotal/v1/job/resume", {})[0] == 200
    assert webui.finished()["state"] == "finished"
    assert webui.draw(f"a {word} circle") == undisturbed
    assert webui.draw("an unrelated cat") == unrelated


def test_a_comparison_draws_every_save_and_leaves_the_model_as_it_was(webui, images, unrelated, word):
    webui.train(images, word, **embedding(word), **{"length.steps": 20, "save.every_steps": 10})
    asked = {"run": word, "prompts": ["a {word} circle"], "size": 64, "steps": 2}
    assert webui.ask("/pivotal/v1/compare", asked)[0] == 200
    for _ in range(PATIENCE_S):
        found = webui.ask("/pivotal/v1/compare")[1]
        if found["state"] not in ("running", "stopping"):
            break
        time.sleep(1)
    drawn = [image for row in found["images"] for image in row if image]
    assert (found["state"], len(drawn)) == ("finished", 3), found  # without, step 10, the result
    assert webui.draw("an unrelated cat") == unrelated


def test_a_measurement_leaves_the_model_as_it_was(webui, images, unrelated, word):
    options = {"name": word, "dataset.folder": str(images), "dataset.resolution": 64, "dataset.captions": "object",
               **embedding(word), "length.steps": 500}
    status, told = webui.ask("/pivotal/v1/measure", {"options": options})
    assert status == 200, told
    assert told["measured"]["steps"][0][1] > 0
    assert webui.draw("an unrelated cat") == unrelated
    assert webui.ask("/pivotal/v1/host")[1]["checkpoint"] is not None
