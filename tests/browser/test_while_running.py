"""A run under a user's eyes: paused and resumed, watched from two pages, its samples enlarged and compared, discarded."""

from __future__ import annotations

import re

import pytest

from fake_host import write_dataset

from .conftest import show_tab, wait_until, write

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module", autouse=True)
def _images(webui):
    write_dataset(webui.data / "images", 4, word="zkwatched")


@pytest.fixture
def page(webui):
    page = webui.open_tab("Train")
    page.locator(".pivotal-row").first.wait_for()
    yield page
    webui.ask("job/stop", {})
    page.locator("#pivotal_progress .pivotal-badge:is(.pivotal-stopped, .pivotal-finished)").wait_for()
    page.close()


def start(webui, **more):
    options = {"name": "watched", "dataset": {"folder": str(webui.data / "images"), "resolution": 64}, "batch": {"size": 1},
               "length": {"steps": 100_000}, "measure": {"images": 0},
               "embeddings": [{"placeholder": "zkwatched", "token_count": 2, "initial_text": "green"}],
               "samples": {"every_steps": 0, "steps": 1, "size": 64, "prompts": ["a zkwatched <b>cat</b>", "a dog 🐶"]}}
    return webui.ask("jobs", {"options": options | more})["id"]


def step_shown(page):
    return int(re.search(r"step (\d+)", page.locator("#pivotal_progress .pivotal-phase").inner_text())[1])


def wait_for_steps(page, more=1):
    wait_until(page, "/step [1-9]/.test(document.querySelector('#pivotal_progress .pivotal-phase').innerText)")
    now = step_shown(page)
    step = "(/step (\\d+)/.exec(document.querySelector('#pivotal_progress .pivotal-phase').innerText) || [])[1]"
    wait_until(page, f"Number({step}) >= {now + more}")


def generate(page):
    show_tab(page, "txt2img")
    write(page.locator("#txt2img_prompt textarea"), "a green cat")
    number = page.locator("#txt2img_steps input[type=number]")
    number.fill("2")
    number.blur()
    page.locator("#txt2img_generate").click()
    wait_until(page, "document.querySelector('#html_info_txt2img').innerText.startsWith('a green cat')")
    show_tab(page, "Train")


def test_a_run_of_the_api_is_paused_in_the_page_prompted_meanwhile_and_resumed_by_the_api(webui, page, screenshot):
    start(webui)
    page.locator("#pivotal_progress .pivotal-badge.pivotal-running").wait_for()
    wait_for_steps(page)
    page.locator("#pivotal_pause").click()
    page.locator("#pivotal_progress .pivotal-badge.pivotal-paused").wait_for()
    assert page.locator("#pivotal_pause").inner_text() == "Resume"
    paused = step_shown(page)
    screenshot(page, "paused")
    generate(page)  # would wait for ever if the run still had the model
    assert step_shown(page) == paused
    other = webui.open_tab("Train")  # a page opened later shows all of it
    other.locator("#pivotal_progress .pivotal-badge.pivotal-paused").wait_for()
    other.locator("svg.pivotal-chart polyline").first.wait_for()
    webui.ask("job/resume", {})
    for each in (page, other):
        each.locator("#pivotal_progress .pivotal-badge.pivotal-running").wait_for()
    wait_for_steps(page, 5)
    assert step_shown(page) > paused
    other.locator("#pivotal_stop").click()
    page.locator("#pivotal_progress .pivotal-badge.pivotal-stopped").wait_for()
    assert (webui.home / "embeddings" / "zkwatched.safetensors").is_file()
    other.close()


def test_a_run_is_discarded_after_a_question(webui, page):
    folder = webui.home / "embeddings"
    before = {path.name: path.read_bytes() for path in folder.glob("*.safetensors")}
    start(webui, save={"every_steps": 5})
    page.locator("#pivotal_progress .pivotal-badge.pivotal-running").wait_for()
    wait_for_steps(page, 6)
    asked = []
    page.once("dialog", lambda dialog: asked.append(dialog.message) or dialog.dismiss())
    page.locator("#pivotal_discard").click()
    wait_for_steps(page, 2)  # it goes on
    page.once("dialog", lambda dialog: asked.append(dialog.message) or dialog.accept())
    page.locator("#pivotal_discard").click()
    page.locator("#pivotal_progress .pivotal-badge.pivotal-stopped").wait_for()
    assert len(asked) == 2 and "delete" in asked[0]
    page.locator("#pivotal_progress").get_by_text("Discarded: ").first.wait_for()
    assert {path.name: path.read_bytes() for path in folder.glob("*.safetensors")} == before


@pytest.mark.once
def test_samples_are_enlarged_compared_pinned_and_filtered(webui, page, screenshot):
    start(webui, length={"steps": 6}, samples={"every_steps": 2, "steps": 1, "size": 64,
                                               "prompts": ["a zkwatched <b>cat</b>", "a dog 🐶"]})
    page.locator("#pivotal_progress .pivotal-badge.pivotal-finished").wait_for()
    wait_until(page, "document.querySelectorAll('#pivotal_samples .pivotal-samples tbody tr').length === 3")
    assert [text.strip() for text in page.locator(".pivotal-newest figcaption").all_inner_texts()] == [
        "a zkwatched <b>cat</b>", "a dog 🐶"]
    screenshot(page, "samples")
    page.locator(".pivotal-newest a").first.click()
    caption = page.locator(".pivotal-overlay-caption")
    assert caption.inner_text() == "step 6: a zkwatched <b>cat</b>"
    for key, text in (("ArrowLeft", "step 4: a zkwatched <b>cat</b>"), ("ArrowDown", "step 4: a dog 🐶"),
                      ("ArrowDown", "step 4: a dog 🐶"), ("ArrowRight", "step 6: a dog 🐶"),
                      ("ArrowUp", "step 6: a zkwatched <b>cat</b>")):
        page.keyboard.press(key)
        assert caption.inner_text() == text, key
    wait_until(page, "document.querySelector('.pivotal-pair img').naturalWidth === 64")
    page.locator("#pivotal_overlay").get_by_role("button", name="Compare").click()
    assert caption.inner_text() == "before training: a zkwatched <b>cat</b> | step 6: a zkwatched <b>cat</b>"
    page.locator(".pivotal-divide").fill("25")
    assert page.locator(".pivotal-above").evaluate("image => image.style.clipPath") == "inset(0px 75% 0px 0px)"
    screenshot(page, "compared")
    page.locator("#pivotal_overlay").get_by_role("button", name="Pin").click()
    page.keyboard.press("Escape")
    page.locator("#pivotal_overlay").wait_for(state="detached")
    page.locator(".pivotal-pin img").wait_for()
    page.locator(".pivotal-samples-head select").select_option("1")
    wait_until(page, "document.querySelectorAll('.pivotal-newest img').length === 1")
    assert page.locator(".pivotal-newest figcaption").inner_text() == "a dog 🐶"
    page.reload()
    show_tab(page, "Train")
    page.locator(".pivotal-pin img").wait_for()
    assert page.locator(".pivotal-pin figcaption").inner_text() == "Pinned, step 6: a zkwatched <b>cat</b>"


@pytest.mark.once
def test_the_charts_say_their_values_and_folds_stay_as_they_were_set(webui, page, screenshot):
    start(webui)
    page.locator("#pivotal_progress .pivotal-badge.pivotal-running").wait_for()
    page.locator("#pivotal_progress svg polyline").first.wait_for()
    wait_for_steps(page, 3)
    page.locator("details[data-fold=vectors] > summary").click()
    page.locator("details[data-fold='Learning rates'] > summary").click()
    page.locator(".pivotal-scale input").check()
    page.locator("svg[data-log]").first.wait_for()
    wait_for_steps(page, 20)
    page.wait_for_timeout(1500)
    assert page.locator("details[data-fold=vectors]").evaluate("fold => fold.open")
    assert page.locator(".pivotal-table tbody tr").count() == 2
    assert page.locator(".pivotal-scale input").is_checked()
    screenshot(page, "charts")
    chart = page.locator("#pivotal_progress .pivotal-part-chart svg")
    chart.hover()
    page.locator("#pivotal_tip").wait_for()
    assert re.match(r"step \d+\nloss [\d.e-]+\nsmoothed [\d.e-]+$", page.locator("#pivotal_tip").inner_text())


def test_on_a_narrow_page_the_run_comes_before_the_form_and_nothing_jumps(webui, page, screenshot):
    page.set_viewport_size({"width": 800, "height": 1000})
    start(webui)
    page.locator("#pivotal_progress .pivotal-badge.pivotal-running").wait_for()
    wait_for_steps(page, 3)
    heights = page.evaluate("""async () => {
        const chart = () => document.querySelector('#pivotal_progress .pivotal-part-chart');
        const seen = new Set();
        for (let index = 0; index < 25; index++) {
            seen.add(Math.round(chart().getBoundingClientRect().top + scrollY));
            await new Promise(next => setTimeout(next, 100));
        }
        return Array.from(seen);
    }""")
    assert len(heights) == 1, heights
    top = "element => element.getBoundingClientRect().top + scrollY"
    assert page.locator("#pivotal_progress").first.evaluate(top) < page.locator("#pivotal_name").first.evaluate(top)
    page.evaluate("window.scrollTo(0, 600)")
    page.wait_for_timeout(300)
    box = page.locator("#pivotal_start").bounding_box()
    assert box["y"] >= 0 and box["y"] + box["height"] <= 1000 and box["x"] + box["width"] <= 800, box
    screenshot(page, "narrow")
