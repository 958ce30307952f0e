"""The Dataset page's API and panel, in front of a real desk: what they answer, and what they refuse."""

import asyncio
import base64
import io
import threading
import time

import pytest
from fastapi import FastAPI
from PIL import Image

from api_client import Described
from fake_host import FakeHost, write_dataset
from pivotal.api.routes import attach_routes
from pivotal.config.options import walk
from pivotal.jobs.desk import Desk
from pivotal.register import panels
from pivotal.tools.dataset.listing import Listing
from pivotal.tools.dataset.settings import MaskImages
from pivotal.ui.dataset_forms import fields_html

API = "/pivotal/v1"


class CaptioningHost(FakeHost):
    """One that says how wide an image is; asked inside of `run` only."""

    def captioners(self):
        def describe(image):
            assert self.inside, "asked without the host's lock"
            return f"{image.width} px wide"

        return {"Ruler": describe}


class Page:
    def __init__(self, data):
        self.host = CaptioningHost(data)
        self.desk = Desk(self.host)
        app = FastAPI()
        attach_routes(app, self.desk, panels(self.desk))
        self.client = Described(app)

    def post(self, path, **body):
        return self.client.post(f"{API}/dataset/{path}", json=body)

    def panel(self, **query):
        return self.client.get(f"{API}/panel/dataset", params=query).json()

    def work(self):
        """How the long work ended."""
        self.desk.datasets.work.wait(300)
        return self.client.get(f"{API}/dataset/work").json()


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    return Page(tmp_path_factory.mktemp("host"))


@pytest.fixture
def folder(page, tmp_path):
    write_dataset(tmp_path / "images", 3)
    answer = page.post("open", folder=str(tmp_path / "images")).json()
    assert (answer["images"], answer["ending"], answer["captioners"]) == (3, ".txt", ["Ruler", "BLIP", "WD14"])
    return tmp_path / "images"


def test_images_come_in_pages_with_counts(page, folder):
    answer = page.post("images", folder=str(folder), page=2, size=2, tokens=6).json()
    (image,) = answer["images"]
    assert (image["name"], image["width"], image["height"], image["tokens"]) == ("02.png", 80, 64, 7)
    assert image["caption"] == "a zkteal circle number 2" and image["mask"] is None
    assert answer["found"] == 3 and answer["counts"]["small"] == 3 and answer["counts"]["cut"] == 3
    assert answer["uncounted"] == 0
    assert page.client.get("/" + image["thumbnail"]).headers["content-type"] == "image/jpeg"


def test_captions_are_written_changed_and_taken_back(page, folder):
    text = page.post("caption", folder=str(folder), name="00.png", text="red, hat", old="a zkteal circle number 0").json()
    assert text["caption"] == "red, hat" and (folder / "00.txt").read_text(encoding="utf-8") == "red, hat"
    preview = page.post("change", folder=str(folder), action="replace", find="circle", text="disc", preview=True).json()
    assert (preview["changed"], preview["looked_at"]) == (2, 3) and "01.png" in preview["text"]
    assert page.post("change", folder=str(folder), action="remove tag", find="hat", preview=False).json()["changed"] == 1
    assert (folder / "00.txt").read_text(encoding="utf-8") == "red"
    assert page.post("undo", folder=str(folder)).json()["back"] == ["00.png"]
    tags = page.post("tags", folder=str(folder), search="00").json()["tags"]
    assert tags == [{"tag": "hat", "count": 1}, {"tag": "red", "count": 1}]
    refused = page.post("change", folder=str(folder), action="replace", find="(", is_regular=True)
    assert refused.status_code == 422 and "no regular expression" in refused.json()["problems"]["find"]


def test_nothing_is_reached_but_opened_folders_and_their_images(page, folder, tmp_path):
    (tmp_path / "secret.txt").write_text("secret", encoding="utf-8")
    Image.new("RGB", (8, 8)).save(tmp_path / "secret.png")
    closed = str(tmp_path)
    for path, body in (("images", {}), ("caption", {"name": "secret.png", "text": "x"}), ("undo", {}), ("tags", {}),
                       ("change", {"action": "sort tags"}), ("mask", {"name": "secret.png", "png": ""}), ("compare", {}),
                       ("mask/delete", {"name": "secret.png"}), ("captions", {}), ("masks", {}), ("prepare", {"target": "x"})):
        for where in (closed, str(folder / ".."), "", "/", str(folder) + "/../images"):
            answer = page.post(path, folder=where, **body)
            assert answer.status_code == 400 and "is not open" in answer.json()["error"], (path, where)
    for name in ("../secret.png", str(tmp_path / "secret.png"), "..\\secret.png", "00.png/../../secret.png", "00.txt"):
        for path, body in (("caption", {"text": "x"}), ("mask", {"png": _png((8, 8))}), ("mask/delete", {})):
            answer = page.post(path, folder=str(folder), name=name, **body)
            assert answer.status_code == 400 and "is no image of" in answer.json()["error"], (path, name)
    assert (tmp_path / "secret.txt").read_text(encoding="utf-8") == "secret"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["images", "secret.png", "secret.txt"]
    assert page.panel(folder=closed)["html"].count("data-part") == 1  # the form to open one, and no image
    assert page.client.post(f"{API}/dataset/open", content="{}").status_code == 415


def test_an_image_that_leads_out_of_the_folder_is_not_handed_out(page, folder, tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "secret.png")
    try:
        (folder / "link.png").symlink_to(tmp_path / "secret.png")
    except OSError:
        pytest.skip("links need a right on Windows")
    page.post("open", folder=str(folder))
    shown = page.post("images", folder=str(folder), search="link").json()["images"]
    assert [(image["thumbnail"], image["image"], bool(image["trouble"])) for image in shown] == [(None, None, True)]
    assert "secret" not in page.panel(folder=str(folder), search="link")["html"]


@pytest.mark.parametrize("body", [{"page": "x"}, {"page": -1}, {"size": 10**9}, {"filter": "<b>"}, {"tokens": "1.5"}])
def test_what_makes_no_sense_is_told(page, folder, body):
    assert page.post("images", folder=str(folder), **body).status_code == 422


def _png(size, mode="RGBA", colour="white"):
    buffer = io.BytesIO()
    Image.new(mode, size, colour).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def test_a_mask_is_saved_shown_and_deleted(page, folder):
    answer = page.post("mask", folder=str(folder), name="00.png", png=_png((64, 64))).json()
    assert Image.open(folder / "00-masklabel.png").getextrema() == (255, 255)
    assert Image.open(io.BytesIO(page.client.get("/" + answer["mask"]).content)).size == (64, 64)
    assert page.post("images", folder=str(folder), filter="unmasked").json()["found"] == 2
    assert page.post("mask", folder=str(folder), name="00.png", png=_png((65, 64))).status_code == 400
    assert page.post("mask/delete", folder=str(folder), name="00.png").json()["mask"] is None
    assert not (folder / "00-masklabel.png").exists()


def test_the_servers_own_thread_waits_for_nobody_who_changes_the_folder(page, folder, monkeypatch):
    image, in_loop = Listing.image, []

    def asked(self, name):
        try:
            in_loop.append(asyncio.get_running_loop())
        except RuntimeError:  # a thread of the pool
            in_loop.append(None)
        return image(self, name)

    monkeypatch.setattr(Listing, "image", asked)
    for path, body in (("caption", {"text": "new"}), ("mask", {"png": _png((64, 64))}), ("mask/delete", {})):
        assert page.post(path, folder=str(folder), name="00.png", **body).status_code == 200
    assert len(in_loop) >= 3 and not any(in_loop)


def test_the_hosts_captioner_works_in_its_turn_and_is_undone_as_one(page, folder):
    (folder / "01.txt").unlink()
    page.post("open", folder=str(folder))
    assert page.post("captions", folder=str(folder), captioner="Ruler", place="only missing").status_code == 200
    assert (page.work()["state"], page.work()["changed"]) == ("finished", 1)
    assert (folder / "01.txt").read_text(encoding="utf-8") == "72 px wide"
    page.post("captions", folder=str(folder), captioner="Ruler", place="before", search="circle")
    page.work()
    assert (folder / "02.txt").read_text(encoding="utf-8") == "80 px wide, a zkteal circle number 2"
    assert len(page.post("undo", folder=str(folder)).json()["back"]) == 2
    assert page.post("captions", folder=str(folder), captioner="None").status_code == 422


def test_long_work_is_one_at_a_time_and_stops(page, folder):
    held, seen = threading.Event(), threading.Event()

    def slow(image):
        seen.set()
        held.wait(300)
        return "x"

    page.host.captioners = lambda: {"Slow": slow}
    try:
        page.post("captions", folder=str(folder), captioner="Slow", place="replace")
        assert seen.wait(300)
        assert page.post("compare", folder=str(folder)).status_code == 409
        assert "Looking at a dataset" in page.client.post(f"{API}/jobs", json={"options": {
            "name": "x", "dataset": {"folder": str(folder)}, "samples": {"every_steps": 0},
            "embeddings": [{"placeholder": "zkteal", "token_count": 1, "initial_text": "a"}]}}).text
        assert page.post("work/stop").json()["state"] == "stopping"
    finally:
        held.set()
        view = page.work()
        del page.host.captioners
    assert (view["state"], view["done"], view["of"]) == ("stopped", 1, 3)
    assert not page.desk.busy


def test_masks_and_copies_are_made_from_the_page(page, folder, tmp_path):
    page.post("masks", folder=str(folder), how="colour", colour="#148c8c", threshold="0.97", grow="0", blur="0", search="00")
    assert (page.work()["state"], page.work()["changed"]) == ("finished", 1)
    assert Image.open(folder / "00-masklabel.png").getextrema() == (255, 255)
    assert page.post("prepare", folder=str(folder), target=str(folder)).status_code == 422
    page.post("prepare", folder=str(folder), target=str(tmp_path / "cut"), width="32", height="32", search="01")
    assert page.work()["state"] == "finished"
    assert Image.open(tmp_path / "cut" / "01.png").size == (32, 32)
    assert "Undo: automatic masks" in page.panel(folder=str(folder))["html"]
    assert page.post("masks/undo", folder=str(folder)).json()["back"] == ["00.png"]
    assert not (folder / "00-masklabel.png").exists() and "automatic masks" not in page.panel(folder=str(folder))["html"]


def test_a_network_that_is_not_there_is_told_in_the_panel(page, folder):
    page.post("masks", folder=str(folder), how="words", prompt="a hat", model="owner/none", combine="replace")
    assert page.work()["state"] == "failed"
    assert "huggingface-cli download owner/none" in page.panel(folder=str(folder))["html"]


def test_the_panel_is_asked_for_only_when_something_changed(page, folder):
    first = page.panel(folder=str(folder))
    assert "html" not in page.panel(folder=str(folder), version=first["version"])
    page.post("caption", folder=str(folder), name="00.png", text="<b>&")
    second = page.panel(folder=str(folder), version=first["version"])
    assert "&lt;b&gt;&amp;</textarea>" in second["html"] and "<b>&<" not in second["html"]


def test_typed_nonsense_in_a_filter_leaves_the_fields_there(page, folder):
    html = page.panel(folder=str(folder), least="x")["html"]
    assert "expected a whole number" in html and 'data-pivotal-ask="least" value="x"' in html


def test_every_option_of_a_tool_has_a_field():
    html = fields_html(MaskImages, ("folder",))
    for option in walk(MaskImages):
        assert (f'name="{option.key}"' in html) == (option.key != "folder")
    assert 'data-pivotal-when="how=words"' in html and "expected" not in html


def test_many_images_are_quick(page, tmp_path):
    folder = tmp_path / "many"
    folder.mkdir()
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64)).save(buffer, "PNG")
    for index in range(500):
        (folder / f"{index:05d}.png").write_bytes(buffer.getvalue() + str(index).encode())
        (folder / f"{index:05d}.txt").write_text(f"a cat {index}", encoding="utf-8")
    begin = time.process_time()
    page.post("open", folder=str(folder))
    first = time.process_time() - begin
    page.panel(folder=str(folder))
    begin = time.process_time()
    page.post("caption", folder=str(folder), name="00300.png", text="changed")
    page.panel(folder=str(folder), page=9)
    again = time.process_time() - begin
    assert first < 2 and again < 1, (first, again)
