"""Images of the page: handed out by the server's own addresses, and by no other."""

import io
import os
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import gradio as gr
import pytest
from fastapi import FastAPI
from PIL import Image

from api_client import Described
from fake_host import FakeHost
from pivotal.api.routes import attach_routes
from pivotal.data import thumbnails
from pivotal.jobs.desk import Desk
from pivotal.jobs.signed import sign


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    return FakeHost(tmp_path_factory.mktemp("host"))


@pytest.fixture(scope="module")
def client(host):
    with gr.Blocks() as blocks:
        gr.Textbox()
    app = gr.mount_gradio_app(FastAPI(), blocks, path="/")
    attach_routes(app, Desk(host), {})
    return Described(app)


def get(client, image, side=256, **changes):
    query = {name: values[0] for name, values in parse_qs(urlsplit(sign(image, side)).query).items()}
    return client.get("/pivotal/v1/image", params=query | changes)


def test_a_thumbnail_is_small_upright_and_kept_by_content(client, host, tmp_path):
    path = tmp_path / "a b & c#1.jpg"
    picture = Image.new("RGB", (800, 400), "red")
    exif = picture.getexif()
    exif[0x0112] = 6  # turned by a quarter
    picture.save(path, exif=exif)
    reply = get(client, path)
    assert reply.status_code == 200 and reply.headers["content-type"] == "image/jpeg"
    assert Image.open(io.BytesIO(reply.content)).size == (128, 256)
    kept = list((host.folders().scratch / "cache" / "thumbnails").iterdir())
    path.rename(tmp_path / "other name.jpg")
    assert get(client, tmp_path / "other name.jpg").content == reply.content
    assert list((host.folders().scratch / "cache" / "thumbnails").iterdir()) == kept


def test_the_image_itself_is_handed_out_as_it_is(client, tmp_path):
    path = tmp_path / "b.png"
    Image.new("RGBA", (30, 20), (0, 0, 0, 0)).save(path)
    reply = get(client, path, 0)
    assert reply.content == path.read_bytes() and reply.headers["content-type"] == "image/png"
    tiff = tmp_path / "c.tif"
    Image.new("RGB", (30, 20)).save(tiff)
    assert get(client, tiff, 0).headers["content-type"] == "image/jpeg"  # which browsers can show


def test_an_address_that_somebody_made_up_or_changed_is_refused(client, tmp_path):
    path, other = tmp_path / "mine.png", tmp_path / "secret.png"
    for one in (path, other):
        Image.new("RGB", (10, 10)).save(one)
    for changes in ({"path": str(other)}, {"path": str(path.parent / "x" / ".." / "mine.png")}, {"size": "0"}, {"size": "-1"},
                    {"size": "99999"}, {"size": "\u00b2"}, {"key": ""}, {"key": "0" * 32}, {"key": "\u00e9"}):
        assert get(client, path, **changes).status_code == 403, changes
    assert client.get("/pivotal/v1/image").status_code == 403


def test_what_is_no_image_is_not_handed_out_even_when_it_is_signed(client, tmp_path):
    text = tmp_path / "notes.txt"
    text.write_text("secret", encoding="utf-8")
    for size in (0, 256):
        assert get(client, text, size).status_code == 404
    assert get(client, tmp_path / "gone.png").status_code == 404


def test_an_image_of_too_many_pixels_is_refused_before_it_is_decoded(client, tmp_path, monkeypatch):
    monkeypatch.setattr(thumbnails, "MOST_PIXELS", 99)
    path = tmp_path / "large.png"
    Image.new("RGB", (10, 10), "blue").save(path)
    reply = get(client, path, 64)
    assert reply.status_code == 404 and "10x10 px" in reply.json()["error"]


def test_only_the_newest_thumbnails_are_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(thumbnails, "MOST_KEPT", 2)
    for age, name in enumerate(("c", "a", "b")):
        path = tmp_path / f"{name}.jpg"
        path.write_bytes(b"x")
        os.utime(path, (1000 - age, 1000 - age))
    thumbnails.prune(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"c.jpg", "a.jpg"}


def test_a_name_that_is_no_text_costs_only_its_own_picture(client):
    assert client.get("/" + sign(Path(os.fsdecode(b"/images/\xff.png")))).status_code == 403
