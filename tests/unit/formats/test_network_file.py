"""Networks of every trainer are read as one; what we write, hosts read, hash and classify."""

from __future__ import annotations

import hashlib
import json
import pickle
import struct

import pytest
import safetensors.torch
import torch
from tests.tiny import tiny_tensors, write_truncated

from pivotal.errors import FormatError
from pivotal.formats.network_delta import alpha_of
from pivotal.formats.network_file import NetworkFile, family_of_network, network_bytes, read_network

DOWN, UP = torch.arange(32.0).reshape(2, 16) / 7, torch.arange(24.0).reshape(12, 2) / 5
Q = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
OUT = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_out.0"
SELF = "text_model.encoder.layers.3.self_attn.q_proj"
Q_KEY, OUT_KEY = f"lora_unet_{Q.replace('.', '_')}", f"lora_unet_{OUT.replace('.', '_')}"
SELF_KEY = f"lora_te_{SELF.replace('.', '_')}"


def two(name: str, down: str, up: str) -> dict[str, torch.Tensor]:
    return {f"{name}{down}": DOWN, f"{name}{up}": UP}


KOHYA = (".lora_down.weight", ".lora_up.weight")
PEFT = (".lora_A.weight", ".lora_B.weight")
WRITERS = {  # who -> one layer of the UNet and one of the text encoder of SD 1, as they write them
    "kohya": two(Q_KEY, *KOHYA) | two(SELF_KEY, *KOHYA),
    "kohya with transformers 5": two(Q_KEY, *KOHYA) | two(SELF_KEY.replace("text_model_", ""), *KOHYA),
    "AUTOMATIC1111's other spelling": two(Q_KEY, *PEFT) | two(SELF_KEY, *PEFT),
    "diffusers": two(f"unet.{Q}", *PEFT) | two(f"text_encoder.{SELF}", *PEFT),
    "diffusers 0.20": two(f"unet.{Q.replace('to_q', 'processor.to_q_lora')}", ".down.weight", ".up.weight")
                      | two(f"text_encoder.{SELF}", ".lora_linear_layer.down.weight", ".lora_linear_layer.up.weight"),
    "diffusers 0.22": two(f"unet.{Q}", ".lora.down.weight", ".lora.up.weight")
                      | two(f"text_encoder.{SELF.replace('q_proj', 'to_q_lora')}", ".down.weight", ".up.weight"),
    "PEFT": two(f"base_model.model.unet.{Q}", *PEFT) | two(f"base_model.model.{SELF}", *PEFT),
    "PEFT while training": two(f"unet.{Q}", ".lora_A.default.weight", ".lora_B.default.weight")
                           | two(f"text_encoder.{SELF}", ".lora_A.default.weight", ".lora_B.default.weight"),
    "OneTrainer": two(f"lora_unet.{Q}", *KOHYA) | two(f"lora_te.{SELF}", *KOHYA),
    "OneTrainer OMI": two(f"unet.{Q}", *KOHYA) | two(f"clip_l.{SELF}", *KOHYA),
    "ComfyUI": two(f"diffusion_model.{Q}", *PEFT) | two(f"text_encoders.clip_l.transformer.{SELF}", *PEFT),
    "te1": two(f"unet.{Q}", *KOHYA) | two(f"te1.{SELF}", *KOHYA),
}


def save(path, tensors, metadata=None):
    safetensors.torch.save_file({key: tensor.clone() for key, tensor in tensors.items()}, str(path), metadata)
    return path


@pytest.mark.parametrize("writer", WRITERS)
def test_a_network_is_read_whoever_wrote_it(tmp_path, writer):
    file = read_network(save(tmp_path / "x.safetensors", WRITERS[writer]))
    assert set(file.layers) == {Q_KEY, SELF_KEY} and file.others == ()
    for parts in file.layers.values():
        assert torch.equal(parts["lora_down.weight"], DOWN) and torch.equal(parts["lora_up.weight"], UP)
        assert float(parts["alpha"]) == 2, "no alpha is a scale of 1"


def test_the_first_processors_of_diffusers_are_read(tmp_path):
    tensors = two(OUT.replace("to_out.0", "processor.to_out_lora"), ".down.weight", ".up.weight")
    assert set(read_network(save(tmp_path / "x.safetensors", tensors)).layers) == {OUT_KEY}


def test_with_two_text_encoders_the_first_is_te1(tmp_path):
    tensors = two(f"text_encoder.{SELF}", *PEFT) | two(f"text_encoder_2.{SELF}", *PEFT)
    file = read_network(save(tmp_path / "x.safetensors", tensors))
    assert set(file.layers) == {SELF_KEY.replace("te_", "te1_", 1), SELF_KEY.replace("te_", "te2_", 1)}


def test_sdxl_is_told_by_its_unet_when_only_the_first_encoder_is_trained(tmp_path):
    key = "unet.mid_block.attentions.0.transformer_blocks.0.attn2.to_k"
    tensors = {f"{key}.lora_A.weight": torch.ones(1, 2048), f"{key}.lora_B.weight": torch.ones(8, 1)}
    file = read_network(save(tmp_path / "x.safetensors", tensors | two(f"text_encoder.{SELF}", *PEFT)))
    assert SELF_KEY.replace("te_", "te1_", 1) in file.layers


def test_the_original_codes_block_names_stay(tmp_path):
    key = "input_blocks.4.1.transformer_blocks.0.attn1.to_q"
    file = read_network(save(tmp_path / "x.safetensors", two(f"unet.{key}", *KOHYA)))
    assert set(file.layers) == {f"lora_unet_{key.replace('.', '_')}"}


@pytest.mark.parametrize("name", ["x.pt", "x.bin", "x.ckpt"])
def test_a_pickled_network_is_read_without_its_code(tmp_path, name):
    torch.save(WRITERS["kohya"], tmp_path / name)
    assert set(read_network(tmp_path / name).layers) == {Q_KEY, SELF_KEY}


def test_pefts_alpha_is_found_beside_the_file(tmp_path):
    config = {"lora_alpha": 6, "r": 2, "alpha_pattern": {"attn1.to_q": 5}, "use_rslora": False}
    (tmp_path / "adapter_config.json").write_text(json.dumps(config), "utf-8")
    tensors = two(f"base_model.model.{Q}", *PEFT) | two(f"base_model.model.{OUT}", *PEFT)
    layers = read_network(save(tmp_path / "adapter_model.safetensors", tensors)).layers
    assert alpha_of(layers[Q_KEY]) == 5 and alpha_of(layers[OUT_KEY]) == 6
    (tmp_path / "adapter_config.json").write_text(json.dumps(config | {"use_rslora": True}), "utf-8")
    layers = read_network(tmp_path / "adapter_model.safetensors").layers
    assert alpha_of(layers[OUT_KEY]) / 2 == pytest.approx(6 / 2**0.5), "alpha / sqrt(rank)"


def test_diffusers_alpha_is_found_in_the_metadata(tmp_path):
    settings = {"unet.lora_alpha": 1, "unet.r": 2, "text_encoder.lora_alpha": 8, "text_encoder.r": 2}
    metadata = {"lora_adapter_metadata": json.dumps(settings)}
    layers = read_network(save(tmp_path / "x.safetensors", WRITERS["diffusers"], metadata)).layers
    assert alpha_of(layers[Q_KEY]) == 1 and alpha_of(layers[SELF_KEY]) == 8


def test_pefts_magnitude_is_kept_as_one_value_per_output(tmp_path):
    tensors = WRITERS["diffusers"] | {f"unet.{Q}.lora_magnitude_vector.weight": torch.arange(12.0)}
    layers = read_network(save(tmp_path / "x.safetensors", tensors)).layers
    assert layers[Q_KEY]["dora_scale"].shape == (12, 1)


@pytest.mark.parametrize("pieces", [
    ("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"), ("lokr_w1", "lokr_w2_a", "lokr_w2_b", "alpha"),
    ("oft_blocks",), ("oft_diag",), ("weight", "on_input"), ("diff", "diff_b"), ("w_norm", "b_norm"),
    ("a1.weight", "a2.weight", "b1.weight", "b2.weight", "alpha")])
def test_every_method_keeps_its_parts(tmp_path, pieces):
    tensors = {f"{Q_KEY}.{piece}": torch.ones(()) if piece in ("alpha", "on_input") else torch.ones(2, 2) for piece in pieces}
    file = read_network(save(tmp_path / "x.safetensors", tensors))
    assert set(pieces) <= set(file.layers[Q_KEY]) and file.others == ()


def test_oft_of_kohya_is_read_under_the_same_keys(tmp_path):
    tensors = {f"oft_unet_{Q.replace('.', '_')}.oft_blocks": torch.ones(2, 3, 3)}
    assert set(read_network(save(tmp_path / "x.safetensors", tensors)).layers) == {Q_KEY}


def embeddings(count: int, widths: tuple[int, ...]) -> dict[str, tuple[torch.Tensor, ...]]:
    made = torch.Generator().manual_seed(count)
    return {f"word{n} <x>, ü": tuple(torch.randn(n % 3 + 1, width, generator=made) for width in widths) for n in range(count)}


@pytest.mark.parametrize("widths", [(768,), (1024,), (768, 1280)])
@pytest.mark.parametrize("count", [1, 3, 20])
@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
def test_a_bundle_comes_back_to_the_bit_whatever_the_precision(tmp_path, widths, count, precision):
    words = embeddings(count, widths)
    layer = {"lora_up.weight": UP, "lora_down.weight": DOWN, "alpha": torch.tensor(0.3)}
    data = network_bytes({Q_KEY: layer}, words, {"ss_v2": "False"}, precision)
    (tmp_path / "x.safetensors").write_bytes(data)
    file = read_network(tmp_path / "x.safetensors")
    assert set(file.embeddings) == set(words)
    for word, vectors in words.items():
        assert all(torch.equal(a, b) for a, b in zip(file.embeddings[word], vectors, strict=True))
    assert float(file.layers[Q_KEY]["alpha"]) == float(torch.tensor(0.3)), "alpha is not rounded"
    assert file.layers[Q_KEY]["lora_up.weight"].dtype == {"fp32": torch.float32, "fp16": torch.float16,
                                                          "bf16": torch.bfloat16}[precision]


@pytest.mark.parametrize("widths", [(768,), (768, 1280)])
def test_a1111_and_sdnext_take_the_bundle_apart_as_they_do(widths):
    """networks.py of both: the key is cut at its first dot, the rest once more at its first dot."""
    words = embeddings(3, widths)
    found: dict[str, dict] = {}
    for key, tensor in safetensors.torch.load(network_bytes({}, words, {})).items():
        first, _, rest = key.partition(".")
        assert first == "bundle_emb"
        word, what = rest.split(".", 1)
        parts = found.setdefault(word, {})
        if what.split(".")[0] == "string_to_param":
            parts["string_to_param"] = {what.split(".", 1)[1]: tensor}
        else:
            parts[what] = tensor
    for word, vectors in words.items():
        if len(widths) == 1:
            assert list(found[word]) == ["string_to_param"] and torch.equal(found[word]["string_to_param"]["*"], vectors[0])
        else:
            assert torch.equal(found[word]["clip_l"], vectors[0]) and torch.equal(found[word]["clip_g"], vectors[1])


def test_onetrainers_bundles_are_read_with_dots_and_without_output_vectors(tmp_path):
    vectors = torch.ones(2, 768)
    tensors = {"bundle_emb.<my.word>.clip_l": vectors, "bundle_emb.<my.word>.clip_l_out": vectors, "bundle_emb.b.clip_g": vectors}
    file = read_network(save(tmp_path / "x.safetensors", tensors | WRITERS["kohya"]))
    assert list(file.embeddings) == ["<my.word>"] and torch.equal(file.embeddings["<my.word>"][0], vectors)
    assert file.others == ("bundle_emb.b.clip_g",)


@pytest.mark.parametrize("word", ["v1.5", "", " x", "x\n", "<lora:x:1>"])
def test_words_that_break_a_file_are_refused(word):
    with pytest.raises(FormatError, match=r"The word"):
        network_bytes({}, {word: (torch.ones(1, 8),)}, {})


def test_the_same_input_gives_the_same_bytes():
    parts = {"lora_up.weight": UP, "lora_down.weight": DOWN, "alpha": torch.tensor(1.0)}
    first = network_bytes({Q_KEY: parts, OUT_KEY: parts}, embeddings(2, (768,)), {"b": "1", "a": "2", "ss_x": "3"}, "fp16")
    again = network_bytes({OUT_KEY: dict(reversed(parts.items())), Q_KEY: parts},
                          dict(reversed(embeddings(2, (768,)).items())), {"ss_x": "3", "a": "2", "b": "1"}, "fp16")
    assert first == again


def metadata_of(data: bytes) -> dict[str, str]:
    (length,) = struct.unpack("<Q", data[:8])
    return json.loads(data[8:8 + length])["__metadata__"]


def test_the_hashes_are_those_that_kohya_writes():
    """sd-scripts: of what safetensors.torch.save makes of the tensors and the ss_ metadata."""
    parts = {"lora_up.weight": torch.randn(400, 999, generator=torch.Generator().manual_seed(0)),
             "lora_down.weight": torch.ones(999, 300), "alpha": torch.tensor(1.0)}
    data = network_bytes({Q_KEY: parts}, {}, {"ss_network_dim": "999", "title": "x"})
    kohyas = safetensors.torch.save({f"{Q_KEY}.{part}": tensor for part, tensor in parts.items()}, {"ss_network_dim": "999"})
    (length,) = struct.unpack("<Q", kohyas[:8])
    written = metadata_of(data)
    assert written["sshs_model_hash"] == hashlib.sha256(kohyas[8 + length:]).hexdigest()
    assert written["sshs_legacy_hash"] == hashlib.sha256(kohyas[0x100000:0x110000]).hexdigest()[:8]
    assert (written["ss_network_dim"], written["title"]) == ("999", "x")


@pytest.mark.parametrize(("tensor", "said"), [
    (torch.tensor([[1e6, 1.0]]), "ends at 65504"), (torch.tensor([[float("nan"), 1.0]]), "not finite"),
    (torch.tensor([[float("inf"), 1.0]]), "not finite")])
def test_values_that_a_file_cannot_hold_are_refused_with_the_layers_name(tensor, said):
    with pytest.raises(FormatError, match=Q_KEY) as error:
        network_bytes({Q_KEY: {"lora_up.weight": tensor, "lora_down.weight": torch.ones(2, 2)}}, {}, {}, "fp16")
    assert said in str(error.value)


def test_large_values_are_no_harm_in_bf16():
    network_bytes({Q_KEY: {"lora_up.weight": torch.tensor([[1e6]]), "lora_down.weight": torch.ones(1, 2)}}, {}, {}, "bf16")


def of_key(width: int, **metadata: str) -> NetworkFile:
    key = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_k"
    return NetworkFile({key: {"lora_down.weight": torch.ones(1, width), "lora_up.weight": torch.ones(9, 1)}}, metadata=metadata)


@pytest.mark.parametrize(("file", "family"), [
    (of_key(768), "sd1"), (of_key(1024), "sd2"), (of_key(2048), "sdxl"),
    (of_key(2048, ss_base_model_version="sd_v1"), "sdxl"),
    (of_key(64), None), (of_key(64, ss_v2="True"), "sd2"), (of_key(64, ss_base_model_version="sdxl_base_v1-0"), "sdxl"),
    (of_key(64, **{"modelspec.architecture": "stable-diffusion-v1/lora"}), "sd1"),
    (NetworkFile({"lora_te2_text_model_encoder_layers_0_mlp_fc1": {"diff": torch.ones(2, 2)}}), "sdxl"),
    (NetworkFile({"lora_te_text_model_encoder_layers_0_self_attn_q_proj": {"diff": torch.ones(1024, 1024)}}), "sd2"),
    (NetworkFile({}, {"w": (torch.ones(1, 768), torch.ones(1, 1280))}), "sdxl"),
    (NetworkFile({}, {"w": (torch.ones(1, 768),)}), "sd1"),
    (NetworkFile({"lora_unet_x_attn2_to_v": {"lokr_w1": torch.ones(2, 16), "lokr_w2_a": torch.ones(3, 1),
                                             "lokr_w2_b": torch.ones(1, 64)}}), "sd2"),
    (NetworkFile({"lora_unet_x_attn2_to_v": {"hada_w1_a": torch.ones(5, 1), "hada_w1_b": torch.ones(1, 768)}}), "sd1")])
def test_the_family_is_told_by_widths_then_names_then_words_then_metadata(file, family):
    assert family_of_network(file) == family


def whole(tensors: dict[str, torch.Tensor]) -> bytes:
    return safetensors.torch.save(tensors)


@pytest.mark.parametrize(("content", "said"), [
    (b"", "is empty (0 bytes)"), (b"x" * 100, "not a whole safetensors file"),
    (whole({"emb_params": torch.ones(1, 8)}), "is an embedding"), (whole({"clip_l": torch.ones(1, 8)}), "is an embedding"),
    (whole({"word": torch.ones(1, 8)}), "is no network: it holds word"),
    (whole({"lora_unet_double_blocks_0_img_attn_qkv.lora_up.weight": torch.ones(1, 8)}), "Flux"),
    (whole({"transformer.single_transformer_blocks.0.attn.to_q.lora_A.weight": torch.ones(1, 8)}), "not supported"),
    (whole({"down_blocks.0.resnets.0.conv1.weight": torch.ones(1, 8)}), "a part of a model"),
    (whole({f"{Q_KEY}.lora_up.weight": torch.ones(1, 8)}), f"{Q_KEY} has lora_up.weight")])
def test_what_is_no_network_is_named(tmp_path, content, said):
    (tmp_path / "x.safetensors").write_bytes(content)
    with pytest.raises(FormatError, match="x.safetensors") as error:
        read_network(tmp_path / "x.safetensors")
    assert said in str(error.value)


def test_a_checkpoint_given_as_a_network_is_named(tmp_path):
    few = {key: tensor for key, tensor in tiny_tensors("sd1").items() if tensor.numel() < 5000}
    with pytest.raises(FormatError, match="is a checkpoint"):
        read_network(save(tmp_path / "x.safetensors", few))


def test_a_file_that_was_cut_off_or_is_missing_is_named(tmp_path):
    with pytest.raises(FormatError, match="not a whole safetensors file"):
        read_network(write_truncated(tmp_path / "x.safetensors"))
    with pytest.raises(FormatError, match="cannot be read"):
        read_network(tmp_path / "absent.safetensors")
    with pytest.raises(FormatError, match="is a folder"):
        read_network(tmp_path)


class Evil:
    def __reduce__(self):
        return (print, ("code in a pickle ran",))


def test_a_pickle_with_code_is_refused_unrun(tmp_path, capsys):
    (tmp_path / "evil.pt").write_bytes(pickle.dumps({f"{Q_KEY}.alpha": Evil()}))
    with pytest.raises(FormatError, match="code"):
        read_network(tmp_path / "evil.pt")
    assert capsys.readouterr().out == ""


def test_a_file_read_is_not_changed_by_overwriting_it(tmp_path):
    path = save(tmp_path / "x.safetensors", WRITERS["kohya"])
    file = read_network(path)
    path.write_bytes(path.read_bytes()[:-400] + b"\xff" * 400)  # in place, as some programs save
    assert torch.equal(file.layers[SELF_KEY]["lora_up.weight"], UP)
