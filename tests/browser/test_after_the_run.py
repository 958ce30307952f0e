"""After a run, in a real browser on a tiny checkpoint: try its prompt, compare its saves, keep one of them."""

import pytest

from fake_host import write_dataset
from pivotal.formats.header import hashes_of

from .conftest import show_tab, wait_until, write

pytestmark = pytest.mark.browser


def run(webui) -> None:
    """Three steps with a copy after the first and the second, started by the API."""
    options = {"name": "pair é&b", "dataset": {"folder": str(webui.data / "images"), "resolution": "64", "captions": "object"},
               "embeddings": [{"placeholder": "zkpair", "token_count": 2, "initial_text": "green"}],
               "network": {"method": "lora", "rank": 4}, "targets": {"learning_rate": 0.02},
               "optimizer": {"learning_rate": 0.05}, "length": {"steps": 3}, "batch": {"size": 1}, "measure": {"images": 0},
               "save": {"every_steps": 1}, "samples": {"every_steps": 3, "steps": 2,
                                                       "prompts": ["a zkpair circle --w 64 --h 64", "a zkpair square"]}}
    write_dataset(webui.data / "images", 3)
    webui.ask("jobs", {"options": options})


def posts(page, address: str):
    """Waits for the answer to the next post there."""
    return page.expect_response(lambda reply: reply.request.method == "POST" and reply.url.endswith(address))


def test_a_result_is_tried_compared_and_one_save_kept(webui, screenshot):
    run(webui)
    page = webui.open_tab("Train")
    card = page.locator(".pivotal-result").first
    card.wait_for()
    wait_until(page, "document.querySelector('.pivotal-result-picture img').naturalWidth > 0")
    screenshot(page, "1_card")
    loras = webui.home / "models" / "Lora"
    result = next(path for path in loras.glob("pair*.safetensors") if "-0" not in path.name)
    assert page.locator(".pivotal-hash").first.inner_text() == hashes_of(result).tensors[:12]
    tagged = f"<lora:{result.stem}:1> a zkpair circle"
    assert card.locator("code").inner_text() == tagged

    card.locator("[data-pivotal-try]").click()
    box = page.locator("#txt2img_prompt textarea")
    box.wait_for()
    wait_until(page, "document.querySelector('#txt2img_prompt textarea').value === arg", tagged)
    steps = page.locator("#txt2img_steps input[type=number]")
    steps.fill("2")
    steps.blur()
    page.locator("#txt2img_generate").click()
    wait_until(page, "document.querySelector('#html_info_txt2img').innerText.startsWith(arg)", tagged)
    screenshot(page, "2_tried")

    show_tab(page, "Train")
    with posts(page, "/compare"):
        card.locator("[data-pivotal-post=compare]").click()
    page.locator(".pivotal-compare").wait_for()
    page.locator("#pivotal_compare .pivotal-finished").wait_for()
    images = page.locator(".pivotal-compare tbody img")
    images.nth(7).wait_for()
    assert images.count() == 4 * 2, "without, two copies and the result, two prompts"
    wait_until(page, "Array.from(document.querySelectorAll('.pivotal-compare img')).every(i => i.naturalWidth > 0)")
    heads = page.locator(".pivotal-compare tbody th > div:first-child").all_inner_texts()
    assert heads == ["without", "step 1", "step 2", "result (step 3)"]
    screenshot(page, "3_grid")

    images.nth(2).click()
    overlay = page.locator("#pivotal_overlay")
    caption = overlay.locator(".pivotal-overlay-caption")
    assert caption.inner_text().startswith("step 1: a zkpair circle")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    assert caption.inner_text().startswith("step 2: a zkpair square")
    overlay.get_by_role("button", name="Compare").click()
    assert caption.inner_text().startswith("without: a zkpair square")
    screenshot(page, "4_enlarged")
    page.keyboard.press("Escape")
    overlay.wait_for(state="detached")

    page.once("dialog", lambda dialog: dialog.accept())
    with posts(page, "/compare/keep") as answer:
        page.locator(".pivotal-compare tbody tr").nth(2).locator("[data-pivotal-post='compare/keep']").click()
    assert answer.value.ok, answer.value.text()
    page.locator("#pivotal_compare").get_by_text("3 files are put away").wait_for()
    page.locator(".pivotal-compare").get_by_text("put away").nth(1).wait_for()  # the grid is drawn anew after the answer
    assert page.locator(".pivotal-compare").get_by_text("put away").count() == 2
    screenshot(page, "5_kept")
    assert [path.name for path in loras.glob("pair*.safetensors")] == [result.name]


def test_files_are_found_added_and_compared(webui, screenshot):
    page = webui.open_tab("Train")
    show_tab(page, "Compare")
    page.locator(".pivotal-chips button").first.wait_for()
    write(page.locator("[data-pivotal-ask=find]"), "pair")
    page.locator(".pivotal-chips button").first.click()
    assert page.locator("textarea[name=files]").input_value().startswith("pair")
    page.locator("textarea[name=prompts]").fill("a {word} circle")
    page.locator("input[name=strengths]").fill("0.5, strong")
    with posts(page, "/compare") as answer:
        page.locator("#pivotal_compare_form [data-pivotal-post=compare]").click()
    assert answer.value.status == 422
    page.locator("#pivotal_compare_form .pivotal-told").get_by_text("'strong'").wait_for()
    screenshot(page, "1_refused")
    page.locator("#pivotal_compare_form .pivotal-fold > summary").click()
    for name, text in (("strengths", "0.5, 1"), ("steps", "2"), ("seeds", "3, 4"), ("size", "64")):
        page.locator(f"#pivotal_compare_form input[name={name}]").fill(text)
    with posts(page, "/compare"):
        page.locator("#pivotal_compare_form [data-pivotal-post=compare]").click()
    wait_until(page, "document.querySelectorAll('.pivotal-compare tbody img').length === 8")
    page.locator("#pivotal_compare .pivotal-finished").wait_for()
    screenshot(page, "2_grid")
