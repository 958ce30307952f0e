"""A run outlives the page: Reload UI, a closed browser; and its state outlives the process."""

import re
import time
from pathlib import Path

import pytest
from safetensors import safe_open

from host.client import alike, embedding

pytestmark = pytest.mark.host
RELOADS = 20
PAGE_MS = 300_000  # SD.Next's page has 9350 components, 10 MB of them


def reloaded(webui):
    """Asks for a new page, and waits until it is there.

    By a file, not by asking: AUTOMATIC1111 1.10.1 with --api ends with "Cannot add middleware after an application has
    started" when its new page gets a request before that page has its API (webui.py, create_api).
    """
    starts = Path(webui.probe("registered")["starts"])
    before = starts.stat().st_size
    webui.probe("reload", {})
    until = time.monotonic() + 120
    while starts.stat().st_size == before:
        assert time.monotonic() < until, "the page did not come back"
        time.sleep(0.1)
    return webui.probe("registered")


def test_twenty_reloads_of_the_page_leave_the_run_one_tab_and_no_second_callback(inside, images, unrelated, word):
    before = inside.probe("registered")
    if not before["can_reload"]:
        pytest.skip("it has no Reload UI: its Restart is a new process")
    assert before["callbacks"]
    inside.begin(images, word, **embedding(word))
    job = inside.at_step(1)
    for _ in range(RELOADS):
        after = reloaded(inside)
    assert after["callbacks"] == before["callbacks"]
    assert after["threads"].count("pivotal-train") == 1
    now = inside.job()
    assert (now["id"], now["state"]) == (job["id"], "running")
    assert now["step"] > job["step"]
    _, config = inside.ask("/config")
    tabs = [part["props"].get("label") for part in config["components"] if part["type"] == "tabitem"]
    assert tabs.count("Pivotal") == 1
    assert inside.stop()["state"] == "stopped"
    assert inside.draw("an unrelated cat") == unrelated
    inside.train(images, word, **embedding(word))


@pytest.mark.browser
def test_a_run_started_in_a_page_that_is_closed_goes_on_and_is_found_again(webui, images, browser, word):
    page = open_tab(browser, webui.server.address)
    for key, value in {"name": word, "dataset.folder": str(images), "embeddings.0.placeholder": "zkteal",  # in its captions
                       "length.steps": "100000", "samples.every_steps": "0", "dataset.resolution": "64"}.items():
        fill(page, key, value)
    page.locator("#pivotal_start").click()
    page.locator("#pivotal_progress .pivotal-badge.pivotal-running").wait_for()
    step = webui.at_step(2)["step"]
    page.close()
    job = webui.at_step(step + 20)
    assert job["name"] == word
    again = open_tab(browser, webui.server.address)
    again.locator("#pivotal_progress .pivotal-badge.pivotal-running").wait_for()
    assert again.locator("#pivotal_progress .pivotal-name").inner_text() == word
    # The host's own bar: over txt2img's gallery, or SD.Next's button there.
    bar = again.locator(".progressDiv, #txt2img_generate:has-text('Pivotal training')").first
    bar.wait_for(state="attached")
    again.locator("#pivotal_stop").click()
    again.locator("#pivotal_progress .pivotal-badge.pivotal-stopped").wait_for()
    assert webui.job()["state"] == "stopped"
    bar.wait_for(state="detached", timeout=30_000)  # the host leaves an empty one for 40 s to a task that is none
    again.close()


def open_tab(browser, address):
    page = browser.new_page()
    page.set_default_timeout(PAGE_MS)
    page.goto(address)
    page.locator(":is([role=tab], .tab-nav > button)").filter(has_text="Pivotal").first.click()
    page.locator(".pivotal-row").first.wait_for()
    return page


def fill(page, key, value):
    """Types into an option's field, in whichever section it is."""
    field = page.locator(f"#pivotal_{key.replace('.', '_')} :is(textarea, input)").first
    if not field.is_visible():
        section = field.locator("xpath=ancestor::*[starts-with(@id, 'pivotal_section_')][1]")
        section.locator(":is(button, .label-wrap)").first.click()
    field.fill(value)


def test_a_killed_webui_leaves_whole_files_and_a_state_that_resumes(ours, images, unrelated, word):
    every = {"save.every_steps": 5, "save.state_every_steps": 5}
    ours.begin(images, word, **embedding(word), **every)
    step = ours.at_step(12)["step"]
    folders = ours.about()["folders"]
    ours.server.kill()
    found = [path for folder in folders.values() for path in Path(folder).rglob(f"{word}*")]
    written = [path for path in found if path.suffix == ".safetensors"]
    assert written
    assert [path for path in found if path.is_file() and "tmp" in path.suffix] == []
    for path in written:
        with safe_open(str(path), "pt") as file:
            assert all(file.get_tensor(key).isfinite().all() for key in file.keys())
    ours.server.start()
    ours.warm_up()
    assert alike(ours.draw("an unrelated cat"), unrelated)
    status, answer = ours.start(images, word, resume=True, **embedding(word), **every, **{"length.steps": 100_000})
    assert status == 200, answer
    first = next(int(found[1]) for line in ours.at_step(1)["log"] if (found := re.search(r"resumed at step (\d+)", line)))
    assert first >= step - 5
    ours.at_step(first + 10)
    assert ours.stop()["state"] == "stopped"
    assert alike(ours.draw("an unrelated cat"), unrelated)
