"""The Dataset page in a real browser: captions, changes of many, and painted masks end up in the user's files."""

import json

import numpy as np
import pytest
from PIL import Image

from fake_host import write_dataset

from .conftest import WAIT_MS, show_tab, write

pytestmark = pytest.mark.browser
HOSTILE = "<img src=x onerror=\"document.title='owned'\"> 🎈 &amp; </textarea><b>bold"


@pytest.fixture
def images(tmp_path):
    return write_dataset(tmp_path / "images", 4)


def opened(webui, folder, theme=""):
    """The page with that folder open."""
    page = webui.open_page()
    page.goto(webui.address + theme)
    show_tab(page, "Train")
    show_tab(page, "Dataset")
    write(page.locator("#pivotal_dataset input[name=folder]"), str(folder))
    page.locator("#pivotal_dataset [data-pivotal-post='dataset/open']").click()
    page.locator(".pivotal-card").first.wait_for()
    page.locator(f"#pivotal_dataset [data-pivotal-folder='{folder}']").wait_for(state="attached")
    return page


def caption(page, name):
    return page.locator(f"textarea[data-pivotal-caption='{name}']")


def eventually(page, look, wanted):
    """Waits until `look` sees what is wanted on the disk."""
    for _ in range(WAIT_MS // 100):
        if look() == wanted:
            return
        page.wait_for_timeout(100)
    assert look() == wanted


def test_a_caption_is_saved_as_its_field_is_left(webui, images, screenshot):
    page = opened(webui, images)
    assert page.locator(".pivotal-card").count() == 4
    assert page.locator(".pivotal-card img").evaluate_all("images => images.every((image) => image.loading === 'lazy')")
    assert "64×64 · 7 tokens" in page.locator(".pivotal-card").first.inner_text()
    caption(page, "00.png").fill("a green disc, é 🎈")
    caption(page, "01.png").focus()
    eventually(page, lambda: (images / "00.txt").read_bytes(), "a green disc, é 🎈".encode())
    page.get_by_text("Undo: edit of 00.png").wait_for()
    screenshot(page, "page")
    page.get_by_text("Undo: edit of 00.png").click()
    eventually(page, lambda: (images / "00.txt").read_text(encoding="utf-8"), "a zkteal circle number 0")
    page.get_by_text("Undo: edit of 00.png").wait_for(state="detached")  # the folder has been looked at again
    (images / "02.txt").write_text("from elsewhere", encoding="utf-8")
    caption(page, "02.png").fill("mine")
    caption(page, "01.png").focus()
    page.locator(".pivotal-card .pivotal-told", has_text="was changed meanwhile").wait_for()
    assert (images / "02.txt").read_text(encoding="utf-8") == "from elsewhere"
    assert caption(page, "02.png").input_value() == "mine"  # what was typed is not lost
    page.locator("#pivotal_dataset [data-pivotal-post='dataset/open']").click()
    eventually(page, lambda: caption(page, "02.png").input_value(), "from elsewhere")
    page.close()


@pytest.mark.once
def test_many_captions_are_changed_after_a_preview_and_undone(webui, images, screenshot):
    page = opened(webui, images, "/?__theme=dark")
    tool = page.locator(".pivotal-dataset-tool", has_text="Change these captions")
    tool.locator("summary").click()
    tool.locator("[name=find]").fill(r"number (\d)")
    tool.locator("[name=text]").fill(r"no. \1")
    tool.locator("[name=is_regular]").check()
    page.locator("#pivotal_dataset [data-pivotal-ask=search]").fill("0")  # one name of them: 00.png; and captions with a 0
    page.locator(".pivotal-part-pages", has_text="4 images").wait_for()
    page.locator("#pivotal_dataset [data-pivotal-ask=search]").fill("number 3")
    page.locator(".pivotal-part-pages", has_text="1 image").wait_for()
    tool.get_by_role("button", name="Preview").click()
    tool.get_by_text("1 of 1 captions would change.").wait_for()
    page.locator("#pivotal_dataset [data-pivotal-ask=search]").fill("")
    page.locator(".pivotal-part-pages", has_text="4 images").wait_for()
    tool.get_by_role("button", name="Preview").click()
    tool.get_by_text("4 of 4 captions would change.").wait_for()
    assert (images / "03.txt").read_text(encoding="utf-8") == "a zkteal circle number 3"
    screenshot(page, "preview")
    tool.get_by_role("button", name="Change", exact=True).click()
    tool.get_by_text("4 of 4 captions changed.").wait_for()
    assert [path.read_text(encoding="utf-8") for path in sorted(images.glob("*.txt"))] == [
        f"a zkteal circle no. {number}" for number in range(4)]
    page.locator("[data-pivotal-post='dataset/undo']").click()
    eventually(page, lambda: (images / "03.txt").read_text(encoding="utf-8"), "a zkteal circle number 3")
    assert (images / "00.txt").read_text(encoding="utf-8") == "a zkteal circle number 0"
    page.close()


@pytest.mark.once
def test_a_painted_mask_is_the_file_that_training_reads(webui, tmp_path, screenshot):
    folder = tmp_path / "images"
    folder.mkdir()
    noise = np.random.default_rng(0).integers(0, 255, (200, 320, 3), dtype=np.uint8)
    for name in ("a", "b"):
        Image.fromarray(noise).save(folder / f"{name}.png")
    page = opened(webui, folder)
    page.locator("[data-pivotal-paint]").first.click()
    painter = page.locator("#pivotal_painter")
    page.locator("#pivotal_painter[data-ready='a.png']").wait_for()
    seen = painter.locator("canvas").bounding_box()

    def at(x, y):
        return seen["x"] + seen["width"] * x / 320, seen["y"] + seen["height"] * y / 200

    painter.locator("[data-set=size]").fill("40")
    page.mouse.move(*at(60, 100))
    page.mouse.down()
    page.mouse.move(*at(260, 100), steps=8)
    page.mouse.up()
    page.keyboard.press("e")  # erases a part in the middle
    page.mouse.move(*at(160, 100))
    page.mouse.down()
    page.mouse.up()
    screenshot(page, "painter")
    page.keyboard.press("Control+z")
    page.keyboard.press("Control+y")
    page.keyboard.press("i")
    page.keyboard.press("i")
    painter.locator("[data-do=save]").click()
    painter.get_by_text("a-masklabel.png is written.").wait_for()
    mask = np.asarray(Image.open(folder / "a-masklabel.png"))
    assert Image.open(folder / "a-masklabel.png").mode == "L" and mask.shape == (200, 320)
    assert mask[100, 100] == 255 and mask[100, 220] == 255 and mask[100, 50] == 255  # the stroke and its round end
    assert mask[100, 160] == 0 and mask[95, 170] == 0  # erased
    assert mask[70, 100] == 0 and mask[130, 100] == 0 and mask[10, 10] == 0
    stroke = 200 * 40 + np.pi * 20 ** 2 - np.pi * 20 ** 2  # a line with round ends, less a round hole
    assert abs((mask > 127).sum() - stroke) < 0.03 * stroke
    painter.locator("[data-do=next]").click()
    page.locator("#pivotal_painter[data-ready='b.png']").wait_for()
    page.keyboard.press("Delete")
    page.keyboard.press("i")
    page.keyboard.press("ArrowLeft")  # saves, and goes back
    page.locator("#pivotal_painter[data-ready='a.png']").wait_for()
    assert np.asarray(Image.open(folder / "b-masklabel.png")).min() == 255
    pixel = painter.locator("canvas").evaluate("canvas => [...canvas.getContext('2d').getImageData(100, 100, 1, 1).data]")
    assert pixel == [255, 255, 255, 255]  # the mask that was saved is shown again
    page.keyboard.press("Escape")
    painter.wait_for(state="detached")
    assert page.locator(".pivotal-card button", has_text="Mask ●").count() == 2
    page.close()


@pytest.mark.once
def test_names_and_captions_are_text_and_broken_images_are_told(webui, tmp_path, screenshot):
    folder = tmp_path / "images"
    folder.mkdir()
    name = "<b>&quot;o'clock🎈.png"
    Image.new("RGB", (64, 64)).save(folder / name)
    (folder / name).with_suffix(".txt").write_text(HOSTILE, encoding="utf-8")
    (folder / "broken.png").write_bytes(b"no image")
    Image.new("RGB", (72, 64)).save(folder / "long.png")
    (folder / "long.txt").write_text("word, " * 900_000, encoding="utf-8")
    page = opened(webui, folder)
    assert page.locator(".pivotal-card").count() == 3
    first = page.locator(".pivotal-card", has_text="o'clock")
    assert first.locator("textarea").input_value() == HOSTILE
    assert name in first.inner_text() and page.title() != "owned"
    assert "cannot identify" in page.locator(".pivotal-card", has_text="broken.png").inner_text()
    page.get_by_text("5,399,999 letters are too many").or_(page.get_by_text("5,400,000 letters are too many")).wait_for()
    assert page.locator("#pivotal_dataset [data-pivotal-ask=filter][value=cut]").inner_text().endswith("1")
    page.locator("#pivotal_dataset [data-pivotal-ask=filter][value=corrupt]").click()
    page.locator(".pivotal-part-pages", has_text="1 image").wait_for()
    asked = page.locator("#pivotal_dataset [data-pivotal-source]").get_attribute("data-pivotal-query")
    assert json.loads(asked)["filter"] == "corrupt"
    screenshot(page, "corrupt")
    page.close()
