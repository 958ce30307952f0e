"""Layers are renamed without a checkpoint as they are with one, and diffusers takes what is made for it."""

from __future__ import annotations

import pytest
import safetensors.torch
import torch
from tests.unit.tools.made import lora, random, write_network

from pivotal.config.build import build
from pivotal.errors import FormatError
from pivotal.formats.network_delta import weight_delta
from pivotal.formats.network_file import read_network
from pivotal.tools.conversion import convert_keys
from pivotal.tools.keys import names_of
from pivotal.tools.settings import ConvertKeys

XL_K = "lora_unet_output_blocks_4_1_transformer_blocks_1_attn2_to_k"
XL_K_DIFFUSERS = "lora_unet_up_blocks_1_attentions_1_transformer_blocks_1_attn2_to_k"
XL = {XL_K: lora((16, 2048), 2, 1), "lora_unet_output_blocks_2_2_conv": lora((8, 8, 3, 3), 2, 1),
      "lora_unet_input_blocks_4_0_skip_connection": lora((8, 4, 1, 1), 1, 1),
      "lora_te1_text_model_encoder_layers_3_mlp_fc1": lora((9, 9), 2, 1),
      "lora_te2_text_model_encoder_layers_31_self_attn_out_proj": lora((9, 9), 2, 1)}


def run(tmp_path, source, style):
    report = convert_keys(build(ConvertKeys, {"source": str(source), "target": str(tmp_path / "out"), "style": style}))
    return tmp_path / "out.safetensors", report


# From the facts of AUTOMATIC1111's convert_diffusers_name_to_compvis and of diffusers' UNet; kohya's own table for SDXL.
@pytest.mark.parametrize(("is_xl", "diffusers", "original"), [
    (False, "down_blocks_0_attentions_1_proj_in", "input_blocks_2_1_proj_in"),
    (False, "down_blocks_2_downsamplers_0_conv", "input_blocks_9_0_op"),
    (False, "up_blocks_0_upsamplers_0_conv", "output_blocks_2_1_conv"),
    (False, "up_blocks_1_upsamplers_0_conv", "output_blocks_5_2_conv"),
    (False, "up_blocks_3_resnets_2_conv_shortcut", "output_blocks_11_0_skip_connection"),
    (False, "mid_block_resnets_1_time_emb_proj", "middle_block_2_emb_layers_1"),
    (True, "up_blocks_0_upsamplers_0_conv", "output_blocks_2_2_conv"),
    (True, "up_blocks_1_upsamplers_0_conv", "output_blocks_5_2_conv"),
    (True, "down_blocks_2_attentions_1_transformer_blocks_9_ff_net_2", "input_blocks_8_1_transformer_blocks_9_ff_net_2"),
    (True, "add_embedding_linear_2", "label_emb_0_2"), (True, "conv_out", "out_2"),
    (False, "time_embedding_linear_1", "time_embed_0")])
def test_a_layer_has_the_names_that_everybody_gives_it(is_xl, diffusers, original):
    names = names_of(is_xl)
    assert names[f"lora_unet_{diffusers}"] is names[f"lora_unet_{original}"]
    assert names[f"lora_unet_{original}"].kohya == f"lora_unet_{original if is_xl else diffusers}"


def test_sdxl_goes_to_diffusers_blocks_and_back_to_the_bit(tmp_path):
    source = write_network(tmp_path / "in.safetensors", XL, words={"word": (random(2, 768), random(2, 1280))},
                           metadata={"ss_base_model_version": "sdxl_base_v1-0"})
    there, _ = run(tmp_path, source, "kohya-diffusers")
    middle = read_network(there)
    assert XL_K_DIFFUSERS in middle.layers and "lora_unet_up_blocks_0_upsamplers_0_conv" in middle.layers
    there.rename(tmp_path / "middle.safetensors")
    back, _ = run(tmp_path, tmp_path / "middle.safetensors", "kohya")
    assert back.read_bytes() == source.read_bytes()


@pytest.mark.parametrize("two", [False, True])
def test_diffusers_names_hold_the_same_difference_with_alpha_folded_in(tmp_path, two):
    layers = XL if two else {"lora_unet_mid_block_attentions_0_proj_in": lora((8, 8, 1, 1), 2, 1),
                             "lora_te_text_model_encoder_layers_3_mlp_fc1": lora((9, 9), 2, 1)}
    source = write_network(tmp_path / "in.safetensors", layers, words={"word": (random(2, 768),)})
    out, report = run(tmp_path, source, "diffusers")
    tensors = safetensors.torch.load_file(str(out))
    assert "Left out word" in report.text and all(key.endswith((".lora_A.weight", ".lora_B.weight")) for key in tensors)
    first = "text_encoder.text_model.encoder.layers.3.mlp.fc1"
    torch.testing.assert_close(tensors[f"{first}.lora_B.weight"] @ tensors[f"{first}.lora_A.weight"],
                               weight_delta(lora((9, 9), 2, 1), torch.zeros(9, 9)))
    if two:
        assert "unet.up_blocks.1.attentions.1.transformer_blocks.1.attn2.to_k.lora_A.weight" in tensors
        assert "text_encoder_2.text_model.encoder.layers.31.self_attn.out_proj.lora_B.weight" in tensors
    out.rename(tmp_path / "middle.safetensors")
    back, _ = run(tmp_path, tmp_path / "middle.safetensors", "kohya")
    again = read_network(back)
    assert set(again.layers) == set(layers)
    for key, parts in layers.items():
        zeros = torch.zeros(parts["lora_up.weight"].shape[0], *parts["lora_down.weight"].shape[1:])
        torch.testing.assert_close(weight_delta(again.layers[key], zeros), weight_delta(parts, zeros))


def test_what_diffusers_has_no_names_for_is_refused(tmp_path):
    loha = {"hada_w1_a": random(9, 2), "hada_w1_b": random(2, 9), "hada_w2_a": random(9, 2), "hada_w2_b": random(2, 9)}
    source = write_network(tmp_path / "in.safetensors", {"lora_unet_mid_block_attentions_0_proj_in": loha})
    with pytest.raises(FormatError, match="is loha; diffusers' form holds plain LoRAs only"):
        run(tmp_path, source, "diffusers")


def test_an_unknown_layer_is_named(tmp_path):
    source = write_network(tmp_path / "in.safetensors", {"lora_unet_down_blocks_9_attentions_0_proj_in": lora((9, 9), 2, 1)})
    with pytest.raises(FormatError, match="lora_unet_down_blocks_9_attentions_0_proj_in: no such layer"):
        run(tmp_path, source, "kohya")
