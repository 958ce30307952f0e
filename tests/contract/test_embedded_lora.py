"""LoRAs in prompts: as if merged into the weights, but no weight is touched."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file

import tiny
from pivotal.errors import FormatError
from pivotal.hosts.embedded.library import Embeddings
from pivotal.hosts.embedded.lora import LoraFile, applied, read_lora
from pivotal.hosts.embedded.lora_names import lora_targets
from pivotal.hosts.embedded.prompt_tags import LoraTag, take_tags
from pivotal.hosts.embedded.txt2img import Txt2Img, draw
from pivotal.models.build import build_model
from pivotal.models.generate import GenerateSettings

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


def outputs(model):
    conditioning = model.encode_prompts([tiny.tokenized("a red circle")])
    sizes = torch.tensor([[64.0, 64, 0, 0, 64, 64]])
    with torch.no_grad():
        return conditioning.hidden, model.predict(LATENTS, torch.tensor([400]), conditioning, sizes)


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
    targets = {name: module for name, module in lora_targets(model).items()
               if name.startswith(("lora_te1_", "lora_te2_", "lora_unet_down_blocks", "lora_unet_mid_block", "lora_unet_up"))}
    others = lora_targets(merged)
    layers = {}
    for name, module in targets.items():
        layers[name], delta = parts_for(module.weight, generator)
        scale = 0.3 if name.startswith("lora_te") else 0.6
        others[name].weight = torch.nn.Parameter(module.weight + scale * delta, requires_grad=False)
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


def test_hooks_are_taken_off_also_after_an_exception():
    model = tiny.tiny_model("sd1")
    name = "lora_unet_mid_block_attentions_0_proj_in"
    parts, _ = parts_for(lora_targets(model)[name].weight, torch.Generator())
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
    drawn = draw(model, "tiny", request, embeddings, folder)
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


def test_bundled_embeddings_act_while_the_tag_is_there_and_give_way_to_the_folders(tmp_path):
    model = tiny.tiny_model("sd1")
    vectors = torch.randn(2, 32, generator=torch.Generator().manual_seed(6))
    write_lora(tmp_path, extra={"bundle_emb.zkword.string_to_param.*": vectors,
                                "bundle_emb.zkwide.emb_params": torch.zeros(1, 9)})
    words, _ = image(model, tmp_path, "a zkword")
    bundled, notices = image(model, tmp_path, "a zkword<lora:style:0>")
    assert bundled != words
    assert notices == ("style.safetensors: its embedding zkwide does not fit this checkpoint.",)
    own = Embeddings({"zkword": (vectors + 1,)}, {}, {})
    assert image(model, tmp_path, "a zkword<lora:style:0>", own)[0] == image(model, tmp_path, "a zkword", own)[0]


def test_a_lora_that_is_missing_or_broken_is_told_and_the_image_drawn(tmp_path):
    model = tiny.tiny_model("sd1")
    (tmp_path / "broken.safetensors").write_bytes(b"x")
    save_file({"lora_unet_x.hada_w1_a": torch.zeros(1)}, str(tmp_path / "loha.safetensors"))
    drawn, notices = image(model, tmp_path, "a<lora:gone:1><lora:broken:1><lora:loha:1><hypernet:x:1>")
    assert drawn
    assert [next(word for word in ("gone", "broken", "hada", "hypernet") if word in notice) for notice in notices] == [
        "hypernet", "gone", "broken", "hada"]
    with pytest.raises(FormatError, match="no plain LoRA"):
        read_lora(tmp_path / "loha.safetensors", (32,))


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
