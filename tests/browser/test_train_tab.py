"""The Train tab under a user's hands, in a real browser, on a tiny checkpoint."""

import json

import pytest

from fake_host import write_dataset

from .conftest import fill, show_tab, unfold, wait_until, write

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def images(webui):
    return write_dataset(webui.data / "images", 4, word="zktab")


@pytest.fixture
def page(webui):
    page = webui.open_tab("Train")
    page.locator(".pivotal-row").first.wait_for()
    yield page
    page.close()


def submitted_rows(page) -> list[dict]:
    """What gradio would send for the embeddings."""
    return json.loads(page.locator("#pivotal_embeddings textarea").input_value())


def fill_run(page, images) -> None:
    """A run that takes milliseconds a step."""
    fill(page, "name", "long")
    fill(page, "dataset.folder", str(images))
    fill(page, "embeddings.0.placeholder", "zktab")
    fill(page, "samples.every_steps", "0")
    fill(page, "length.steps", "100000")
    unfold(page, "dataset")
    fill(page, "dataset.resolution", "64")


def problem(page, key: str):
    return page.locator(f"#pivotal_{key.replace('.', '_')} .pivotal-problem")


def test_rows_are_added_duplicated_and_deleted(page, screenshot):
    assert len(submitted_rows(page)) == 1
    fill(page, "embeddings.0.placeholder", "one")
    fill(page, "embeddings.0.token_count", "3")
    page.locator(".pivotal-duplicate").click()
    fill(page, "embeddings.1.placeholder", "two")
    page.locator("#pivotal_embeddings_editor .pivotal-add").first.click()
    page.locator("#pivotal_embeddings_2_train input").uncheck()
    screenshot(page, "three_rows")
    rows = submitted_rows(page)
    assert [(row["placeholder"], row["token_count"], row["train"]) for row in rows] == [
        ("one", "3", True), ("two", "3", True), ("<embedding>", "", False)]  # fmt: skip
    page.locator(".pivotal-remove").nth(1).click()
    assert [row["placeholder"] for row in submitted_rows(page)] == ["one", "<embedding>"]
    assert page.locator("#pivotal_embeddings_1_placeholder input").input_value() == "<embedding>"


def test_rows_reach_the_server_as_they_are_shown(page):
    fill(page, "dataset.folder", "/somewhere")
    fill(page, "embeddings.0.placeholder", 'näher "x"')
    page.locator("#pivotal_embeddings_editor .pivotal-more summary").click()
    page.locator("#pivotal_embeddings_0_fill select").select_option("stretch")
    unfold(page, "run_file")
    page.locator("#pivotal_to_run_file").click()
    text = page.locator("#pivotal_run_file textarea")
    wait_until(page, "document.querySelector('#pivotal_run_file textarea').value.includes('näher')")
    text.fill(text.input_value().replace("näher", "ferner"))
    page.locator("#pivotal_from_run_file").click()
    wait_until(page, """document.querySelector('#pivotal_embeddings_0_placeholder input').value === 'ferner "x"'""")
    assert page.locator("#pivotal_embeddings_0_fill select").input_value() == "stretch"


def test_all_errors_are_shown_at_once_each_under_its_field(webui, page, screenshot):
    empty, before = webui.data / "empty", webui.ask("job")["id"]
    empty.mkdir(exist_ok=True)
    fill(page, "dataset.folder", str(empty))
    fill(page, "optimizer.learning_rate", "abc")
    page.locator("#pivotal_embeddings_editor .pivotal-add").first.click()
    fill(page, "embeddings.1.token_count", "99")
    page.locator("#pivotal_start").click()
    problem(page, "optimizer.learning_rate").wait_for()
    screenshot(page, "errors")
    assert problem(page, "optimizer.learning_rate").inner_text() == "expected a number, got 'abc'"
    assert str(empty) in problem(page, "dataset.folder").inner_text()
    assert "at most 75" in problem(page, "embeddings.1.token_count").inner_text()
    assert "options need attention" in page.locator("#pivotal_answer").first.inner_text()

    # what is mended is forgotten at the next press, what is not stays; moved rows take no foreign error over
    page.locator(".pivotal-remove").first.click()
    problem(page, "embeddings.1.token_count").wait_for(state="detached")
    fill(page, "optimizer.learning_rate", "nan")
    page.locator("#pivotal_start").click()
    wait_until(page, "document.querySelector('#pivotal_optimizer_learning_rate .pivotal-problem')"
                           ".innerText.includes('finite')")  # fmt: skip
    problem(page, "embeddings.0.token_count").wait_for()
    assert webui.ask("job")["state"] not in ("running", "stopping") and before == webui.ask("job")["id"]  # nothing was started


def test_an_error_in_a_folded_section_unfolds_it(page):
    unfold(page, "dataset")
    fill(page, "dataset.resolution", "12")
    unfold(page, "dataset")
    page.locator("#pivotal_dataset_resolution").wait_for(state="hidden")
    page.locator("#pivotal_start").click()
    problem(page, "dataset.resolution").wait_for(state="visible")


def test_a_run_is_seen_in_every_page_and_stopped_from_any(webui, images, page, screenshot):
    fill_run(page, images)
    page.locator("#pivotal_start").click()
    page.locator("#pivotal_progress .pivotal-badge.pivotal-running").wait_for()
    wait_until(page, "/step [1-9]/.test(document.querySelector('#pivotal_progress .pivotal-phase').innerText)")
    second = webui.open_tab("Train")
    second.locator("#pivotal_progress .pivotal-badge.pivotal-running").wait_for()
    second.locator(".pivotal-part-chart svg").wait_for()
    screenshot(second, "second_page")
    assert second.locator("#pivotal_progress .pivotal-name").inner_text() == "long"

    # one run at a time, in words
    second.locator(".pivotal-row").first.wait_for()
    fill_run(second, images)
    second.locator("#pivotal_start").click()
    second.locator("#pivotal_answer .pivotal-error").first.wait_for()
    assert "long" in second.locator("#pivotal_answer").first.inner_text()

    second.locator("#pivotal_stop").click()
    page.locator("#pivotal_progress .pivotal-badge.pivotal-stopped").wait_for()
    assert page.locator("#pivotal_progress .pivotal-word").first.inner_text() == "zktab"
    second.close()


def test_a_failure_after_the_start_lands_under_its_field_too(webui, page):
    """A corrupt image is found only when the images are read."""
    broken = write_dataset(webui.data / "broken", 2, word="zktab")
    (broken / "00.png").write_bytes(b"no image at all")
    fill_run(page, broken)
    page.locator("#pivotal_start").click()
    page.locator("#pivotal_progress .pivotal-badge.pivotal-failed, #pivotal_dataset_folder .pivotal-problem").first.wait_for()
    assert "00.png" in page.locator("#pivotal_page").inner_text()


def test_tokens_are_counted_as_one_types(page):
    show_tab(page, "Tools")
    unfold(page, "count")
    write(page.locator("#pivotal_count textarea"), "a cat sat")
    wait_until(page, "document.querySelector('#pivotal_count').innerText.includes('3/75')")
    show_tab(page, "New run")
    fill(page, "embeddings.0.initial_text", "two words")
    fill(page, "embeddings.0.token_count", "4")
    wait_until(page, "document.querySelector('#pivotal_embeddings_0_initial_text').innerText.includes('2')")
