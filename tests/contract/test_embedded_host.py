"""The embedded host keeps hosts.protocol's promises."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

import numpy as np
import pytest
import torch

import tiny
from pivotal.errors import HostError
from pivotal.formats.atomic import write_bytes
from pivotal.formats.embedding_file import embedding_bytes
from pivotal.hosts.embedded.fifo import FifoLock
from pivotal.hosts.embedded.host import EmbeddedHost
from pivotal.hosts.embedded.txt2img import Txt2Img
from pivotal.hosts.protocol import Host
from pivotal.models.generate import GenerateSettings

SETTINGS = GenerateSettings(64, 64, steps=2, cfg_scale=3.0, seed=7)


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    data = tmp_path_factory.mktemp("data")
    for family in tiny.SHAPES:
        tiny.write_tiny(data / "models" / "Stable-diffusion" / f"{family}.safetensors", family)
    host = EmbeddedHost(data, device="cpu", toy=data / "no toy")
    host._tokenizer = tiny.tokenizer()
    return host


def draw(host, prompt="a red circle", **changes):
    return host.generate(Txt2Img(prompt, "", replace(SETTINGS, **changes)))


def pixels(host, prompt="a red circle", **changes):
    return np.asarray(draw(host, prompt, **changes).images[0])


def write_embedding(host, name, seed=1, count=2, family="sd1"):
    generator = torch.Generator().manual_seed(seed)
    vectors = [torch.randn(count, width, generator=generator) for width in host.described(family).widths]
    path = host.folders().embeddings / f"{name}.safetensors"
    write_bytes(path, embedding_bytes(vectors, {}))
    return path


def test_it_is_a_host(host):
    assert isinstance(host, Host)
    for folder in (host.folders().embeddings, host.folders().loras, host.folders().scratch):
        assert folder.is_absolute()
        assert folder.is_dir()


@pytest.mark.parametrize("family", sorted(tiny.SHAPES))
def test_each_family_is_listed_described_and_draws(host, family):
    assert family in host.checkpoints()
    assert host.select(family).family.name == family
    assert host.checkpoint().family == family
    assert host.described().resolution == 64
    assert host.described().widths == tiny.tiny_model(family).widths
    drawn = draw(host)
    assert drawn.images[0].size == (64, 64)
    assert np.array_equal(np.asarray(drawn.images[0]), pixels(host))
    assert f"Model: {family}" in drawn.infotexts[0]


def test_an_embedding_works_from_the_next_prompt_on_and_leaves_no_trace(host):
    host.select("sd1")
    before, plain = pixels(host, "a zkword"), pixels(host)
    path = write_embedding(host, "zkword")
    host.refresh(path)
    assert host.prompt_context().embeddings["zkword"] == 2
    changed = pixels(host, "a ZKword")
    assert not np.array_equal(before, changed)
    assert np.array_equal(plain, pixels(host))
    assert 'TI hashes: "zkword: ' in draw(host, "a zkword").infotexts[0]
    write_embedding(host, "zkword", seed=2)
    assert not np.array_equal(changed, pixels(host, "a zkword"))
    path.unlink()
    assert "zkword" not in host.prompt_context().embeddings
    assert np.array_equal(before, pixels(host, "a zkword"))


def test_embeddings_of_another_family_are_not_offered(host):
    host.select("sdxl")
    path = write_embedding(host, "zkxl", family="sdxl")
    assert host.prompt_context().embeddings == {"zkxl": 2}
    assert list(host.prompt_context().encoders) == ["clip_l", "clip_g"]
    assert not np.array_equal(pixels(host, "a zkxl"), pixels(host, "a b"))
    host.select("sd1")
    assert host.prompt_context().embeddings == {}
    path.unlink()


@pytest.mark.parametrize(("content", "words"), [(b"", "is empty"), (b"x" * 100, "not a whole safetensors")])
def test_a_broken_embedding_is_told_of_and_spoils_nothing(host, content, words):
    host.select("sd1")
    path = host.folders().embeddings / "zkbroken.safetensors"
    path.write_bytes(content)
    drawn = draw(host, "a zkbroken")
    assert len(drawn.images) == 1
    assert any(words in notice for notice in drawn.notices)
    assert draw(host).notices == ()
    path.unlink()


def test_too_long_an_embedding_is_told_of(host):
    host.select("sd1")
    path = write_embedding(host, "zklong", count=76)
    assert any("76 vectors" in notice for notice in draw(host, "a zklong").notices)
    path.unlink()


def state_of(model):
    modules = [model.unet, model.vae, *(encoder.module for encoder in model.text_encoders)]
    tensors = [tensor for module in modules for tensor in [*module.parameters(), *module.buffers()]]
    return ([(tensor.data_ptr(), tensor.dtype, tensor.requires_grad, tensor.grad, tensor.double().sum().item())
             for tensor in tensors],
            [(part.training, len(part._forward_hooks), sorted(vars(part))) for module in modules for part in module.modules()])


@pytest.mark.parametrize("raises", [False, True])
def test_what_was_borrowed_is_given_back(host, raises):
    host.select("sd1")
    before = pixels(host)
    states = []

    def work():
        with host.borrow("") as model:
            states.append(state_of(model))
        try:
            with host.borrow("") as model:
                model.unet.train().requires_grad_(True)
                model.unet.enable_gradient_checkpointing()
                model.unet.conv_in.register_forward_hook(lambda *_: None)
                loss = model.unet(torch.randn(1, 4, 8, 8), 5, torch.randn(1, 77, 32)).sample.sum()
                loss.backward()
                if raises:
                    raise KeyError("as a trainer might")
        except KeyError:
            pass
        with host.borrow("sd1") as model:
            states.append(state_of(model))

    host.run(work)
    assert states[0] == states[1]
    assert np.array_equal(before, pixels(host))


def test_another_checkpoint_can_be_borrowed_and_the_choice_stays(host):
    host.select("sd1")
    before = pixels(host)

    def work():
        with host.borrow("sdxl") as model:
            return model.family.name

    assert host.run(work) == "sdxl"
    assert host.checkpoint().name == "sd1"
    assert np.array_equal(before, pixels(host))


def test_borrowing_without_the_lock_is_a_mistake(host):
    with pytest.raises(RuntimeError, match="run"), host.borrow(""):
        pass


def test_a_checkpoint_that_is_not_there_is_named(host):
    with pytest.raises(HostError, match="no checkpoint 'nope'"):
        host.select("nope")
    with pytest.raises(HostError, match="no checkpoint 'nope'"), host._lock, host.borrow("nope"):
        pass


def test_the_lock_is_fair_and_the_prompt_box_does_not_wait(host):
    host.select("sd1")
    order, held, done = [], threading.Event(), threading.Event()

    def training():
        held.set()
        assert done.wait(300)
        order.append("training")

    def waiting(name, ready):
        ready.set()
        host.run(lambda: order.append(name))

    threads = [threading.Thread(target=lambda: host.run(training))]
    threads[0].start()
    assert held.wait(300)
    for name in ("first", "second"):
        ready = threading.Event()
        threads.append(threading.Thread(target=waiting, args=(name, ready)))
        threads[-1].start()
        assert ready.wait(300)
        while len(host._lock._line) < len(threads):
            pass
    assert host.is_busy
    assert list(host.prompt_context().encoders) == ["clip_l"]
    assert host.checkpoint().name == "sd1"
    done.set()
    for thread in threads:
        thread.join(300)
    assert order == ["training", "first", "second"]
    assert not host.is_busy


def test_the_lock_is_free_again_after_an_exception(host):
    def work():
        raise KeyError

    with pytest.raises(KeyError):
        host.run(work)
    assert host.run(lambda: 5) == 5
    with pytest.raises(RuntimeError), FifoLock() as lock, lock:
        pass


def test_settling_stops_whoever_uses_the_model_and_waits_for_it(host):
    assert host.settle(1)
    held = threading.Event()

    def training():
        held.set()
        while not host.stop_requested():
            pass

    thread = threading.Thread(target=lambda: host.run(training))
    thread.start()
    assert held.wait(300)
    assert host.settle(30)
    thread.join(300)


def test_those_who_wait_are_let_through_and_the_lent_model_stays(host):
    host.select("sd1")
    expected, drawn = pixels(host), []

    def generate(checkpoint):
        host.select(checkpoint)
        drawn.append(pixels(host))

    def work():
        with host.borrow("sd1") as model:
            host.let_through()  # nobody waits
            for checkpoint in ("sd1", "sdxl"):
                asked = threading.Thread(target=generate, args=[checkpoint])
                asked.start()
                until = time.monotonic() + 300
                while not drawn[("sd1", "sdxl").index(checkpoint):] and time.monotonic() < until:
                    host.let_through()
                asked.join(300)
                assert host.changed() is None
            host.interrupt()  # they are not asked to wait, but this run is about to end
            host.let_through()
            return host.stop_requested(), host._loaded.model is model

    assert host.run(work) == (True, True)
    assert len(drawn) == 2
    assert np.array_equal(drawn[0], expected)
    assert not np.array_equal(drawn[1], expected)
    host.select("sd1")
    assert np.array_equal(pixels(host), expected)


def test_interrupt_ends_an_image_and_is_forgotten_by_the_next(host):
    host.select("sd1")
    drawn = host.generate(Txt2Img("a", "", SETTINGS), lambda done, of: host.interrupt())
    assert drawn.images == ()
    assert len(draw(host).images) == 1
    assert not host.stop_requested()


@pytest.mark.parametrize(("changes", "word"), [
    ({"width": 60}, "width"), ({"height": 10_000}, "height"), ({"steps": 0}, "steps"), ({"cfg_scale": 0.5}, "CFG"),
    ({"sampler": "Heun"}, "DPM"), ({"seed": 2**32}, "seed"), ({"batch": 99}, "batch"),
])
def test_a_setting_out_of_range_is_told_by_name(host, changes, word):
    with pytest.raises(HostError, match=word):
        draw(host, **changes)


def test_seed_minus_one_is_another_one_each_time(host):
    host.select("sd1")
    first, second = draw(host, seed=-1), draw(host, seed=-1)
    assert first.seed != second.seed
    assert f"Seed: {first.seed}," in first.infotexts[0]
