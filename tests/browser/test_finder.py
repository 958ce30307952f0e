"""Finding an option, seeing what was changed, and setting it back, in a real browser."""

import pytest

from .conftest import field_of, fill, unfold, wait_until, write

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def page(webui):
    page = webui.open_tab("Train")
    page.locator(".pivotal-row").first.wait_for()
    return page


def box(page, key: str):
    return page.locator(f"#pivotal_{key.replace('.', '_')}_box")


def value(page, key: str) -> str:
    return field_of(page, key).input_value()


def test_a_word_finds_the_option_and_a_click_unfolds_its_section(page, screenshot):
    write(page.locator(".pivotal-search"), "snr")
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


def test_a_field_tells_its_key_values_default_and_source(page):
    wait_until(page, "document.querySelector('#pivotal_optimizer_learning_rate_box').title")
    assert box(page, "optimizer.learning_rate").get_attribute("title").splitlines()[0] == "optimizer.learning_rate"
    assert "Default: " in box(page, "length.steps").get_attribute("title")


def test_what_differs_from_its_default_is_marked_and_can_be_set_back(page, screenshot):
    assert page.locator(".pivotal-changed").count() == 0
    fill(page, "optimizer.learning_rate", "0.0050")  # the default, written otherwise
    unfold(page, "general")
    fill(page, "seed", "77")
    page.locator("#pivotal_seed_box.pivotal-changed").wait_for(state="attached")
    assert page.locator(".pivotal-changed").count() == 1
    assert page.locator("#pivotal_section_general .pivotal-count").inner_text() == "1 changed"
    screenshot(page, "changed")
    box(page, "seed").locator(".pivotal-reset").click()
    page.locator("#pivotal_seed_box.pivotal-changed").wait_for(state="detached")
    assert value(page, "seed") == "1"
    assert page.locator("#pivotal_section_general .pivotal-count").count() == 0


def test_a_field_without_effect_is_grey_and_says_why(page, screenshot):
    steps = box(page, "length.steps")
    assert steps.locator(".pivotal-reason").count() == 0
    unfold(page, "length")
    fill(page, "length.epochs", "3")
    steps.locator(".pivotal-reason", has_text="The length is given in epochs.").wait_for()
    assert float(steps.locator(":scope > :first-child").evaluate("field => getComputedStyle(field).opacity")) < 1
    screenshot(page, "grey")
    fill(page, "length.epochs", "")
    steps.locator(".pivotal-reason").wait_for(state="detached")
    assert steps.locator(":scope > :first-child").evaluate("field => getComputedStyle(field).opacity") == "1"


def test_an_option_without_effect_is_found_with_the_reason(page):
    page.locator(".pivotal-search").fill("lokr factor")
    page.locator(".pivotal-hit .pivotal-void", has_text="Has an effect only with Network: lokr.").wait_for()
    page.locator(".pivotal-search").fill("gradient checkpointing")
    page.locator(".pivotal-hit", has_text="Gradient checkpointing").first.wait_for()
    assert page.locator(".pivotal-hit", has_text="Gradient checkpointing").locator(".pivotal-void").count() == 0
    page.locator(".pivotal-search").press("Escape")
