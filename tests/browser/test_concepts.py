"""The table of concepts in a section of its own, and the plan of a run, in a real browser."""

import json

import pytest
from safetensors.torch import save_file

from fake_host import write_dataset
from tiny import tiny_tensors

from .conftest import WebUI, served

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def webui(tmp_path_factory, open_page):
    folder = tmp_path_factory.mktemp("webui")
    save_file({name: tensor.contiguous() for name, tensor in tiny_tensors("sd1").items()}, folder / "tiny.safetensors")
    write_dataset(folder / "images", 4)
    write_dataset(folder / "others", 6, word="ball")
    with served(folder / "data", "--checkpoint", str(folder / "tiny.safetensors")) as address:
        yield WebUI(address, folder, open_page)


def fill(page, key: str, text: str) -> None:
    page.locator(f"#pivotal_{key.replace('.', '_')} :is(textarea, input)").first.fill(text)


def unfold(page, section: str) -> None:
    page.locator(f"#pivotal_section_{section}").locator(":is(button, .label-wrap)").first.click()


def test_concepts_are_added_in_their_section_and_the_run_tells_its_plan(webui, screenshot):
    page = webui.open_tab("Train")
    page.locator(".pivotal-row").first.wait_for()
    unfold(page, "concepts")
    assert json.loads(page.locator("#pivotal_concepts textarea").input_value()) == []
    assert page.locator("#pivotal_concepts_editor .pivotal-row").count() == 0
    page.locator("#pivotal_concepts_editor").get_by_text("Add concept").click()
    page.locator("#pivotal_concepts_editor .pivotal-row").first.wait_for()
    fill(page, "concepts.0.folder", str(webui.data / "others"))
    page.locator("#pivotal_concepts_0_kind select").select_option("regularization")
    screenshot(page, "row")
    fill(page, "name", "planned")
    fill(page, "dataset.folder", str(webui.data / "images"))
    fill(page, "embeddings.0.placeholder", "zkteal")
    fill(page, "samples.every_steps", "0")
    fill(page, "length.steps", "3")
    unfold(page, "dataset")
    fill(page, "dataset.resolution", "64")
    page.locator("#pivotal_start").click()
    plan = page.locator(".pivotal-part-plan")
    plan.get_by_text("8 images an epoch / batch 4 / accumulation 1 = 2 steps an epoch; 3 steps are 1.5 epochs").wait_for()
    plan.locator("summary").click()
    assert "others (regularization): 6 images, 4 an epoch" in plan.inner_text()
    page.locator("#pivotal_progress .pivotal-badge:is(.pivotal-finished, .pivotal-failed)").wait_for(timeout=180_000)
    progress = page.locator("#pivotal_progress").first
    assert "Finished" in progress.inner_text(), progress.inner_text()
    screenshot(page, "plan")
    page.close()
