"""What the store of latents answers: the same from memory, from disk and without a cache; and when it encodes anew."""

from __future__ import annotations

import os
import types
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.nn import functional

import tiny
from pivotal.config.sections.augment import Augment
from pivotal.config.sections.buckets import Buckets
from pivotal.config.sections.cache import Cache
from pivotal.data.augment import Change
from pivotal.data.buckets import fits, make_views
from pivotal.data.encoding import fingerprint, latent_mask
from pivotal.data.folder import Item
from pivotal.data.images import read_picture
from pivotal.data.latent_cache import Disk
from pivotal.data.opening import open_store
from pivotal.data.versions import StoreSettings, cached_bytes
from pivotal.errors import DatasetError


class Pooling:
    """An encoder whose latents are the means of 8 x 8 pixels, and whose deviation is 0.5; notes what it was asked."""

    is_inpainting = False

    def __init__(self):
        self.vae = nn.Module()
        self.vae.encoder = nn.Conv2d(3, 4, 1)
        self.vae.decoder = nn.Conv2d(4, 3, 1)
        self.family = types.SimpleNamespace(latent_scale=1.0)
        self.asked: list[tuple[int, ...]] = []

    def encode_images(self, pixels):
        self.asked.append(tuple(pixels.shape))
        mean = functional.avg_pool2d(pixels, 8)[:, [0, 1, 2, 0]]
        return mean, torch.full_like(mean, 0.5)


SIZES = [(64, 64), (96, 64), (64, 128)]  # width, height


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    levels = np.random.default_rng(1)
    for number, (width, height) in enumerate(SIZES):
        Image.fromarray(levels.integers(0, 255, (height, width, 3), dtype=np.uint8)).save(folder / f"{number}.png")
    return folder


def items_of(images):
    found = []
    for path in sorted(images.glob("?.png")):
        with Image.open(path) as image:
            found.append(Item(path, None, size=(image.height, image.width)))
    return found


def opened(images, encoder, *, cache="memory", kind="exact sizes", items=None, resolution=(64, 64), **settings):
    items = items or items_of(images)
    views = make_views(fits([item.size for item in items], Buckets(kind=kind), [resolution]), [1.0] * len(items))
    kept = Cache(cache, settings.pop("sampling", "anew"), settings.pop("batch", 1), settings.pop("when", "before"))
    told = StoreSettings(settings.pop("seed", 1), kept, **settings)
    return open_store(encoder, items, views, told, images.parent / "cache", progress=lambda *_: None, stopped=lambda: False)


def latents(store, places, seed=5):
    loaded = store.encoded(store.load(places))
    return store.latents(loaded, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("cache", ["memory", "disk", "off"])
def test_latents_are_drawn_from_the_posterior_of_each_image(images, cache):
    store = opened(images, Pooling(), cache=cache, kind="off")
    assert [view.fit.size for view in store.views] == [(64, 64)] * 3
    means = torch.stack([functional.avg_pool2d(read_picture(images / f"{number}.png", store.views[number].fit, Change()).pixels,
                                               8)[[0, 1, 2, 0]] for number in (2, 0)])
    noise = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(5))
    assert torch.equal(latents(store, [(2, 0), (0, 3)]), means + 0.5 * noise)


@pytest.mark.parametrize("family", ["sd1", "sdxl"])
@pytest.mark.parametrize("augment", [Augment(), Augment(flip=0.5, random_crop=True, hue=0.2, rotation=10, versions=3)])
def test_a_cache_on_disk_and_one_in_memory_are_the_same_bit_for_bit_and_the_second_run_encodes_nothing(images, family, augment):
    model = tiny.tiny_model(family)
    found = []
    for cache in ("memory", "disk", "disk"):
        asked = []
        watched = types.SimpleNamespace(
            vae=model.vae, family=model.family, is_inpainting=False,
            encode_images=lambda pixels, asked=asked: asked.append(1) or model.encode_images(pixels))
        store = opened(images, watched, cache=cache, augment=augment)
        found.append(([latents(store, [(view, time)]) for view in range(3) for time in range(6)], len(asked)))
    (memory, encoded), (disk, again), (later, never) = found
    assert encoded == again == 3 * (6 if augment.flip else 1) and never == 0
    for one, two, three in zip(memory, disk, later, strict=True):
        assert torch.equal(one, two) and torch.equal(one, three)


def test_mixed_places_may_not_share_a_batch_but_each_size_has_its_own(images):
    store = opened(images, Pooling())
    assert [tuple(latents(store, [(view, 0)]).shape) for view in range(3)] == [(1, 4, 8, 8), (1, 4, 8, 12), (1, 4, 16, 8)]


def test_images_of_one_size_are_encoded_together(images):
    for number in range(3, 8):
        Image.new("RGB", (64, 64), (number, 0, 0)).save(images / f"{number}.png")
    encoder = Pooling()
    opened(images, encoder, batch=4)
    assert sorted(encoder.asked) == sorted([(4, 3, 64, 64), (1, 3, 64, 96), (1, 3, 128, 64), (2, 3, 64, 64)])
    one, many = opened(images, Pooling()), opened(images, Pooling(), batch=4)
    assert torch.equal(latents(one, [(7, 0)]), latents(many, [(7, 0)]))


def test_sampling_once_and_the_mean_leave_the_generator_alone(images):
    places = [(0, 0), (0, 1)]
    for cache in ("memory", "disk", "off"):
        anew, once, mean = (opened(images, Pooling(), cache=cache, sampling=sampling) for sampling in ("anew", "once", "mean"))
        assert torch.equal(latents(mean, places, 5), latents(mean, places, 6))
        assert torch.equal(latents(once, places, 5), latents(once, places, 6))
        assert torch.equal(latents(once, places)[0], latents(once, places)[1])
        assert not torch.equal(latents(anew, places, 5), latents(anew, places, 6))
        off = (latents(once, places) - latents(mean, places)) / 0.5
        assert abs(off.std() - 1) < 0.1
        assert not torch.equal(latents(once, places), latents(opened(images, Pooling(), sampling="once", seed=2), places))


def test_mirrored_versions_come_as_often_as_asked_and_both_are_exact(images):
    encoder = Pooling()
    store = opened(images, encoder, augment=Augment(flip=0.3), sampling="mean")
    assert len(encoder.asked) == 6
    plain = latents(opened(images, Pooling(), sampling="mean"), [(1, 0)])
    found = [latents(store, [(1, time)]) for time in range(1000)]
    mirrored = sum(torch.allclose(one, plain.flip(-1), atol=1e-6) for one in found)
    assert sum(torch.equal(one, plain) for one in found) == 1000 - mirrored
    assert 250 < mirrored < 350
    always = opened(images, Pooling(), augment=Augment(flip=1), sampling="mean")
    assert torch.allclose(latents(always, [(1, 0)]), plain.flip(-1), atol=1e-6)


def test_cached_versions_come_in_turn_and_without_a_cache_each_is_new(images):
    augment = Augment(brightness=0.5, versions=3)
    encoder = Pooling()
    store = opened(images, encoder, augment=augment, sampling="mean")
    assert len(encoder.asked) == 9
    found = [latents(store, [(0, time)]) for time in range(6)]
    assert all(torch.equal(found[time], found[time + 3]) for time in range(3))
    assert len({one.sum().item() for one in found}) == 3
    fresh = opened(images, Pooling(), cache="off", augment=augment, sampling="mean")
    assert len({latents(fresh, [(0, time)]).sum().item() for time in range(12)}) == 12
    assert torch.equal(latents(fresh, [(0, 7)]), latents(fresh, [(0, 7)]))


def test_each_concepts_images_are_changed_as_it_says(images):
    items = [replace(item, concept=index) for index, item in enumerate(items_of(images))]
    augments = (Augment(flip=0.5, saturation=0.5, versions=2), Augment(versions=2), Augment(flip=1))
    encoder = Pooling()
    store = opened(images, encoder, items=items, by_concept=augments, sampling="mean")
    assert len(encoder.asked) == 4 + 1 + 1
    seen = [{latents(store, [(view, time)]).sum().item() for time in range(20)} for view in range(3)]
    assert len(seen[0]) > 1 and len(seen[1]) == len(seen[2]) == 1
    plain = opened(images, Pooling(), sampling="mean")
    assert torch.equal(latents(store, [(1, 0)]), latents(plain, [(1, 0)]))
    assert torch.allclose(latents(store, [(2, 0)]), latents(plain, [(2, 0)]).flip(-1), atol=1e-6)
    views = store.views
    assert cached_bytes(views, StoreSettings(1, by_concept=augments)) == 4 * cached_bytes(views, StoreSettings(1))


def test_masks_are_averaged_over_each_latent_and_mirrored_with_their_image(images):
    levels = np.random.default_rng(3).integers(0, 256, (64, 96), dtype=np.uint8)
    Image.fromarray(levels).save(images / "1-masklabel.png")
    expected = torch.from_numpy(levels.astype(np.float32) / 255).view(8, 8, 12, 8).mean(dim=(1, 3))
    for cache in ("memory", "disk", "off"):
        store = opened(images, Pooling(), cache=cache, masks="files", augment=Augment(flip=0.5), sampling="mean")
        plain = latents(opened(images, Pooling(), sampling="mean"), [(1, 0)])
        seen = set()
        for time in range(12):
            masks = store.load([(1, time)]).masks
            is_mirrored = not torch.equal(latents(store, [(1, time)]), plain)
            seen.add(is_mirrored)
            assert masks.shape == (1, 1, 8, 12)
            torch.testing.assert_close(masks[0, 0], expected.flip(-1) if is_mirrored else expected)
        assert seen == {False, True}
        assert torch.equal(store.load([(0, 0)]).masks, torch.ones(1, 1, 8, 8))  # it has no mask file
    assert opened(images, Pooling()).load([(1, 0)]).masks is None


@pytest.mark.parametrize("cache", ["memory", "disk"])
@pytest.mark.parametrize("inputs", [4, 9])  # 9: an inpainting model, which keeps several masks of each image
def test_images_encoded_when_they_are_needed_have_the_bits_of_those_encoded_before(images, cache, inputs):
    model = tiny.tiny_model("sd1", inputs=inputs)
    places = [[(0, 0), (0, 3)], [(1, 0)], [(2, 4)], [(0, 1)]]
    before = opened(images, model, cache="memory", kind="off")
    lazy = opened(images, model, cache=cache, kind="off", when="as needed")
    for few in places:
        ours, theirs = (store.encoded(store.load(few)) for store in (lazy, before))
        assert torch.equal(*(store.latents(one, torch.Generator().manual_seed(5))
                             for store, one in ((lazy, ours), (before, theirs))))
        assert inputs == 4 or torch.equal(ours.inpainting, theirs.inpainting)
    again = opened(images, model, cache=cache, kind="off", when="as needed")
    assert all(row.encoded is not None for row in lazy.load([(0, 5), (1, 5), (2, 5)]).rows)  # each is kept
    assert all((row.encoded is not None) == (cache == "disk") for row in again.load([(0, 0)]).rows)


def test_transparency_is_a_mask_where_it_is_asked_for(images):
    image = Image.new("RGBA", (64, 64), (9, 9, 9, 255))
    image.paste((9, 9, 9, 51), (0, 0, 32, 64))
    image.save(images / "0.png")
    for cache in ("memory", "disk", "off"):
        store = opened(images, Pooling(), cache=cache, masks="alpha")
        row = torch.tensor([0.2] * 4 + [1.0] * 4)
        torch.testing.assert_close(store.load([(0, 0)]).masks, row.expand(1, 1, 8, 8))
        assert torch.equal(store.load([(1, 0)]).masks, torch.ones(1, 1, 8, 12))


def test_a_mask_of_a_latent_is_the_mean_of_its_pixels():
    mask = torch.zeros(1, 16, 16)
    mask[0, :8, :2] = 1
    assert latent_mask(mask).tolist() == [[[0.25, 0], [0, 0]]]
    assert latent_mask(None) is None


def test_size_ids_say_how_each_image_was_scaled_and_cut(images):
    store = opened(images, Pooling(), kind="off")
    # 96x64 (width x height) is cut to its middle 64; 64x128 likewise, 32 px below its top
    assert store.load([(0, 0), (1, 0), (2, 0)]).size_ids.tolist() == [
        [64, 64, 0, 0, 64, 64], [64, 96, 0, 16, 64, 64], [128, 64, 32, 0, 64, 64]]
    jittered = opened(images, Pooling(), kind="off", augment=Augment(flip=0.5, random_crop=True, versions=40))
    mirrored = {}
    for key in jittered.versions.keys():
        left = jittered.versions.size_ids(key)[3]
        mirrored.setdefault(key[:2], {})[key.flip] = left
    lefts = [sides for (view, _), sides in mirrored.items() if view == 1]
    assert len(lefts) == 40 and all(sides[False] + sides[True] == 96 - 64 for sides in lefts)
    assert len({sides[False] for sides in lefts}) > 15


def names(store):
    return set(store.shelf._names.values())


def test_a_cached_file_is_found_again_only_when_nothing_it_depends_on_has_changed(images):
    encoder = Pooling()
    base = opened(images, encoder, cache="disk", kind="off")
    same = [opened(images, encoder, cache="disk", kind="off", seed=9), opened(images, encoder, cache="disk", kind="off",
            sampling="mean"), opened(images, encoder, cache="disk", kind="off", batch=4)]
    assert [names(one) for one in same] == [names(base)] * 3 and len(encoder.asked) == 3
    encoder.vae.decoder.weight.data += 1  # nothing is decoded here
    assert names(opened(images, encoder, cache="disk", kind="off")) == names(base)

    other = [opened(images, encoder, cache="disk"), opened(images, encoder, cache="disk", kind="off",
                                                                            resolution=(128, 128)),
             opened(images, encoder, cache="disk", kind="off", augment=Augment(zoom=0.5, versions=2)),
             opened(images, encoder, cache="disk", kind="off", augment=Augment(zoom=0.5, versions=2), seed=9),
             opened(images, encoder, cache="disk", kind="off", augment=Augment(flip=1)),
             opened(images, encoder, cache="disk", kind="off", masks="alpha")]
    for one in other:
        assert len(names(one) & names(base)) <= 1  # the square one is the same in its exact size
    assert len(set().union(*map(names, other))) >= sum(len(names(one)) for one in other) - 1
    before = fingerprint(encoder)
    encoder.vae.encoder.weight.data[0, 0] += 1e-3
    assert fingerprint(encoder) != before
    assert not names(opened(images, encoder, cache="disk", kind="off")) & names(base)
    half = Pooling()
    half.vae.half()
    assert fingerprint(half) != fingerprint(Pooling())


def test_an_edited_image_or_mask_is_noticed_also_when_size_and_time_are_the_old_ones(images):
    Image.new("L", (96, 64), 255).save(images / "1-masklabel.png")
    encoder = Pooling()
    opened(images, encoder, cache="disk", masks="files")
    for path, count in ((images / "0.png", 4), (images / "1-masklabel.png", 5)):
        times = (path.stat().st_atime_ns, path.stat().st_mtime_ns)
        data = bytearray(path.read_bytes())
        with Image.open(path) as image:
            changed = image.point(lambda value: 255 - value)
            changed.load()
        changed.save(path, format="PNG", compress_level=0)
        assert path.read_bytes() != bytes(data)
        os.utime(path, ns=times)
        store = opened(images, encoder, cache="disk", masks="files")
        assert len(encoder.asked) == count
    assert store.load([(1, 0)]).masks.max() == 0


def test_a_damaged_or_missing_file_is_computed_anew(images):
    encoder = Pooling()
    whole = latents(opened(images, encoder, cache="disk"), [(0, 0)])
    for damage in (lambda data: data[: len(data) // 2], lambda data: b"", lambda data: data[:-3] + b"abc"):
        store = opened(images, encoder, cache="disk")
        path = next(store.shelf.path(key) for key in store.versions.keys() if key.view == 0)
        path.write_bytes(damage(path.read_bytes()))
        asked = len(encoder.asked)
        assert torch.equal(latents(store, [(0, 0)]), whole)
        assert torch.equal(latents(store, [(0, 1)]), whole)
        assert len(encoder.asked) == asked + 1 and path.exists()
        assert torch.equal(latents(opened(images, encoder, cache="disk"), [(0, 0)]), whole) and path.exists()


def test_a_run_that_begins_beside_another_takes_no_image_from_it(images, monkeypatch):
    """It deletes temporary files of killed runs, and with them one that the other is just writing."""
    replace_file, taken = os.replace, []

    def beside(source, target):
        if not taken:
            taken.append(source)
            Disk(images.parent / "cache", str)
        replace_file(source, target)

    monkeypatch.setattr(os, "replace", beside)
    store = opened(images, Pooling(), cache="disk")
    assert taken and not taken[0].exists()
    assert len(list((images.parent / "cache").iterdir())) == 3 and len(store.shelf.files()) == 3


def test_the_disk_says_how_much_it_holds_and_when_it_is_full(images, monkeypatch):
    store = opened(images, Pooling(), cache="disk")
    assert store.shelf.size() == sum(path.stat().st_size for path in (images.parent / "cache").iterdir()) > 3 * 2 * 4 * 64 * 4

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pivotal.formats.kept_files.write_tensors", full)
    with pytest.raises(DatasetError, match="cannot take the latents .No space left on device.; make room"):
        opened(images, Pooling(), cache="disk", kind="off", resolution=(72, 72))


def test_what_a_cache_will_take_is_known_before():
    views = make_views(fits([(512, 512)] * 10, Buckets(), [(512, 512)]), [1.0] * 10)
    one = 4 * 64 * 64 * 4  # bytes of a latent of 512 px
    for expected, settings in (
            (20, StoreSettings(1)), (10, StoreSettings(1, Cache(sampling="mean"))),
            (20, StoreSettings(1, Cache("disk", sampling="mean"))), (40, StoreSettings(1, augment=Augment(flip=0.5))),
            (60, StoreSettings(1, augment=Augment(hue=0.1, versions=3))), (20, StoreSettings(1, augment=Augment(versions=3)))):
        assert cached_bytes(views, settings) == expected * one


def test_progress_is_told_and_a_stop_is_heard(images):
    items = items_of(images)
    views = make_views(fits([item.size for item in items], Buckets(kind="exact sizes"), [(64, 64)]), [1.0] * 3)
    told, encoder = [], Pooling()
    first = [(0, 3), (1, 3), (2, 3), (3, 3)]
    for cache, expected in (("memory", first), ("disk", first), ("disk", [(1, 3), (2, 3), (3, 3), (3, 3)]), ("off", [])):
        told.clear()
        open_store(encoder, items, views, StoreSettings(1, Cache(cache)), images.parent / "told",
                   progress=lambda *done: told.append(done), stopped=lambda: False)
        assert told == expected
    encoder = Pooling()
    assert open_store(encoder, items, views, StoreSettings(1), images.parent, progress=lambda *_: None,
                      stopped=lambda: len(encoder.asked) == 2) is None
    assert len(encoder.asked) == 2


def test_a_vae_that_answers_with_no_number_is_named_with_its_image(images):
    encoder = Pooling()
    encoder.encode_images = lambda pixels: (torch.full((len(pixels), 4, 8, 8), torch.nan), torch.zeros(len(pixels), 4, 8, 8))
    with pytest.raises(DatasetError, match=r"0\.png: the VAE answers .* --no-half-vae"):
        opened(images, encoder, kind="off")


def test_an_inpainting_model_is_told_the_file_or_drawn_masks_and_each_in_some_epoch(images):
    model = tiny.tiny_model("sd1", inputs=9)
    mask = Image.new("L", (96, 64), 0)
    mask.paste(255, (48, 0, 96, 64))
    mask.save(images / "1-masklabel.png")
    found = {cache: opened(images, model, cache=cache) for cache in ("memory", "disk", "off")}
    inputs = {cache: [store.encoded(store.load([(0, time)])).inpainting for time in range(24)] for cache, store in found.items()}
    for cache in ("disk", "off"):
        assert all(torch.equal(one, two) for one, two in zip(inputs["memory"], inputs[cache], strict=True))
    assert inputs["memory"][0].shape == (1, 5, 8, 8)
    shares = [one[0, 0].mean().item() for one in inputs["memory"]]
    assert len(set(shares)) == 4 and 1.0 in shares
    pixels = read_picture(images / "1.png", found["off"].views[1].fit, Change()).pixels
    told = torch.zeros(1, 1, 64, 96)
    told[..., 48:] = 1
    for store in found.values():
        assert torch.equal(store.encoded(store.load([(1, 3)])).inpainting, model.encode_masked(pixels[None], told))
    assert found["memory"].load([(1, 0)]).masks is None  # the loss has none, whatever the model is told


def test_images_are_cut_to_their_masks_and_masks_go_with_them(images):
    """The store's latents are those of a picture that was cut before by hand."""
    mask = Image.new("L", (96, 64), 0)
    mask.paste(255, (48, 16, 80, 48))  # left, top, right, bottom
    mask.save(images / "1-masklabel.png")
    items = [item for item in items_of(images) if item.path.stem == "1"]
    store = opened(images, Pooling(), items=items, kind="off", resolution=(32, 32), masks="files", cut_to_masks=True,
                   sampling="mean")
    whole = opened(images, Pooling(), items=items, kind="off", resolution=(32, 32), masks="files", sampling="mean")
    # 64 px high become 32: the mask's 32 px and a fifth, 38.4, fill the cut when it is enlarged by 64 / 38.4.
    top, left, height, width = store.load([(0, 0)]).size_ids[0, 2:].tolist()
    assert (height, width) == (32, 32) and store.versions.change(store.versions.key(0, 0)).zoom == pytest.approx(64 / 38.4)
    assert (top, left) == pytest.approx(((32 - 19.2) / 38.4 * 32, (64 - 19.2) / 38.4 * 32), abs=1)
    assert store.load([(0, 0)]).masks.mean() == pytest.approx(1 / 1.44, abs=0.12)
    assert whole.load([(0, 0)]).masks.mean() < 0.4
    assert not torch.equal(latents(store, [(0, 0)]), latents(whole, [(0, 0)]))


def test_masks_are_round_parts_another_each_time_and_the_latents_stay(images):
    Image.new("L", (96, 64), 255).save(images / "1-masklabel.png")
    store = opened(images, Pooling(), masks="files", round_parts=True, sampling="mean")
    found = [store.load([(1, time)]).masks for time in range(20)]
    assert len({tuple(mask.flatten().tolist()) for mask in found}) > 10 and all(0 < mask.mean() <= 1 for mask in found)
    assert torch.equal(store.load([(1, 3)]).masks, found[3])
    assert all(bool((store.load([(0, time)]).masks == 1).all()) for time in range(5))  # has no mask
    assert torch.equal(latents(store, [(1, 0)]), latents(store, [(1, 7)]))
