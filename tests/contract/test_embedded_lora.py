"""LoRAs in prompts: as if merged into the weights, but no weight is touched."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import tiny
from pivotal.errors import FormatError
from pivotal.hosts.embedded.library import Embeddings
from pivotal.hosts.embedded.lora import LoraFile, LoraFolder, applied, read_lora
from pivotal.hosts.embedded.prompt_tags import LoraTag, take_tags
from pivotal.hosts.embedded.txt2img import Txt2Img, draw
from pivotal.models.build import build_model
from pivotal.models.generate import GenerateSettings
from pivotal.models.layers import by_key

RANK, ALPHA = 3, 1.5
NOTHING = Embeddings({}, {}, {})
LATENTS = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1))


def parts_for(weight, generator):
    """Down, up and alpha for a linear or convolution weight, and the change they stand for, alpha / rank included."""
    outputs, inputs, *kernel = weight.shape
    down = torch.randn(RANK, inputs, *kernel, generator=generator) * 0.1
    up = torch.randn(outputs, RANK, *[1] * len(kernel), generator=generator) * 0.1
    delta = (up.flatten(1) @ down.flatten(1)).reshape(weight.shape) * ALPHA / RANK
    return {"lora_down.weight": down, "lora_up.weight": up, "alpha": torch.tensor(ALPHA)}, delta


def outputs(model, inpainting=None):
    conditioning = model.encode_prompts([tiny.tokenized("a red circle")])
    sizes = torch.tensor([[64.0, 64, 0, 0, 64, 64]])
    with torch.no_grad():
        return conditioning.hidden, model.predict(LATENTS, torch.tensor([400]), conditioning, sizes, inpainting)


@pytest.mark.parametrize("family", sorted(tiny.SHAPES))
def test_it_equals_merging_under_the_original_names(family):
    """The merged model is built from changed tensors of the file, so names and shapes are those of the original code."""
    tensors, generator = tiny.tiny_tensors(family), torch.Generator().manual_seed(3)
    layers, merged = {}, dict(tensors)
    for name, weight in tensors.items():
        layer = name.removeprefix("model.diffusion_model.").removesuffix(".weight")
        if name.startswith("model.diffusion_model.") and name.endswith(".weight") and weight.dim() >= 2:
            layers["lora_unet_" + layer.replace(".", "_")], delta = parts_for(weight, generator)
            merged[name] = weight + 0.7 * delta
    model = build_model(tensors, tokenizer=None)
    assert len(layers) > 40
    with applied(model, [(LoraFile("all", layers, {}, ()), 9.0, 0.7)]) as notices:
        found = outputs(model)[1]
    assert notices == []
    torch.testing.assert_close(found, outputs(build_model(merged, tokenizer=None))[1], rtol=1e-4, atol=1e-4)
    assert not torch.allclose(found, outputs(model)[1], atol=1e-2)


@pytest.mark.parametrize("family", sorted(tiny.SHAPES))
def test_it_equals_merging_under_diffusers_names_and_in_the_text_encoders(family):
    model, merged, generator = tiny.tiny_model(family), tiny.tiny_model(family), torch.Generator().manual_seed(4)
    targets = {name: layer.module for name, layer in by_key(model).items()
               if name.startswith(("lora_te1_", "lora_te2_", "lora_unet_down_blocks", "lora_unet_mid_block", "lora_unet_up"))
               and layer.module.weight.dim() > 1}
    others = by_key(merged)
    layers = {}
    for name, module in targets.items():
        layers[name], delta = parts_for(module.weight, generator)
        scale = 0.3 if name.startswith("lora_te") else 0.6
        others[name].module.weight = torch.nn.Parameter(module.weight + scale * delta, requires_grad=False)
    assert {f"lora_te{index + 1}_text_model_encoder_layers_0_self_attn_q_proj"
            for index in range(len(model.text_encoders))} <= set(layers)
    before = outputs(model)
    with applied(model, [(LoraFile("all", layers, {}, ()), 0.3, 0.6)]) as notices:
        found = outputs(model)
    assert notices == []
    for one, other in zip(found, outputs(merged), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
    for one, other in zip(before, outputs(model), strict=True):
        assert torch.equal(one, other)


def noise(*shape, seed=8, scale=0.1):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * scale


def column_norms(weight):
    """(1, in, 1, 1): AUTOMATIC1111's DoRA divides by a norm per input."""
    return weight.pow(2).sum(dim=[0, *range(2, weight.dim())], keepdim=True).sqrt()


def loha(weight):
    a, b, c, d = noise(8, 2), noise(2, weight[0].numel()), noise(8, 2, seed=9), noise(2, weight[0].numel(), seed=10)
    a, c = a.repeat(len(weight) // 8, 1), c.repeat(len(weight) // 8, 1)
    parts = {"hada_w1_a": a, "hada_w1_b": b, "hada_w2_a": c, "hada_w2_b": d, "alpha": torch.tensor(4.0)}
    return parts, weight + ((a @ b) * (c @ d)).reshape(weight.shape) * 4 / 2


def lokr(weight):
    small, large = noise(2, 2), noise(len(weight) // 2, weight.shape[1] // 2, *weight.shape[2:])
    shaped = small.reshape(2, 2, *[1] * (weight.dim() - 2))
    return {"lokr_w1": small, "lokr_w2": large}, weight + torch.kron(shaped, large)


def dora(weight):
    parts, delta = parts_for(weight, torch.Generator().manual_seed(3))
    magnitude = column_norms(weight) * 1.5
    return parts | {"dora_scale": magnitude}, magnitude * (weight + delta) / column_norms(weight + delta)


def ia3(weight):
    factor = noise(len(weight))
    parts = {"weight": factor, "on_input": torch.tensor(False)}
    return parts, weight * (1 + factor.reshape(-1, *[1] * (weight.dim() - 1)))


def full(weight):
    difference = noise(*weight.shape, scale=0.03)
    return {"diff": difference}, weight + difference


def oft(weight):
    blocks = noise(4, len(weight) // 4, len(weight) // 4)
    skew, eye = blocks - blocks.transpose(1, 2), torch.eye(len(weight) // 4)
    turns = torch.block_diag(*((eye + one) @ torch.linalg.inv(eye - one) for one in skew))
    return {"oft_blocks": blocks, "alpha": torch.tensor(0.0)}, (turns.T @ weight.flatten(1)).reshape(weight.shape)


KINDS = {kind.__name__: kind for kind in (loha, lokr, dora, ia3, full, oft)}
SOME = ("lora_unet_down_blocks_0_resnets_0_conv2", "lora_unet_mid_block_attentions_0_proj_in",
        "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q", "lora_te_text_model_encoder_layers_1_mlp_fc1")


def set_weight(model, name, weight):
    by_key(model)[name].module.weight = torch.nn.Parameter(weight, requires_grad=False)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_kind_equals_merging_what_its_paper_says(kind):
    model, merged = tiny.tiny_model("sd1"), tiny.tiny_model("sd1")
    layers = {}
    for name in SOME:
        weight = by_key(model)[name].module.weight
        layers[name], changed = KINDS[kind](weight)
        set_weight(merged, name, weight + 0.6 * (changed - weight))
    before, whole = outputs(model), {name: by_key(model)[name].module.weight.clone() for name in SOME}
    with applied(model, [(LoraFile(kind, layers, {}, ()), 0.6, 0.6)]) as notices:
        found = outputs(model)
    assert notices == []
    for one, other, without in zip(found, outputs(merged), before, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
        assert not torch.allclose(one, without, atol=1e-3)
    assert all(torch.equal(by_key(model)[name].module.weight, weight) for name, weight in whole.items())
    assert all(torch.equal(one, other) for one, other in zip(outputs(model), before, strict=True))


def test_trained_norms_and_biases_equal_merging():
    model, merged, layers = tiny.tiny_model("sd1"), tiny.tiny_model("sd1"), {}
    for name in ("lora_unet_mid_block_resnets_0_norm1", "lora_te_text_model_encoder_layers_0_layer_norm1",
                 "lora_unet_conv_out"):
        module, other = by_key(model)[name].module, by_key(merged)[name].module
        weight, bias = noise(*module.weight.shape), noise(*module.bias.shape, seed=9)
        is_norm = weight.dim() == 1
        layers[name] = {"w_norm": weight, "b_norm": bias} if is_norm else {"diff": weight, "diff_b": bias}
        other.weight, other.bias = (torch.nn.Parameter(part, requires_grad=False)
                                    for part in (module.weight + 0.5 * weight, module.bias + 0.5 * bias))
    with applied(model, [(LoraFile("norms", layers, {}, ()), 0.5, 0.5)]) as notices:
        found = outputs(model)
    assert notices == []
    for one, other in zip(found, outputs(merged), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def test_a_later_network_sees_the_weight_that_an_earlier_one_has_made():
    """As in AUTOMATIC1111: DoRA after LoRA is a norm of the sum, and the other way round it is not."""
    model, name = tiny.tiny_model("sd1"), SOME[2]
    weight = by_key(model)[name].module.weight
    plain, delta = parts_for(weight, torch.Generator().manual_seed(7))
    parts, _ = dora(weight)
    files = [(LoraFile("plain", {name: plain}, {}, ()), 1, 1), (LoraFile("dora", {name: parts}, {}, ()), 1, 1)]
    change = parts["lora_up.weight"].flatten(1) @ parts["lora_down.weight"].flatten(1) * ALPHA / RANK
    both = weight + delta + change
    for order, expected in ((files, parts["dora_scale"] * both / column_norms(both)),
                            (files[::-1], delta + parts["dora_scale"] * (weight + change) / column_norms(weight + change))):
        merged = tiny.tiny_model("sd1")
        set_weight(merged, name, expected)
        with applied(model, order):
            torch.testing.assert_close(outputs(model)[1], outputs(merged)[1], rtol=1e-4, atol=1e-4)


def test_a_network_for_four_inputs_serves_an_inpainting_model():
    model, merged, plain = (tiny.tiny_model("sd1", inputs=inputs) for inputs in (9, 9, 4))
    narrow = by_key(plain)["lora_unet_conv_in"].module.weight
    parts, delta = parts_for(narrow, torch.Generator().manual_seed(7))
    weight = by_key(model)["lora_unet_conv_in"].module.weight.clone()
    weight[:, :4] += 2 * delta
    set_weight(merged, "lora_unet_conv_in", weight)
    told = torch.randn(1, 5, 8, 8, generator=torch.Generator().manual_seed(2))
    for layer in ({"lora_unet_conv_in": parts}, {"lora_unet_conv_in": {"diff": delta}}):
        with applied(model, [(LoraFile("narrow", layer, {}, ()), 1, 2)]) as notices:
            found = outputs(model, told)[1]
        assert notices == []
        torch.testing.assert_close(found, outputs(merged, told)[1], rtol=1e-4, atol=1e-4)


def test_hooks_are_taken_off_also_after_an_exception():
    model = tiny.tiny_model("sd1")
    name = "lora_unet_mid_block_attentions_0_proj_in"
    parts, _ = parts_for(by_key(model)[name].module.weight, torch.Generator())
    with pytest.raises(KeyError), applied(model, [(LoraFile("one", {name: parts}, {}, ()), 1, 1)]):
        raise KeyError
    assert all(not part._forward_hooks for part in model.unet.modules())


def test_layers_that_do_not_fit_are_told():
    layers = {"lora_unet_nowhere": {}, "lora_unet_conv_in": parts_for(torch.zeros(5, 5), torch.Generator())[0]}
    with applied(tiny.tiny_model("sd1"), [(LoraFile("odd", layers, {}, ()), 1, 1)]) as notices:
        assert notices == ["odd: 2 of 2 layers do not fit this checkpoint (lora_unet_nowhere, lora_unet_conv_in)."]


def write_lora(folder, name="style", extra=None):
    parts, _ = parts_for(torch.zeros(64, 64, 1, 1), torch.Generator().manual_seed(5))
    tensors = {f"lora_unet_mid_block_attentions_0_proj_in.{part}": tensor * 3 for part, tensor in parts.items()}
    save_file(tensors | (extra or {}), str(folder / f"{name}.safetensors"), metadata={"ss_output_name": f"{name} by name"})


def image(model, folder, prompt, embeddings=NOTHING):
    request = Txt2Img(prompt, "", GenerateSettings(32, 32, steps=2, seed=1))
    drawn = draw(model, "tiny", request, embeddings, LoraFolder(folder) if isinstance(folder, Path) else folder)
    return drawn.images[0].tobytes(), drawn.notices


def test_a_tag_changes_the_image_only_while_it_is_there(tmp_path):
    model = tiny.tiny_model("sd1")
    write_lora(tmp_path)
    before, _ = image(model, tmp_path, "a circle")
    with_tag, notices = image(model, tmp_path, "a circle<lora:style:1>")
    assert notices == ()
    assert with_tag != before
    assert image(model, tmp_path, "a circle<lora:style by name:1>")[0] == with_tag
    assert image(model, tmp_path, "a circle<lora:style:0.5>")[0] not in (before, with_tag)
    for silent in ("a circle<lora:style:0>", "a circle<lora:style:1:0>", "a circle<lora:style:1:unet=0>", "a circle"):
        assert image(model, tmp_path, silent)[0] == before


@pytest.mark.parametrize("is_plain", [True, False])
def test_a_file_that_is_written_anew_under_its_name_is_never_stale(tmp_path, is_plain):
    model, folder, seen = tiny.tiny_model("sd1"), LoraFolder(tmp_path), []
    prompt = "a circle<lora:style:1>"
    for size in (1, 2, 1):
        weight = torch.ones(64, 64) * 0.02 * size
        parts = {"lora_up.weight": torch.ones(64, 1) * 0.02 * size, "lora_down.weight": torch.ones(1, 64)}
        tensors = {f"lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_v.{part}": tensor
                   for part, tensor in (parts if is_plain else {"diff": weight}).items()}
        save_file(tensors, str(tmp_path / "aside"))
        (tmp_path / "aside").replace(tmp_path / "style.safetensors")
        seen.append(image(model, folder, prompt)[0])
        assert image(model, folder, prompt)[0] == seen[-1]
    assert seen[0] == seen[2] != seen[1]
    assert image(model, folder, "a circle")[0] not in seen


def test_differences_are_kept_for_the_same_wish_alone(tmp_path):
    model, folder = tiny.tiny_model("sd1"), LoraFolder(tmp_path)
    save_file({f"{SOME[1]}.diff": torch.ones(64, 64, 1, 1)}, str(tmp_path / "style.safetensors"))
    file = read_lora(tmp_path / "style.safetensors", (32,))
    made = folder.made(model, [(file, 1, 1)])
    with applied(model, [(file, 1, 1)], made):
        assert list(made) == [by_key(model)[SOME[1]].key]
    assert folder.made(model, [(file, 1, 1)]) is made
    assert folder.made(model, [(file, 1, 0.5)]) == {}
    assert folder.made(model, [(file, 1, 1)]) == {}


def test_bundled_embeddings_act_while_the_tag_is_there_and_give_way_to_the_folders(tmp_path):
    model = tiny.tiny_model("sd1")
    vectors = torch.randn(2, 32, generator=torch.Generator().manual_seed(6))
    write_lora(tmp_path, extra={"bundle_emb.zkword.string_to_param.*": vectors,
                                "bundle_emb.zkwide.emb_params": torch.zeros(1, 9), "stray": torch.zeros(1)})
    words, _ = image(model, tmp_path, "a zkword")
    bundled, notices = image(model, tmp_path, "a zkword<lora:style:0>")
    assert bundled != words
    assert notices == ("style.safetensors has tensors of no kind that is known here (stray); they are left out.",
                       "style.safetensors: its embedding zkwide does not fit this checkpoint.")
    own = Embeddings({"zkword": (vectors + 1,)}, {}, {})
    assert image(model, tmp_path, "a zkword<lora:style:0>", own)[0] == image(model, tmp_path, "a zkword", own)[0]


def test_a_lora_that_is_missing_or_broken_is_told_and_the_image_drawn(tmp_path):
    model = tiny.tiny_model("sd1")
    (tmp_path / "broken.safetensors").write_bytes(b"x")
    save_file({"lora_unet_x.hada_w1_a": torch.zeros(1)}, str(tmp_path / "half.safetensors"))
    drawn, notices = image(model, tmp_path, "a<lora:gone:1><lora:broken:1><lora:half:1><hypernet:x:1>")
    assert drawn
    assert [next(word for word in ("gone", "broken", "hada", "hypernet") if word in notice) for notice in notices] == [
        "hypernet", "gone", "broken", "hada"]
    with pytest.raises(FormatError, match="hada_w1_a"):
        read_lora(tmp_path / "half.safetensors", (32,))


@pytest.mark.parametrize(("prompt", "rest", "tags"), [
    ("a <lora:x:0.5> b", "a  b", [("x", 0.5, 0.5)]),
    ("<lora:my style>", "", [("my style", 1, 1)]),
    ("<lora:x:0.5:0.7>", "", [("x", 0.5, 0.7)]),
    ("<lora:x:unet=0.2>", "", [("x", 1, 0.2)]),
    ("<lora:x:te=0.1:unet=.2>", "", [("x", 0.1, 0.2)]),
    ("<lora:x:-1>", "", [("x", -1, -1)]),
    ("<embedding> a", "<embedding> a", []),
    ("<lora:x:high>", "", []),
])
def test_tags_are_read_as_in_a1111(prompt, rest, tags):
    text, found, notices = take_tags(prompt)
    assert text == rest
    assert found == [LoraTag(*tag) for tag in tags]
    assert bool(notices) == ("high" in prompt)
