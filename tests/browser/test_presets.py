"""A preset chosen and a foreign file pasted, in a real browser."""

import pytest

from .conftest import ROOT, fill, unfold, wait_until, write
from .test_train_tab import submitted_rows

pytestmark = pytest.mark.browser
TITLE = "Person: embedding and LoRA in one (pivotal), SDXL"


def test_a_preset_fills_the_form_in_and_a_foreign_file_does_too(webui, screenshot):
    page = webui.open_tab("Train")
    page.locator(".pivotal-row").first.wait_for()
    fill(page, "name", "mara")
    fill(page, "embeddings.0.placeholder", "zkmara")
    choice = page.locator("#pivotal_preset input").first
    choice.fill(TITLE)
    choice.press("Enter")
    page.locator("#pivotal_fill_preset").click()
    page.locator(".pivotal-changes", has_text="Network: none").first.wait_for()
    assert page.locator("#pivotal_name :is(textarea, input)").first.input_value() == "mara"
    (row,) = submitted_rows(page)
    assert (row["placeholder"], row["token_count"]) == ("zkmara", "4")
    screenshot(page, "filled")
    unfold(page, "run_file")
    text = (ROOT / "tests/unit/config/imports/onetrainer_lora.json").read_text(encoding="utf-8")
    write(page.locator("#pivotal_run_file textarea"), text)
    page.locator("#pivotal_from_run_file").click()
    page.locator(".pivotal-changes", has_text="Read from OneTrainer").first.wait_for()
    wait_until(page, "JSON.parse(document.querySelector('#pivotal_embeddings textarea').value).length === 2")
    assert [one["placeholder"] for one in submitted_rows(page)] == ["zkmara", "zkstyle"]
    screenshot(page, "imported")
    page.close()
