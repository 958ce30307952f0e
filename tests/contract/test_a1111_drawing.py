"""Samples by AUTOMATIC1111's own samplers against their stand-in; tests/host holds them against the real one's pictures."""

import numpy as np
import pytest
import torch

from fake_host import FakeHost, write_dataset
from hosts.a1111_samplers import Samplers
from hosts.a1111_standin import Webui, borrowed
from pivotal.config.sections.output import Samples
from pivotal.hosts.detect import detect
from pivotal.hosts.drawing import Drawing
from pivotal.jobs.checks.drawing import drawing_problems
from pivotal.jobs.desk import Desk
from pivotal.models.generate import GenerateSettings, conditioning_for, generate, negative_for

SETTINGS = GenerateSettings(64, 64, steps=3, cfg_scale=3, seed=5, batch=2)


def pixels(images):
    return np.stack([np.asarray(image, dtype=np.int16) for image in images])


def drawn(host, model, by, should_stop=lambda: False):
    return by(model, conditioning_for(model, "a red circle"), negative_for(model, ""), SETTINGS, should_stop=should_stop)


@pytest.mark.parametrize(("family", "inputs"), [("sd1", 4), ("sd1", 9), ("sd2", 4), ("sdxl", 4)])
def test_it_draws_what_our_sampler_of_that_name_draws(monkeypatch, tmp_path, family, inputs):
    """Ours is diffusers'; of its levels the host cuts the fractions off, and we round."""
    Samplers(monkeypatch, Webui(monkeypatch, tmp_path, family, inputs))
    host, _ = detect()
    assert isinstance(host, Drawing) and host.samplers() == ["Euler", "Heun", "Euler Karras", "Heun Karras"]
    theirs, ours = borrowed(host, lambda model: (drawn(host, model, host.draw), drawn(host, model, generate)))
    apart = pixels(ours) - pixels(theirs)
    assert len(theirs) == 2 and pixels(ours).std() > 1
    assert apart.min() >= -1 and apart.max() <= 2, (apart.min(), apart.max())


@pytest.mark.parametrize("fails", ["", "stopped", "failed"])
def test_nothing_of_the_hosts_is_changed_by_a_drawing(monkeypatch, tmp_path, fails):
    webui = Webui(monkeypatch, tmp_path)
    samplers = Samplers(monkeypatch, webui)
    samplers.rng.nv_rng = "of the last prompt"
    host, _ = detect()

    def seen():
        modules = [vars(module).copy() for module in (samplers.sd_samplers_common, samplers.sd_samplers_cfg_denoiser,
                                                      samplers.k_diffusion, samplers.rng, webui.shared)]
        return modules, vars(webui.shared.state).keys(), torch.get_rng_state().tolist(), list(samplers.callbacks)

    def stop():
        if fails == "failed":
            raise RuntimeError("on purpose")
        return fails == "stopped"

    def work(model):
        before = seen()
        try:
            images = drawn(host, model, host.draw, stop)
        except RuntimeError:
            images = None
        assert seen() == before
        return images, host.changed()

    images, changed = borrowed(host, work)
    assert (None if images is None else len(images)) == {"": 2, "stopped": 0, "failed": None}[fails]
    assert changed is None


def test_a_run_that_asks_for_it_has_its_samples_drawn_so(monkeypatch, tmp_path):
    samplers = Samplers(monkeypatch, Webui(monkeypatch, tmp_path))
    make, asked = samplers.sd_samplers.create_sampler, []
    monkeypatch.setattr(samplers.sd_samplers, "create_sampler", lambda name, model: asked.append(name) or make(name, model))
    desk = Desk(detect()[0])
    desk.start({"name": "zkteal", "dataset.folder": str(write_dataset(tmp_path / "images")), "dataset.resolution": 64,
                "embeddings.0.placeholder": "zkteal", "length.steps": 1, "samples.every_steps": 1, "samples.steps": 1,
                "samples.through": "the host", "samples.host_sampler": "Heun", "samples.prompts": ["a", "b --ss euler"]})
    view = desk.wait(120)
    assert (view.state, view.message) == ("finished", "")
    assert asked == ["Heun", "Euler"] * 2  # before the first step, and after the last


def test_it_is_refused_in_words_where_it_cannot_be(monkeypatch, tmp_path):
    (tmp_path / "webui").mkdir()
    Samplers(monkeypatch, Webui(monkeypatch, tmp_path / "webui"))
    host, _ = detect()
    asked = Samples(through="the host")
    assert drawing_problems(Samples(), FakeHost(tmp_path)) == drawing_problems(asked, host) == {}
    assert "(fake) cannot draw" in drawing_problems(asked, FakeHost(tmp_path))["samples.through"]
    told = drawing_problems(Samples(through="the host", host_sampler="Ruler"), host)
    assert "no sampler 'Ruler'; it has Euler, Heun" in told["samples.host_sampler"]
