"""Before the start: images under the folder, problems as one types, the plan, a measurement, and the run as a file."""

import json

import pytest

from fake_host import write_dataset

from .conftest import fill, unfold, wait_until, write

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def images(webui):
    folder = write_dataset(webui.data / "images", 5)
    (folder / "00.txt").write_text("a <b>zkteal</b> circle " + "cat " * 90, encoding="utf-8")
    (folder / "01.txt").unlink()
    return folder


@pytest.fixture
def page(webui):
    page = webui.open_tab("Train")
    page.locator(".pivotal-row").first.wait_for()
    yield page
    page.close()


def problem(page, key):
    return page.locator(f'.pivotal-problem[data-key="{key}"]')


def field(page, key):
    return page.locator(f"#pivotal_{key.replace('.', '_')} :is(textarea, input:not([type=range]))").first


def test_the_images_of_a_folder_are_shown_as_soon_as_it_is_named(page, images, screenshot):
    fill(page, "dataset.folder", str(images))
    images = page.locator(".pivotal-glance-grid img")
    images.nth(4).wait_for()
    assert images.count() == 5 and "5 images; 1 of these has no caption file" in page.locator(".pivotal-glance").inner_text()
    wait_until(page, "[...document.querySelectorAll('.pivotal-glance-grid img')].every((one) => one.naturalWidth > 0)")
    assert images.first.get_attribute("title").startswith("00.png\na <b>zkteal</b> circle")
    assert page.locator(".pivotal-glance b").count() == 0
    screenshot(page, "glance")
    fill(page, "dataset.folder", "/nowhere")
    images.first.wait_for(state="detached")


def test_a_problem_stands_under_its_field_while_one_types(page, screenshot):
    assert page.locator(".pivotal-problem").count() == 0  # an empty folder is none to be told before anybody typed
    wait_until(page, "document.getElementById('pivotal_page').dataset.pivotalLive !== undefined")
    write(field(page, "optimizer.learning_rate"), "fast")
    problem(page, "optimizer.learning_rate").wait_for()
    assert "expected a number" in problem(page, "optimizer.learning_rate").inner_text()
    fill(page, "embeddings.0.token_count", "99")
    problem(page, "embeddings.0.token_count").wait_for()
    screenshot(page, "live")
    field(page, "optimizer.learning_rate").fill("0.01")
    problem(page, "optimizer.learning_rate").wait_for(state="detached")


def test_the_plan_tells_captions_needs_and_remedies_and_a_press_sets_them(page, images, screenshot):
    (images / "01.txt").write_text("a zkteal ball", encoding="utf-8")
    fill(page, "dataset.folder", str(images))
    fill(page, "embeddings.0.placeholder", "zkteal")
    page.wait_for_timeout(300)
    page.locator("#pivotal_plan").click()
    page.locator(".pivotal-captions li").nth(19).wait_for()
    assert page.locator(".pivotal-captions mark").first.inner_text() == "zkteal"
    assert page.locator(".pivotal-captions b").count() == 0
    screenshot(page, "plan")
    page.locator(".pivotal-offers").evaluate("list => list.parentElement.open = true")
    page.locator(".pivotal-offers button", has_text="Batch size: 2").click()
    wait_until(page, "document.querySelector('#pivotal_batch_size input').value === '2'")
    page.locator("#pivotal_section_batch .pivotal-count").wait_for()  # the accumulation in it, in a section not opened yet
    fill(page, "samples.every_steps", "0")
    unfold(page, "dataset")
    fill(page, "dataset.resolution", "64")
    page.wait_for_timeout(300)
    page.locator("#pivotal_measure").click()
    page.get_by_text("the run takes about").wait_for()
    screenshot(page, "measured")


def test_the_run_file_follows_the_form_and_the_form_an_edited_run_file(page, screenshot):
    fill(page, "name", "mirrored")
    unfold(page, "run_file")
    area = page.locator("#pivotal_run_file textarea")
    wait_until(page, "document.querySelector('#pivotal_run_file textarea').value.includes('name: mirrored')")
    fill(page, "length.steps", "77")
    wait_until(page, "document.querySelector('#pivotal_run_file textarea').value.includes('steps: 77')")
    area.click()
    write(area, "name: typed\nlength: {steps: 78}\nembeddings: [{placeholder: zkdot}]\n")
    wait_until(page, "document.querySelector('#pivotal_name :is(input, textarea)').value === 'typed'")
    assert field(page, "length.steps").input_value() == "78"
    area.fill("length: {steps: many}\n")
    page.locator("#pivotal_imported .pivotal-error", has_text="whole number").wait_for()
    assert field(page, "length.steps").input_value() == "78"
    screenshot(page, "run_file")


def test_a_section_is_set_back_as_a_whole_and_counts_before_it_is_opened(page, screenshot):
    unfold(page, "run_file")
    area = page.locator("#pivotal_run_file textarea")
    area.click()
    write(area, "noise: {offset: 0.1}\ncaption: {shuffle: true, keep_tags: 2}\n")
    count = page.locator("#pivotal_section_caption .pivotal-count")
    count.wait_for()
    assert count.inner_text() == "2 changed"
    assert page.locator("#pivotal_section_noise .pivotal-count").inner_text() == "1 changed"
    screenshot(page, "counts")
    page.locator("#pivotal_section_caption span.pivotal-reset").first.click()
    count.wait_for(state="detached")
    assert page.locator("#pivotal_section_noise .pivotal-count").inner_text() == "1 changed"


def test_an_optimizer_finds_what_was_typed_for_it(page):
    page.evaluate("document.addEventListener('pivotal-values', (event) => { window.pivotalSeen = event.detail; })")
    unfold(page, "optimizer")
    choose(page, "optimizer.kind", "lion")
    wait_until(page, "window.pivotalSeen['optimizer.kind'] === 'lion'")
    write(field(page, "optimizer.learning_rate"), "0.0007")
    wait_until(page, "window.pivotalSeen['optimizer.learning_rate'] === '0.0007'")
    choose(page, "optimizer.kind", "adamw")
    wait_until(page, "document.querySelector('#pivotal_optimizer_learning_rate :is(input, textarea)').value === '0.005'")
    choose(page, "optimizer.kind", "lion")
    wait_until(page, "document.querySelector('#pivotal_optimizer_learning_rate :is(input, textarea)').value === '0.0007'")


def test_a_row_may_be_left_out_of_the_run_and_stay(page):
    page.locator("#pivotal_embeddings_editor .pivotal-duplicate").first.click()
    page.locator("#pivotal_embeddings_editor .pivotal-in-use input").first.uncheck()
    rows = json.loads(page.locator("#pivotal_embeddings textarea").input_value())
    assert [row.get("off") for row in rows] == [True, None]
    assert page.locator("#pivotal_embeddings_0_placeholder").count() == 1  # the second row is the run's first


def choose(page, key, value):
    box = page.locator(f"#pivotal_{key.replace('.', '_')} input").first
    box.click()
    write(box, value)
    box.press("Enter")


def test_the_form_is_there_at_once_and_typing_is_checked_at_once(webui):
    """Wanted: 500 ms and 150 ms. Here other programs share the cores, so that only what a user would not wait for fails."""
    page = webui.open_page()
    page.goto(webui.address)
    page.locator(":is([role=tab], .tab-nav > button)").filter(has_text="Train").first.wait_for()
    page.wait_for_timeout(1500)
    shown = page.evaluate("""() => new Promise((done) => {
        const tabs = [...document.querySelectorAll("[role=tab], .tab-nav > button")];
        const tab = tabs.find((one) => one.textContent.trim() === "Train");
        const isShown = (selector) => Boolean(document.querySelector(selector)?.offsetParent);
        const began = performance.now();
        const look = () => isShown("#pivotal_name") && isShown(".pivotal-row")
            ? done(performance.now() - began) : requestAnimationFrame(look);
        tab.click();
        look();
    })""")
    wait_until(page, "document.getElementById('pivotal_page').dataset.pivotalLive !== undefined")
    waits = [page.evaluate("""(text) => new Promise((done) => {
        const input = document.querySelector("#pivotal_optimizer_learning_rate :is(input, textarea)");
        const began = performance.now();
        const wanted = text === "fast";
        const look = () => Boolean(document.querySelector('.pivotal-problem[data-key="optimizer.learning_rate"]')) === wanted
            ? done(performance.now() - began) : setTimeout(look, 2);
        input.value = text;
        input.dispatchEvent(new Event("input", { bubbles: true }));
        look();
    })""", text) for text in ("fast", "0.1") * 5]
    print(f"\nform shown in {shown:.0f} ms; input to validation {sorted(waits)[5]:.0f} ms (most {max(waits):.0f})")
    assert shown < 30_000 and sorted(waits)[5] < 10_000
    page.close()
