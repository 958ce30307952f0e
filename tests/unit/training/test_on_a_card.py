"""Steps on a graphics card that is not there: nothing lies on the wrong device, and nobody waits for the card in between.

Torch's meta device is in its place, whose tensors have no values, and a mode sees each operation. Not seen so: the card's own
kernels, its memory, autocast and the scaler of fp16, which go by the name "cuda".
"""

from __future__ import annotations

import traceback
from collections import Counter
from pathlib import Path

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from pivotal.config.sections.loss import Loss, Noise
from pivotal.config.sections.mask import Mask
from pivotal.config.sections.training import Optimizer
from pivotal.embeddings.nearest import drift, nearest_tokens
from pivotal.embeddings.trained import TrainedEmbedding
from pivotal.errors import OptionError
from pivotal.jobs.trainees import Attached
from pivotal.models import devices
from pivotal.models.checkpointing import checkpoint_model
from pivotal.models.generate import GenerateSettings, conditioning_for, generate, negative_for
from pivotal.models.layers import UNET, layers_of
from pivotal.networks.methods import fits
from pivotal.networks.network import Network
from pivotal.networks.settings import LayerSettings
from pivotal.prompts.chunks import tokenize_caption
from pivotal.training import rounding
from pivotal.training.batch import Batch
from pivotal.training.denoise import Untrained
from pivotal.training.optimizers import make_steppers
from pivotal.training.part import Part
from pivotal.training.precision import compute_dtype
from pivotal.training.seeds import generator
from pivotal.training.session import Session
from pivotal.training.settings import Settings
from tiny import tiny_model, tokenizer

pytestmark = pytest.mark.once

OURS = Path(devices.__file__).parents[1]
CARD = torch.device("meta")
COUNT = 2
METHODS = ("lora", "loha", "lokr", "dylora", "oft", "boft", "ia3", "glora", "full")
WORDS = ("a zkteal", "a (zkteal:1.2) cat")
PRIOR = {"prior": torch.tensor([True, False]), "weights": torch.tensor([1.0, 0.5])}
MASKS = {"masks": torch.linspace(0, 1, COUNT * 64).reshape(COUNT, 1, 8, 8)}
aten = torch.ops.aten


class Card(TorchDispatchMode):
    """Notes which of our files wait for the card, and where it would compute in fp64; raises where devices are mixed, as CUDA.

    What is asked of the card is answered with numbers that could be there.
    """

    def __init__(self):
        super().__init__()
        self.waits, self.doubles = Counter(), Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        on_card = [tensor for tensor in tensors if tensor.is_meta]
        target = torch.device(kwargs["device"]) if kwargs.get("device") else tensors[0].device if tensors else None
        if not on_card and target != CARD:
            return func(*args, **kwargs)
        if torch.float64 in (kwargs.get("dtype"), *(tensor.dtype for tensor in on_card)):
            self.doubles[place()] += 1
        if func is aten._to_copy.default and target != CARD:
            return self.waited(torch.zeros(tensors[0].shape, dtype=kwargs.get("dtype") or tensors[0].dtype))
        if func is aten._to_copy.default and not on_card:
            return func(*args, **kwargs) if kwargs.get("non_blocking") else self.waited(func(*args, **kwargs))
        if func is aten.copy_.default and len(on_card) == 1:
            return self.waited(args[0])
        if func is aten._local_scalar_dense.default:
            return self.waited(on_card[0].dtype == torch.bool or (0.5 if on_card[0].is_floating_point() else 1))
        if func in (aten.equal.default, aten.nonzero.default, aten._linalg_check_errors.default):
            raise RuntimeError(f"{func} waits for the card in {place()}")
        if on_card and any(tensor.dim() and not tensor.is_meta for tensor in tensors):
            raise RuntimeError(f"{func} mixes devices in {place()}")
        return func(*args, **(kwargs | {"generator": None} if "generator" in kwargs else kwargs))

    def waited(self, answer):
        self.waits[place()] += 1
        return answer


def place():
    """The file of ours that asked."""
    names = (frame.f_code.co_filename for frame, _ in traceback.walk_stack(None))
    return next((Path(name).name for name in names if OURS in Path(name).parents), "none of ours")


@pytest.fixture
def card(monkeypatch):
    """As fast as CUDA, and with random numbers of its own."""
    real = torch.Generator
    monkeypatch.setattr(devices, "COPIES_ASIDE", ("meta",))
    for module in (torch, rounding):
        monkeypatch.setattr(module, "Generator", lambda _device="cpu": real())
    return Card()


def laid(model):
    """`model` on the card."""
    for top in (model.unet, *(encoder.module for encoder in model.text_encoders)):
        for module in top.modules():
            for register in (module._parameters, module._buffers):
                for name, tensor in register.items():
                    there = None if tensor is None else tensor.detach().to(CARD)
                    register[name] = torch.nn.Parameter(there, False) if isinstance(tensor, torch.nn.Parameter) else there
    return model


class Batches:
    """Two images with captions, the same each time."""

    images, size = float(COUNT), COUNT

    def __init__(self, placeholders, **more):
        self.placeholders, self.more = placeholders, more

    def at(self, position):
        prompts = [tokenize_caption(text, tokenizer(), self.placeholders) for text in WORDS]
        return Batch(torch.ones(COUNT, 4, 8, 8), prompts, torch.full((COUNT, 6), 64.0), items=(0, 1), **self.more)


def embedding(model, **settings):
    return TrainedEmbedding("zkteal", [torch.zeros(2, width) for width in model.widths], **settings).to(CARD)


def network(model, method, part=UNET, **settings):
    """Over a linear layer; in the UNet also over a convolution and a norm, where the method is for them."""
    wanted = [torch.nn.Linear, *([torch.nn.Conv2d, torch.nn.GroupNorm] if part == UNET else [])]
    layers = [layer for layer in layers_of(model) if layer.part == part]
    found = [next(layer for layer in layers if isinstance(layer.module, kind)) for kind in wanted]
    told = LayerSettings(rank=2, alpha=1.0, dropout=0.1, rank_dropout=0.1, constraint=0.1, **settings)
    chosen = [(layer, told) for layer in found if fits(method, layer.module) or fits("norm", layer.module)]
    return Network(part, method, chosen, generator(1, method), norm_limit=1.0)


def session(model, networks, words, batch, **settings):
    parts = [Part(word, 1e-3) for word in words] + [Part(each, 1e-3) for each in networks]
    attached = Attached(networks)
    start = {"zkteal": tuple(torch.zeros(2, width, device=CARD) for width in model.widths)}
    options = {"seed": 1, "steps": 10, "accumulation": 1, "compute": torch.float32} | settings
    return attached, Session(model, parts, Batches(dict.fromkeys(["zkteal"][:len(words)], 2), **batch),
                             make_steppers(Optimizer(), parts), Settings(**options), Untrained(start, attached.lifted))


def everything(model):
    """All that a loss is made of, on an embedding."""
    return session(model, [], [embedding(model, norms=[0.4])], MASKS | PRIOR, accumulation=2, ema_decay=0.9, clip_norm=1.0,
                   mask=Mask(source="alpha", prior_weight=0.5),
                   loss=Loss(weighting="min-snr", kind="huber", huber_schedule="snr", by_timestep="0: 1, 1000: 0.5"),
                   noise=Noise(offset=0.1, offset_by_timestep=True, adaptive_scale=0.1, offset_random=True,
                               multires_iterations=4, perturbation=0.1, input_perturbation=0.1))


def every_method(model):
    networks = [network(model, method) for method in METHODS]
    networks += [network(model, method, dora=True) for method in ("lora", "loha", "lokr")] + [network(model, "lora", "te1")]
    networks.append(network(model, "lora"))
    networks[-1].narrow()
    return session(model, networks, [embedding(model)], {})


def checkpointed(model):
    checkpoint_model(model)
    return session(model, [network(model, "lora", part) for part in (UNET, "te1", "te2")], [embedding(model)], PRIOR,
                   pad_captions=False)


def kept_captions(model):
    return session(model, [network(model, "lora")], [], {"inpainting": torch.zeros(COUNT, 5, 8, 8)}, cache_text=True)


@pytest.mark.parametrize(("family", "inputs", "make"), [
    ("sd1", 4, everything), ("sd1", 4, every_method), ("sdxl", 4, checkpointed), ("sd1", 9, kept_captions)])
def test_a_step_asks_the_card_twice_and_mixes_no_devices(card, family, inputs, make):
    """For the losses, all batches at once, and for whether the gradients are numbers."""
    model = laid(tiny_model(family, inputs=inputs))
    with card:
        attached, run = make(model)
        with attached:
            run.losses.denoiser.told(run.batches.at(0))  # so that captions are kept where they are to be
            card.waits.clear()
            run.step(run.learning())
            run.rates(run.learning())
            assert card.waits == {"seen.py": 1, "update.py": 1}
            assert run.progress.step == 1
            # Here somebody may wait.
            run.errors(run.batches.at(0), torch.zeros(COUNT, 4, 8, 8), torch.full((COUNT,), 500, device=CARD))
            state = run.state()
            run.scaler = torch.amp.GradScaler("cpu")  # as when a run of bf16 goes on where there is fp16 only
            run.restore(*state)
            with run.averaged():
                files = [part.trainable.file_tensors() for part in run.parts if isinstance(part.trainable, Network)]
            assert not any(tensor.is_meta for file in files for layer in file.values() for tensor in layer.values())
            for part, file in zip([part for part in run.parts if isinstance(part.trainable, Network)], files, strict=True):
                part.trainable.load_file(file)
    assert not card.doubles  # Apple's devices have none


def test_where_vectors_stand_is_found_without_fp64_on_the_card(card):
    with card:
        vectors, table = torch.zeros(3, 8, device=CARD), torch.zeros(100, 8, device=CARD)
        nearest_tokens(vectors, table, torch.zeros(100, device=CARD), 3)
        drift(vectors, torch.zeros(3, 8))
    assert not card.doubles


@pytest.mark.parametrize("family", ["sd1", "sdxl"])
def test_a_sample_is_drawn_on_the_card_while_the_vae_is_on_the_cpu(card, family):
    """As hosts have it that are short of memory."""
    model = laid(tiny_model(family))
    with card:
        told = conditioning_for(model, WORDS[0], embedding(model).vectors())
        (image,) = generate(model, told, negative_for(model, ""), GenerateSettings(64, 64, steps=1, sampler="DDIM"))
    assert image.size == (64, 64) and not card.doubles


@pytest.mark.parametrize(("capability", "hip", "expected"), [
    ((7, 5), None, torch.float16), ((6, 1), None, torch.float16), ((8, 0), None, torch.bfloat16),
    ((12, 0), None, torch.bfloat16), ((10, 3), "6.0", torch.bfloat16)])
def test_cards_before_ampere_compute_in_fp16(monkeypatch, capability, hip, expected):
    """Torch says that they have bf16: it imitates it, by way of fp32."""
    asked = []
    monkeypatch.setattr(torch.version, "hip", hip)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda *_: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: asked.append(device) or capability)
    assert compute_dtype("auto", torch.device("cuda:1"), torch.float16) == expected
    assert hip or asked == [torch.device("cuda:1")]


def test_a_format_that_a_device_cannot_be_cast_to_is_refused():
    """As Apple's devices are before torch 2.5; fp32 needs no cast, as copies of the weights are made."""
    assert compute_dtype("fp32", CARD, torch.float16) == torch.float32
    with pytest.raises(OptionError, match="on meta in the weights' own format or in fp32 alone; take auto"):
        compute_dtype("bf16", CARD, torch.float16)
