"""The table of concepts in a section of its own, and the plan of a run, in a real browser."""

import json

import pytest

from fake_host import write_dataset

from .conftest import fill, unfold, wait_until, write

pytestmark = pytest.mark.browser


def test_concepts_are_added_in_their_section_and_the_run_tells_its_plan(webui, screenshot):
    images = write_dataset(webui.data / "images", 4, word="zkplan")
    others = write_dataset(webui.data / "others", 6, word="ball")
    page = webui.open_tab("Train")
    page.locator(".pivotal-row").first.wait_for()
    unfold(page, "concepts")
    assert json.loads(page.locator("#pivotal_concepts textarea").input_value()) == []
    assert page.locator("#pivotal_concepts_editor .pivotal-row").count() == 0
    page.locator("#pivotal_concepts_editor").get_by_text("Add concept").click()
    page.locator("#pivotal_concepts_editor .pivotal-row").first.wait_for()
    fill(page, "concepts.0.folder", str(others))
    page.locator("#pivotal_concepts_0_kind select").select_option("regularization")
    screenshot(page, "row")
    fill(page, "name", "planned")
    fill(page, "dataset.folder", str(images))
    fill(page, "embeddings.0.placeholder", "zkplan")
    fill(page, "samples.every_steps", "0")
    fill(page, "length.steps", "3")
    unfold(page, "dataset")
    fill(page, "dataset.resolution", "64")
    page.locator("#pivotal_start").click()
    plan = page.locator(".pivotal-part-plan")
    plan.get_by_text("8 images an epoch / batch 4 / accumulation 1 = 2 steps an epoch; 3 steps are 1.5 epochs").wait_for()
    plan.locator("summary").click()
    assert "others (regularization): 6 images, 4 an epoch" in plan.inner_text()
    page.locator("#pivotal_progress .pivotal-badge:is(.pivotal-finished, .pivotal-failed)").wait_for()
    progress = page.locator("#pivotal_progress").first
    assert "Finished" in progress.inner_text(), progress.inner_text()
    screenshot(page, "plan")
    page.close()


def test_samples_are_lines_and_rows_of_a_table_at_once(webui, screenshot):
    page = webui.open_tab("Train")
    box = page.locator("#pivotal_samples_prompts textarea")
    write(box, "a cat --n dark --W 640 --ss k_euler_a\n# a dog --s 7\n--n")
    box.press("Control+Home")
    page.locator("#pivotal_samples_prompts .pivotal-tokens-line").get_by_text("2/75").wait_for()  # flags are no words
    page.locator("#pivotal_samples_prompts_table summary").click()
    rows = page.locator("#pivotal_samples_prompts_table .pivotal-row")
    wait_until(page, "document.querySelectorAll('#pivotal_samples_prompts_table .pivotal-row').length === 3")

    def cell(row: int | str, name: str):
        return page.locator(f"#pivotal_samples_prompts_{row}_{name} :is(input, select)")

    shown = [cell(0, name).input_value() for name in ("prompt", "negative", "width", "height", "sampler")]
    assert shown == ["a cat", "dark", "640", "", "Euler a"]
    assert cell("off1", "steps").input_value() == "7" and not rows.nth(1).locator(".pivotal-in-use input").is_checked()
    cell(0, "height").fill("512")
    cell(0, "sampler").select_option("as the run")
    rows.nth(1).locator(".pivotal-in-use input").click()
    assert box.input_value() == "a cat --n dark --w 640 --h 512\na dog --s 7\n--n"  # the last: nothing, whatever the run has
    rows.nth(1).locator(".pivotal-duplicate").click()
    rows.nth(3).locator(".pivotal-remove").click()
    cell(2, "prompt").fill("a bird --d 5")  # flags that are typed go to their fields once the field is left
    cell(2, "prompt").blur()
    wait_until(page, "document.querySelector('#pivotal_samples_prompts_2_seed input').value === '5'")
    assert cell(2, "prompt").input_value() == "a bird"
    page.locator("#pivotal_samples_prompts_table").get_by_text("Add sample").click()
    cell(3, "prompt").fill("last")
    assert box.input_value().splitlines()[2:] == ["a bird --d 5 --s 7", "last"]
    screenshot(page, "table")
    page.close()
