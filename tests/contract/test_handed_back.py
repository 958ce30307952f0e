"""However a run ends, the host has its model, its flags and its dice back to the bit, and can be asked for the next run.

On the embedded host and on each stand-in; tests/host asks the same of real WebUIs.
"""

from __future__ import annotations

import ctypes
import hashlib
import random
import threading

import numpy as np
import pytest
import torch
from torch import nn

import tiny
from fake_host import write_dataset
from hosts.a1111_standin import Webui
from hosts.forge_standin import Forge
from hosts.reforge_standin import ReforgeWebui
from hosts.sdnext_standin import SdNext
from pivotal.hosts.detect import detect
from pivotal.hosts.embedded.host import EmbeddedHost
from pivotal.hosts.embedded.txt2img import Txt2Img
from pivotal.jobs.desk import Desk
from pivotal.models import lend
from pivotal.models.diffusion import DiffusionModel
from pivotal.models.generate import GenerateSettings, conditioning_for, generate, negative_for

# All that reaches into a model at once: both kinds of trainee, previews, copies, averages, narrow numbers, computing twice.
RUN = {"name": "run", "embeddings.0.placeholder": "zkteal", "embeddings.0.token_count": 2, "network.method": "lora",
       "network.rank": 2, "targets.text_encoder_1": True, "precision.compute": "bf16", "precision.gradient_checkpointing": True,
       "performance.attention": "math", "optimizer.ema_decay": 0.9, "batch.size": 2, "length.steps": 3, "measure.images": 0,
       "dataset.resolution": 64, "save.every_steps": 2, "samples.every_steps": 2, "samples.steps": 1,
       "samples.prompts": ["zkteal"], "guard.bad_step": "stop"}
BAD_STEP = 2  # of the UNet's answers


class EmbeddedHere:
    """The embedded host, set up as the stand-ins are."""

    def __init__(self, patch, folder):
        tiny.write_tiny(folder / "models" / "Stable-diffusion" / "tiny.safetensors")
        self.host = EmbeddedHost(folder, device="cpu", toy=folder / "no toy")
        self.host._tokenizer = tiny.tokenizer()
        self.host.select("tiny")

    def modules(self):
        model = self.host._loaded.model
        return [model.unet, model.vae, *(encoder.module for encoder in model.text_encoders)]


def held_by(made):
    """All modules that are the host's own."""
    if isinstance(made, EmbeddedHere):
        return made.modules()
    if isinstance(made, SdNext):
        return [part for part in made.pipe.components.values() if isinstance(part, nn.Module)]
    if isinstance(made, Forge):
        parts = made.data.sd_model.forge_objects
        return [made.data.sd_model.unet, parts.clip.cond_stage_model, parts.vae.first_stage_model]
    objects = getattr(made.model, "forge_objects_original", None)
    return [made.model, *([objects.unet.model, objects.clip.cond_stage_model] if objects else [])]


HOSTS = {"embedded": EmbeddedHere, "a1111": Webui, "forge": Forge, "reforge": ReforgeWebui, "sdnext": SdNext}


@pytest.fixture(scope="module", params=sorted(HOSTS))
def lender(request, tmp_path_factory):
    """A host, what holds its model, and a desk; the same one for all endings, so that each finds what the last one left."""
    folder = tmp_path_factory.mktemp(request.param)
    with pytest.MonkeyPatch.context() as patch:
        made = HOSTS[request.param](patch, folder)
        host = made.host if isinstance(made, EmbeddedHere) else detect()[0]
        drawing(host)  # some load at the first borrowing only
        yield host, made, Desk(host), write_dataset(folder / "images", 4)


def drawing(host):
    """An image of the lent model; the embedded host draws by its own path."""
    settings = GenerateSettings(64, 64, steps=2, cfg_scale=1.0, seed=7)
    if isinstance(host, EmbeddedHost):
        return np.asarray(host.generate(Txt2Img("a red circle", "", settings)).images[0]).tobytes()

    def work():
        with host.borrow("") as model, torch.no_grad():
            told = conditioning_for(model, "a red circle", {}), negative_for(model, "", {})
            return np.asarray(generate(model, *told, settings)[0]).tobytes()

    return host.run(work)


def checksum(modules):
    """Of all tensors and flags: name -> what it is, where it lies, and a hash of its bits."""
    found = {}
    for number, top in enumerate(modules):
        for path, module in top.named_modules():
            hooks = {name: tuple(value) for name, value in vars(module).items() if "_hooks" in name and isinstance(value, dict)}
            found[f"{number}.{path}"] = (type(module), id(module), module.training, hooks, sorted(vars(module)),
                                         vars(module).get("gradient_checkpointing"), getattr(module, "forward", None))
            for name, tensor in [*module._parameters.items(), *module._buffers.items()]:
                if tensor is not None:
                    bits = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
                    found[f"{number}.{path}.{name}"] = (
                        id(tensor), tensor.data_ptr(), tensor.dtype, tensor.device, tensor.shape, tensor.requires_grad,
                        tensor.grad, tensor.is_inference(), hashlib.sha256(bits).hexdigest())
    return found


def of_the_process():
    """Dice and flags that a run shares with everybody else in the WebUI."""
    numbers = np.random.get_state()
    matmul, cudnn, cuda = torch.backends.cuda.matmul, torch.backends.cudnn, torch.backends.cuda
    return {"torch": torch.get_rng_state().numpy().tobytes(), "python": random.getstate(),
            "numpy": (numbers[0], numbers[1].tobytes(), *numbers[2:]),
            "grad": (torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.is_anomaly_enabled()),
            "dtype": (torch.get_default_dtype(), torch.get_float32_matmul_precision(), torch.get_num_threads()),
            "deterministic": (torch.are_deterministic_algorithms_enabled(), cudnn.deterministic, cudnn.benchmark),
            "tf32": (matmul.allow_tf32, cudnn.allow_tf32, matmul.allow_bf16_reduced_precision_reduction),
            "attention": (cuda.flash_sdp_enabled(), cuda.mem_efficient_sdp_enabled(), cuda.math_sdp_enabled(),
                          nn.functional.scaled_dot_product_attention),
            "classes": (nn.Module.__call__, nn.Linear.forward, nn.Conv2d.forward, DiffusionModel.predict)}


def kill_this_thread():
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(threading.get_ident()), ctypes.py_object(SystemExit))


def restored_but_once(patch):
    """The third module that is given back finds its thread killed."""
    real, calls = lend._restore, []

    def restore(before):
        calls.append(1)
        if len(calls) == 3:
            kill_this_thread()
        real(before)

    patch.setattr(lend, "_restore", restore)


def wounded(what, desk):
    """The UNet's answer, to which `what` happens at one step."""
    real, calls = DiffusionModel.predict, []

    def predict(self, *values, **named):
        calls.append(1)
        if len(calls) != BAD_STEP:
            return real(self, *values, **named)
        if what == "failed":
            raise ValueError("on purpose")
        if what == "out of memory":
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        if what == "thread killed":
            kill_this_thread()
        if what == "stopped":
            desk.stop()
        answer = real(self, *values, **named)
        return answer * torch.nan if what == "not a number" else answer

    return predict


KILLED = ("failed", "was ended from outside")
ENDINGS = {"finished": ("finished", ""), "failed": ("failed", "on purpose"), "thread killed": KILLED, "stopped": ("stopped", ""),
           "out of memory": ("failed", "ran out of memory"), "not a number": ("failed", "nan")}
ONCE = ("stopped", "out of memory", "not a number")  # the others also on each environment's own diffusers


def check_handed_back(lender, expected, wound):
    """`wound` is done to what it is handed, a MonkeyPatch, for the time of a run."""
    host, made, desk, images = lender
    before, image = checksum(held_by(made)), drawing(host)
    with pytest.MonkeyPatch.context() as patch:
        process = of_the_process()
        wound(patch)
        desk.start(RUN | {"dataset.folder": str(images)})
        view = desk.wait(300)
    state, words = expected
    assert (view.state, words in view.message) == (state, True), view
    assert of_the_process() == process
    after = checksum(held_by(made))
    assert {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)} == set()
    assert len(before) > 100 and drawing(host) == image
    assert not desk.busy and host.run(lambda: True)  # the lock is free


@pytest.mark.parametrize("ending", [pytest.param(name, marks=[pytest.mark.once] * (name in ONCE)) for name in ENDINGS])
def test_the_host_is_handed_back_to_the_bit(lender, ending):
    def wound(patch):
        patch.setattr(DiffusionModel, "predict", wounded(ending, lender[2]))

    check_handed_back(lender, ENDINGS[ending], wound)


@pytest.mark.once
@pytest.mark.parametrize("lender", ["embedded"], indirect=True)  # the only one whose own modules are lent
def test_also_when_the_thread_is_killed_while_it_hands_back(lender):
    check_handed_back(lender, KILLED, restored_but_once)


@pytest.mark.parametrize("harm", [
    lambda linear: linear.weight.data[0].add_(1e-7), lambda linear: linear.to(torch.float64), lambda linear: linear.train(),
    lambda linear: linear.requires_grad_(False), lambda linear: linear.register_forward_hook(print),
    lambda linear: setattr(linear, "weight", nn.Parameter(linear.weight.clone())),
    lambda linear: setattr(linear.weight, "grad", torch.zeros(1, 1)), lambda linear: setattr(linear, "forward", print)])
def test_the_checksum_sees_what_it_looks_for(harm):
    linear = nn.Linear(1, 1).eval()
    before = checksum([linear])
    assert checksum([linear]) == before
    harm(linear)
    assert checksum([linear]) != before


def test_the_look_at_the_process_sees_its_dice_and_flags():
    before = of_the_process()
    with torch.random.fork_rng(devices=[]):
        torch.rand(1)
        assert {key for key, value in of_the_process().items() if value != before[key]} == {"torch"}
    with torch.no_grad():
        assert {key for key, value in of_the_process().items() if value != before[key]} == {"grad"}
    assert of_the_process() == before
