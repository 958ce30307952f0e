"""Which layers get a network."""

from __future__ import annotations

import pytest

import tiny
from pivotal.config.sections.network import Blocks, Network, Targets
from pivotal.errors import OptionError
from pivotal.networks.choose import choose_layers


def chosen(family="sd1", *, targets=None, blocks=None, **network):
    return choose_layers(tiny.tiny_model(family), Network(**{"method": "lora"} | network), targets or Targets(),
                         blocks or Blocks())


def paths(found, part="unet"):
    return [layer.path for layer, _ in found[part]]


def test_the_usual_layers_are_all_linear_ones_and_1x1_convolutions_of_the_transformers():
    found = chosen()
    # tiny SD 1: a down, a middle and two up blocks with one transformer each, of proj_in, proj_out, 8 of attention, 2 of
    # the feed-forward: 12 layers, as kohya counts 192 over SD 1's 16.
    assert set(found) == {"unet"} and len(found["unet"]) == 4 * 12
    assert all(".attentions." in f".{path}" for path in paths(found))


@pytest.mark.parametrize(("layers", "count"), [("attention", 8), ("cross-attention", 4), ("self-attention", 4)])
def test_attention_kinds(layers, count):
    found = paths(chosen(targets=Targets(layers=layers)))
    assert len(found) == 4 * count
    assert all(("attn2" in path) is (layers == "cross-attention") for path in found if layers != "attention")


def test_a_convolution_rank_adds_the_residual_blocks_with_their_own_rank_and_alpha():
    found = chosen(conv_rank=4, conv_alpha=2.0)["unet"]
    wide = [(layer, settings) for layer, settings in found if getattr(layer.module, "kernel_size", (1, 1)) != (1, 1)]
    assert {(settings.rank, settings.alpha) for _, settings in wide} == {(4, 2.0)}
    assert any("downsamplers" in layer.path for layer, _ in wide) and any("upsamplers" in layer.path for layer, _ in wide)
    assert {(settings.rank, settings.alpha) for layer, settings in found if layer not in [wide_one for wide_one, _ in wide]
            } == {(16, 16.0)}
    assert not {"conv_in", "conv_out"} & {layer.path for layer, _ in found}


@pytest.mark.parametrize(("family", "parts"), [("sd1", {"te1"}), ("sd2", {"te1"}), ("sdxl", {"te1", "te2"})])
def test_each_text_encoder_has_its_own_switch(family, parts):
    targets = Targets(unet=False, text_encoder_1=True, text_encoder_2=True)
    found = chosen(family, targets=targets)
    assert set(found) == parts
    for part in parts:
        layers = tiny.SHAPES[family].text_layers
        assert len(found[part]) == 6 * layers  # q, k, v, out, fc1, fc2


def test_a_filter_keeps_what_it_matches_and_one_that_matches_nothing_is_refused():
    assert all("attn2" in path for path in paths(chosen(targets=Targets(filter=r"attn2\.to_k"))))
    with pytest.raises(OptionError) as caught:
        chosen(targets=Targets(filter="nowhere"))
    assert "targets.filter" in caught.value.problems


def test_blocks_under_the_threshold_are_left_out_and_the_others_learn_by_their_weight():
    # tiny SD 1 has 4 input blocks; transformers stand in 1, the middle, and outputs 2 and 3.
    found = chosen(blocks=Blocks(weights="1 0.5 1 1 / 0 / 1 1 0.1 2", zero_threshold=0.1))["unet"]
    rates = {layer.path.split(".attentions")[0]: settings.rate for layer, settings in found}
    assert rates == {"down_blocks.0": 0.5, "up_blocks.1": 2.0}
    assert len(found) == 2 * 12


def test_ranks_and_alphas_go_by_block_and_rank_0_leaves_a_block_out():
    found = chosen(blocks=Blocks(ranks="1 2 3 4 0 6 7 8 9", alphas="1 1 1 1 1 1 1 1 4.5"))["unet"]
    sizes = {layer.path.split(".transformer")[0].split(".proj")[0]: (settings.rank, settings.alpha)
             for layer, settings in found if "attentions" in layer.path}
    assert sizes == {"down_blocks.0.attentions.0": (2, 1.0), "up_blocks.1.attentions.0": (8, 1.0),
                     "up_blocks.1.attentions.1": (9, 4.5)}


def test_lists_of_the_wrong_length_are_refused_all_at_once():
    with pytest.raises(OptionError) as caught:
        chosen(blocks=Blocks(weights="1,1", ranks="3", conv_alphas="1 2 3"))
    assert set(caught.value.problems) == {"blocks.weights", "blocks.ranks", "blocks.conv_alphas"}
    assert all("expected 9 numbers" in text for text in caught.value.problems.values())


def test_ia3_stands_where_its_paper_puts_it():
    found = paths(chosen(method="ia3"))
    assert found and all(path.endswith((".to_k", ".to_v", ".ff.net.2")) for path in found)


def test_norm_layers_come_with_their_switch():
    assert not [path for path in paths(chosen()) if "norm" in path]
    assert len([path for path in paths(chosen(train_norms=True)) if "norm" in path]) > 12


def test_what_a1111_cannot_reach_in_text_encoders_gets_no_network():
    """OpenCLIP's norms have other names there, its attention takes all four changes or none; the last norm is not found."""
    targets = Targets(unet=False, text_encoder_1=True, text_encoder_2=True)
    norms = {part: [layer.path for layer, _ in layers if "norm" in layer.path]
             for part, layers in chosen("sdxl", targets=targets, train_norms=True).items()}
    assert len(norms["te1"]) == 2 * tiny.SHAPES["sdxl"].text_layers and not norms["te2"]
    assert not any("final" in path for path in norms["te1"])
    scaled = {part: {layer.path.rpartition(".")[2] for layer, _ in layers}
              for part, layers in chosen("sdxl", targets=targets, method="ia3").items()}
    assert scaled == {"te1": {"k_proj", "v_proj", "fc2"}, "te2": {"q_proj", "k_proj", "v_proj", "out_proj", "fc2"}}


def test_unusual_unets_are_named_as_the_original_code_names_them():
    assert all(layer.key.startswith(("lora_unet_input_blocks", "lora_unet_middle_block", "lora_unet_output_blocks"))
               for layer, _ in chosen("sd1")["unet"])
    usual = choose_layers(tiny.usual_model("sd1"), Network(method="lora"), Targets(), Blocks())["unet"]
    assert all(layer.key.startswith(("lora_unet_down_blocks", "lora_unet_mid", "lora_unet_up_blocks")) for layer, _ in usual)
    assert len(usual) == 16 * 12
