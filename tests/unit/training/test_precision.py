"""Number formats: what is switched for a run is switched back, and the lent VAE stays as it was."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

import tiny
from pivotal.embeddings.trained import TrainedEmbedding
from pivotal.models.lend import lend
from pivotal.models.text import vectors_in_place
from pivotal.prompts.chunks import Chunk, Slot, tokenize_caption
from pivotal.training import precision
from pivotal.training.batch import Batch
from pivotal.training.denoise import Denoiser
from pivotal.training.part import Part
from pivotal.training.precision import compute_dtype, gains_by_bf16, tf32, vae_for, with_bf16, with_fp32
from pivotal.training.seeds import generator


def switches():
    """Read as a host would read them: the older attributes, which its pictures depend on."""
    return torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32


@pytest.mark.parametrize("hosts", [(True, True), (False, False), (False, True)])
@pytest.mark.parametrize("allowed", [True, False, None])
def test_tf32_is_the_hosts_again_after_a_step_even_a_failed_one(hosts, allowed):
    before = switches()
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = hosts
    try:
        with pytest.raises(KeyError), tf32(allowed):
            inside = torch.backends.cuda.matmul
            seen = inside.fp32_precision == "tf32" if hasattr(torch.backends.cudnn, "conv") else inside.allow_tf32
            assert seen == (hosts[0] if allowed is None else allowed)
            raise KeyError
        assert switches() == hosts
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


@pytest.mark.parametrize(("family", "dtype", "asked", "expected"), [
    ("sdxl", torch.float16, "auto", torch.float32), ("sdxl", torch.float16, "as the host", torch.float16),
    ("sdxl", torch.bfloat16, "auto", torch.bfloat16), ("sd1", torch.float16, "auto", torch.float16),
    ("sd1", torch.float16, "fp32", torch.float32), ("sd1", torch.float32, "fp32", torch.float32)])
def test_a_vae_that_half_precision_breaks_is_computed_in_fp32_on_a_copy(family, dtype, asked, expected):
    lent = tiny.tiny_model(family)
    lent.vae.to(dtype)
    weight = next(lent.vae.parameters())
    model = vae_for(lent, asked)
    assert next(model.vae.parameters()).dtype == expected
    assert next(lent.vae.parameters()) is weight and weight.dtype == dtype
    assert (model.vae is lent.vae) == (expected == dtype) and model.unet is lent.unet


def test_the_copy_encodes_what_fp16_cannot():
    lent = tiny.tiny_model("sdxl")
    with torch.no_grad():
        for parameter in lent.vae.encoder.conv_in.parameters():
            parameter.fill_(3e4)  # activations beyond 65504, as those of SDXL's VAE
    lent.vae.half()
    pixels = torch.ones(1, 3, 64, 64)
    assert not torch.isfinite(lent.encode_images(pixels)[0]).all()
    assert torch.isfinite(vae_for(lent, "auto").encode_images(pixels)[0]).all()


CPU, LARGE = torch.device("cpu"), precision.LARGE


@pytest.mark.parametrize(("device", "weights", "size", "has", "expected"), [
    (CPU, torch.float32, LARGE, True, True), (CPU, torch.float32, LARGE, False, False),
    (CPU, torch.float32, LARGE - 1, True, False), (CPU, torch.float16, LARGE, True, False),
    (torch.device("cuda"), torch.float32, LARGE, True, False)])
def test_only_a_large_fp32_unet_on_a_processor_with_bf16_gains_by_it(monkeypatch, device, weights, size, has, expected):
    monkeypatch.setattr(precision, "processor_has_bf16", lambda: has)
    assert gains_by_bf16(device, weights, size) == expected


def test_the_lent_unet_is_fp32_again_and_the_same_after_a_run_in_bf16(monkeypatch):
    monkeypatch.setattr(precision, "gains_by_bf16", lambda *_: True)
    lent = tiny.tiny_model("sd1")
    before = {name: (tensor, tensor.data_ptr(), tensor.clone()) for name, tensor in lent.unet.named_parameters()}
    with lend([lent.unet, lent.vae, lent.text_encoders[0].module]):
        assert with_bf16(lent, "fp32").dtype == torch.float32
        model = with_bf16(lent, "auto")
        assert {tensor.dtype for tensor in model.unet.parameters()} == {torch.bfloat16}
        assert not any(tensor.requires_grad for tensor in model.unet.parameters())
        assert next(model.text_encoders[0].module.parameters()).dtype == next(model.vae.parameters()).dtype == torch.float32
    for name, tensor in lent.unet.named_parameters():
        same, place, values = before[name]
        assert tensor is same and tensor.data_ptr() == place and torch.equal(tensor, values)


@pytest.mark.parametrize(("asked", "weights", "expected"), [
    ("auto", torch.float16, torch.float32), ("auto", torch.bfloat16, torch.bfloat16), ("auto", torch.float32, torch.float32),
    ("fp16", torch.float16, torch.float16)])
def test_without_a_scaler_nothing_is_computed_in_fp16_unless_it_is_asked_for(asked, weights, expected):
    assert {compute_dtype(asked, torch.device(kind), weights) for kind in ("cpu", "mps")} == {expected}


class OnlyCrossAttention(nn.Module):
    """A UNet that answers with the noisy latents times what it is told, by one layer."""

    def __init__(self, width):
        super().__init__()
        self.to_k = nn.Linear(width, 4, bias=False)
        self.config = type("Config", (), {"in_channels": 4})

    def forward(self, noisy, timesteps, encoder_hidden_states, **_):
        return (noisy * self.to_k(encoder_hidden_states).mean(1)[..., None, None],)


def gradient(model, compute, times):
    """Of an embedding's vector, for an answer that is multiplied by `times`."""
    embedding = TrainedEmbedding("zkteal", [torch.full((1, width), 0.05) for width in model.widths])
    batch = Batch(torch.zeros(1, 4, 8, 8), [tokenize_caption("a zkteal", tiny.tokenizer(), {"zkteal": 1})], torch.zeros(1, 6))
    noisy = torch.randn(1, 4, 8, 8, generator=generator(1, "noisy"))
    answer = Denoiser(model, [Part(embedding, 1.0)], compute).predict(batch, noisy, torch.tensor([500]))
    (answer.float().square().mean() * times).backward()
    return embedding.values[0].grad / times


def test_work_in_fp32_over_a_hosts_half_precision_is_done_in_fp32():
    """There is no scaler for it, so fp16 would lose what is small."""
    lent, exact = tiny.tiny_model("sd1"), tiny.tiny_model("sd1")
    for module in (lent.unet, lent.text_encoders[0].module):
        module.half()
    for module in (exact.unet, exact.text_encoders[0].module):
        module.half().float()
    weight = next(lent.unet.parameters())
    with lend([lent.unet, lent.text_encoders[0].module]):
        assert with_fp32(lent, "bf16").dtype == torch.float16
        model = with_fp32(lent, "fp32")
        assert torch.equal(gradient(model, torch.float32, 1e-9), gradient(exact, torch.float32, 1e-9))
    assert next(lent.unet.parameters()) is weight and (lent.dtype, lent.text_dtype) == (torch.float16, torch.float16)


def test_a_processor_takes_a_text_encoder_in_fp16_beside_a_unet_in_bf16():
    """Where torch casts no norm; the numbers are those of the same weights in fp32, to what bf16 can tell."""
    model = tiny.tiny_model("sd1")
    model.text_encoders[0].module.half()
    model = replace(model, unet=OnlyCrossAttention(model.widths[0]).bfloat16())
    found = gradient(model, torch.bfloat16, 1.0)
    model.text_encoders[0].module.float()
    exact = gradient(model, torch.bfloat16, 1.0)
    assert (found - exact).norm() < 0.02 * exact.norm()


def test_small_gradients_reach_the_text_side_of_a_unet_in_fp16_whose_weights_are_cast():
    """bf16 needs no scaler, so nothing on the way may be fp16: what is told to the UNet, and the vectors among the tokens."""
    model = tiny.tiny_model("sd1")
    model = replace(model, unet=OnlyCrossAttention(model.widths[0]).half())
    assert torch.equal(gradient(model, torch.bfloat16, 2.0**-30), gradient(model, torch.bfloat16, 1.0))  # exact by twos
    table, vector = nn.Embedding(9, 4).half().requires_grad_(False), torch.full((1, 4), 0.1, requires_grad=True)
    with vectors_in_place(table, [Chunk((0,), (1.0,), (Slot(0, "x", 0),))], {"x": vector}), torch.autocast("cpu", torch.bfloat16):
        (table(torch.tensor([[1, 0, 2]])).sum() * 1e-9).backward()
    assert vector.grad.tolist() == [pytest.approx([1e-9] * 4)]
