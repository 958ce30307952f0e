"""Finding an option, seeing what was changed, and setting it back, in a real browser."""

import pytest
from safetensors.torch import save_file

from tiny import tiny_tensors

from .conftest import WebUI, served

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def page(tmp_path_factory, open_page):
    folder = tmp_path_factory.mktemp("webui")
    save_file({name: tensor.contiguous() for name, tensor in tiny_tensors("sd1").items()}, folder / "tiny.safetensors")
    with served(folder / "data", "--checkpoint", str(folder / "tiny.safetensors")) as address:
        page = WebUI(address, folder, open_page).open_tab("Train")
        page.locator(".pivotal-row").first.wait_for()
        yield page


def box(page, key: str):
    return page.locator(f"#pivotal_{key.replace('.', '_')}_box")


def value(page, key: str) -> str:
    return page.locator(f"#pivotal_{key.replace('.', '_')} :is(textarea, input)").first.input_value()


def test_a_word_finds_the_option_and_a_click_unfolds_its_section(page, screenshot):
    page.locator(".pivotal-search").fill("snr")
    hits = page.locator(".pivotal-hit")
    hits.filter(has_text="Zero terminal SNR").wait_for()
    assert hits.filter(has_text="Loss").count() >= 1  # its help speaks of min-SNR
    assert not box(page, "objective.zero_terminal_snr").is_visible()
    screenshot(page, "hits")
    hits.filter(has_text="Zero terminal SNR").click()
    box(page, "objective.zero_terminal_snr").wait_for(state="visible")
    page.locator(".pivotal-search").fill("no such words")
    page.get_by_text("No option has such words.").wait_for()
    page.locator(".pivotal-search").press("Escape")
    page.locator(".pivotal-found").wait_for(state="hidden")


def test_what_differs_from_its_default_is_marked_and_can_be_set_back(page, screenshot):
    assert page.locator(".pivotal-changed").count() == 0
    field = page.locator("#pivotal_optimizer_learning_rate :is(textarea, input)").first
    field.fill("0.0050")  # the default, written otherwise
    page.locator("#pivotal_section_general").locator(":is(button, .label-wrap)").first.click()
    page.locator("#pivotal_seed :is(textarea, input)").first.fill("77")
    page.locator("#pivotal_seed_box.pivotal-changed").wait_for(state="attached")
    assert page.locator(".pivotal-changed").count() == 1
    assert page.locator("#pivotal_section_general .pivotal-count").inner_text() == "1 changed"
    screenshot(page, "changed")
    box(page, "seed").locator(".pivotal-reset").click()
    page.locator("#pivotal_seed_box.pivotal-changed").wait_for(state="detached")
    assert value(page, "seed") == "1"
    assert page.locator("#pivotal_section_general .pivotal-count").count() == 0


def test_an_option_without_effect_is_found_with_the_reason(page):
    page.locator(".pivotal-search").fill("lokr factor")
    page.locator(".pivotal-hit .pivotal-void", has_text="Has an effect only with Network: lokr.").wait_for()
    page.locator(".pivotal-search").fill("gradient checkpointing")
    page.locator(".pivotal-hit", has_text="Gradient checkpointing").first.wait_for()
    assert page.locator(".pivotal-hit", has_text="Gradient checkpointing").locator(".pivotal-void").count() == 0
    page.locator(".pivotal-search").press("Escape")
