"""Processes that share the encoding of images; here they are threads, for what they exchange is bytes all the same."""

from __future__ import annotations

import threading
import types

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.nn import functional

from pivotal.config.sections.buckets import Buckets
from pivotal.config.sections.cache import Cache
from pivotal.data.buckets import fits, make_views
from pivotal.data.folder import Item
from pivotal.data.opening import open_store
from pivotal.data.versions import StoreSettings
from pivotal.errors import DatasetError

pytestmark = pytest.mark.once
COUNT, IMAGES = 2, 5


class Pooling:
    """An encoder whose latents are the means of 8 x 8 pixels; notes how many images it was asked for."""

    is_inpainting = False

    def __init__(self):
        self.vae = nn.Module()
        self.vae.encoder = nn.Linear(1, 1)
        nn.init.zeros_(self.vae.encoder.weight), nn.init.zeros_(self.vae.encoder.bias)
        self.family = types.SimpleNamespace(latent_scale=1.0)
        self.asked = 0

    def encode_images(self, pixels):
        self.asked += len(pixels)
        mean = functional.avg_pool2d(pixels, 8)[:, [0, 1, 2, 0]]
        return mean, mean.abs()


class Process:
    """One of COUNT threads, which exchange by a list."""

    count = COUNT

    def __init__(self, index, barrier, given):
        self.index, self._barrier, self._given = index, barrier, given

    def exchange(self, mine):
        self._given[self.index] = mine
        self._barrier.wait()
        told = list(self._given)
        self._barrier.wait()
        return told


@pytest.fixture
def images(tmp_path):
    levels = np.random.default_rng(1)
    for number in range(IMAGES):
        pixels = levels.integers(0, 255, (64, 64 + 32 * (number % 2), 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
    return tmp_path


def opened(images, encoder, company=None, *, cache="memory", stopped=lambda: False, folder="cache"):
    items = []
    for path in sorted(images.glob("?.png")):
        with Image.open(path) as image:
            items.append(Item(path, None, size=(image.height, image.width)))
    views = make_views(fits([item.size for item in items], Buckets(kind="exact sizes"), [(64, 64)]), [1.0] * len(items))
    return open_store(encoder, items, views, StoreSettings(1, Cache(cache, batch=2)), images / folder,
                      progress=lambda *_: None, stopped=stopped, company=company)


def each(work):
    """What `work(process)` answers, or raises, in each of the threads."""
    barrier, given, found = threading.Barrier(COUNT, timeout=300), [b""] * COUNT, [None] * COUNT

    def one(index):
        try:
            found[index] = work(Process(index, barrier, given))
        except DatasetError as error:
            found[index] = str(error)

    threads = [threading.Thread(target=one, args=(index,)) for index in range(COUNT)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def latents(store):
    return [store.latents(store.load([(view, 0)]), torch.Generator().manual_seed(view)) for view in range(IMAGES)]


def test_each_encodes_its_share_and_all_have_the_bits_of_one(images):
    alone, encoders = latents(opened(images, Pooling())), [Pooling() for _ in range(COUNT)]
    for store in each(lambda process: opened(images, encoders[process.index], process)):
        assert all(map(torch.equal, latents(store), alone))
    assert [encoder.asked for encoder in encoders] == [3, 2]  # groups of two of a size: 0 2, 1 3, 4


def test_what_one_has_on_disk_is_encoded_by_nobody(images):
    alone, encoders = latents(opened(images, Pooling(), cache="disk", folder="cache0")), [Pooling() for _ in range(COUNT)]
    next((images / "cache0").iterdir()).unlink()

    def work(process):
        return opened(images, encoders[process.index], process, cache="disk", folder=f"cache{process.index}")

    for store in each(work):
        assert all(map(torch.equal, latents(store), alone))
    assert sum(encoder.asked for encoder in encoders) == 1
    assert {path.name for path in (images / "cache0").iterdir()} == {path.name for path in (images / "cache1").iterdir()}


def test_an_image_that_cannot_be_read_is_told_by_all(images):
    (images / "3.png").write_bytes((images / "3.png").read_bytes()[:2000])  # the size stands in its beginning
    told = each(lambda process: opened(images, Pooling(), process))
    assert told[0] == told[1] and "3.png" in told[0]


def test_a_stop_of_one_stops_all(images):
    assert each(lambda process: opened(images, Pooling(), process, stopped=lambda: process.index == 1)) == [None, None]
