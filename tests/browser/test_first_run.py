"""The first run of a new user, in a real browser: press Train on the demo, then prompt with the new word."""

import io
import re

import numpy as np
import pytest
from PIL import Image

from pivotal.ui.demo import demo_run

from .conftest import ROOT, WebUI, served, show_tab

pytestmark = pytest.mark.browser

MINUTES_3 = 180_000  # ms: the longest that the demo may take
TEAL = np.array((15, 150, 150))  # what the demo's images show (toy.concepts), and the checkpoint never saw
IMAGES, STEPS = 4, 12
# Measured: with the word the shape is nearer to teal than with the word's first value, green, by 60 to 90 RGB units.
LEAST_MOVE = 30
SHOWN = "Array.from(document.querySelectorAll('#txt2img_gallery .thumbnail-item img')).map(image => image.src)"


@pytest.fixture(scope="module")
def webui(tmp_path_factory, open_page):
    folder = tmp_path_factory.mktemp("first_run")
    with served(folder / "data") as address:
        yield WebUI(address, folder, open_page)


def generate(page, prompt: str) -> list[np.ndarray]:
    """Images of `prompt`, (64, 64, 3) 0..255, drawn by pressing Generate."""
    page.locator("#txt2img_prompt textarea").fill(prompt)
    page.locator("#txt2img_seed input").first.fill("1")
    for slider, value in (("batch_size", IMAGES), ("steps", STEPS)):
        number = page.locator(f"#txt2img_{slider} input[type=number]")
        number.fill(str(value))
        number.blur()
    shown = page.evaluate(SHOWN)
    page.locator("#txt2img_generate").click()
    page.wait_for_function(
        "prompt => document.querySelector('#html_info_txt2img').innerText.startsWith(prompt)", arg=prompt, timeout=MINUTES_3
    )
    info = page.locator("#html_info_txt2img").first
    assert info.inner_text().count(prompt) == IMAGES, info.inner_text()
    page.wait_for_function(f"([count, old]) => {SHOWN}.length === count && !old.includes({SHOWN}[0])", arg=[IMAGES, shown])
    addresses = page.evaluate(SHOWN)
    return [np.asarray(Image.open(io.BytesIO(page.request.get(address).body())).convert("RGB"), float) for address in addresses]


def distance_to_teal(images: list[np.ndarray]) -> float:
    """How far the shape's colour is from teal, RGB units: of each image the fifth of its pixels that is nearest counts."""
    nearest = [np.sort(np.linalg.norm(image.reshape(-1, 3) - TEAL, axis=1))[: image.size // 15] for image in images]
    return float(np.median(nearest))


def test_a_new_user_trains_the_demo_and_prompts_with_the_word(webui, screenshot):
    demo = demo_run()
    assert demo, "the demo dataset is part of the project"
    assert (ROOT / "extension" / "assets" / "toy.safetensors").is_file(), "the toy checkpoint is part of the project"
    word = demo["embeddings.0.placeholder"]
    prompt, other = f"a {word} circle on a white background", "a red square on a black background"

    page = webui.open_tab("txt2img")
    before, unrelated = generate(page, prompt), generate(page, other)
    screenshot(page, "1_before")

    show_tab(page, "Train")
    page.locator(".pivotal-row").first.wait_for()
    screenshot(page, "2_form")
    page.locator("#pivotal_start").click()
    page.locator(".pivotal-badge.pivotal-running").wait_for()
    step = "Number((/step (\\d+)/.exec(document.querySelector('.pivotal-phase').innerText) || [])[1])"
    page.wait_for_function(f"{step} >= 1", timeout=60_000)
    first = page.evaluate(step)
    page.locator(".pivotal-chart").wait_for(timeout=60_000)
    page.wait_for_function(f"{step} > {first}", timeout=60_000)
    screenshot(page, "3_running")
    page.locator(".pivotal-badge.pivotal-finished, .pivotal-badge.pivotal-failed").wait_for(timeout=MINUTES_3)
    screenshot(page, "4_finished")
    assert page.locator(".pivotal-badge").inner_text() == "Finished", page.locator("#pivotal_progress").first.inner_text()
    assert page.locator(".pivotal-word").first.inner_text() == word
    assert re.search(rf"step {demo['length.steps']} of", page.locator(".pivotal-phase").inner_text())
    page.wait_for_function("Array.from(document.querySelectorAll('.pivotal-newest img')).every(i => i.naturalWidth > 0)")
    assert page.locator(".pivotal-newest img").count() == len(demo["samples.prompts"])

    show_tab(page, "txt2img")
    after, without = generate(page, prompt), generate(page, prompt.replace(word, demo["embeddings.0.initial_text"]))
    screenshot(page, "5_without_the_word")
    again = generate(page, other)
    moved = distance_to_teal(without) - distance_to_teal(after)
    assert moved > LEAST_MOVE, f"{distance_to_teal(before)=:.0f} {distance_to_teal(without)=:.0f} {distance_to_teal(after)=:.0f}"
    assert distance_to_teal(after) < distance_to_teal(before)
    assert all(np.array_equal(a, b) for a, b in zip(unrelated, again, strict=True)), "the model was not given back as it was"
    generate(page, prompt)
    screenshot(page, "6_with_the_word")
