"""Between and beside the steps: a pause, a comparison, a measurement. The model is the WebUI's meanwhile or after."""

import re
import time

import pytest

from fake_host import write_dataset
from host.client import embedding

pytestmark = pytest.mark.host
PATIENCE_S = 300
OWN_CAPTIONERS = ("BLIP", "WD14")


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


def test_the_hosts_own_progress_tells_how_far_a_run_is_and_its_interrupt_ends_it(webui, images, unrelated, word):
    """What its page's bar asks, and its API."""
    asked = {"id_task": "task(pivotal)", "id_live_preview": -1}
    webui.begin(images, word, **embedding(word), **{"length.steps": 1000})
    webui.at_step(15)
    told = webui.ask("/internal/progress", asked)[1]
    _, shown = webui.ask("/sdapi/v1/progress?skip_current_image=true")
    step, of = map(int, re.fullmatch(r"Pivotal: step (\d+) of (\d+)", told["textinfo"]).groups())
    assert (told["active"], of, shown["state"]["sampling_steps"], shown["state"]["job"]) == (True, 1000, 1000, "Pivotal training")
    assert 15 <= step <= shown["state"]["sampling_step"] <= webui.job()["step"] + 1
    assert abs(told["progress"] - step / 1000) < 0.02 and told["eta"] > 0
    webui.ask("/sdapi/v1/interrupt", {})
    assert webui.finished()["state"] == "stopped"
    assert not webui.ask("/internal/progress", asked)[1]["active"]
    assert webui.ask("/sdapi/v1/progress?skip_current_image=true")[1]["state"]["sampling_steps"] == 0
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


def test_the_hosts_own_captioners_write_or_say_why_not(webui, tmp_path, unrelated):
    """What they need is often not there; the failure must be told, and cost the image nothing."""
    folder = str(write_dataset(tmp_path / "one", 1))
    opened = webui.ask("/pivotal/v1/dataset/open", {"folder": folder})[1]
    old = (tmp_path / "one" / "00.txt").read_text("utf-8")
    for name in [name for name in opened["captioners"] if name not in OWN_CAPTIONERS]:
        status, answer = webui.ask("/pivotal/v1/dataset/captions", {"folder": opened["folder"], "captioner": name,
                                                                    "place": "replace"})
        assert status == 200, answer
        for _ in range(PATIENCE_S):
            work = webui.ask("/pivotal/v1/dataset/work")[1]
            if work["state"] not in ("running", "stopping"):
                break
            time.sleep(1)
        told = " ".join([work["message"], *work["troubles"]])
        caption = (tmp_path / "one" / "00.txt").read_text("utf-8")
        assert (caption != old) == (work["changed"] == 1) and (work["changed"] or "its own log has the reason" in told), work
        old = caption
    assert webui.draw("an unrelated cat") == unrelated
