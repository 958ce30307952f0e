"""The adapter for Forge against a stand-in of its modules; tests/host drives the real one."""

import logging
import re
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from fake_host import write_dataset
from hosts.forge_standin import LAYER, Forge, borrowed
from pivotal.errors import HostError
from pivotal.formats.embedding_file import embedding_bytes
from pivotal.formats.network_file import network_bytes
from pivotal.hosts.detect import detect
from pivotal.hosts.forge_model import computable
from pivotal.hosts.protocol import Host
from pivotal.jobs.desk import Desk
from tiny import tiny_model


@pytest.fixture
def webui(monkeypatch, tmp_path):
    return Forge(monkeypatch, tmp_path)


def parts_of(model):
    return [model.unet, model.vae, *(encoder.module for encoder in model.text_encoders)]


def first_block(webui):
    return webui.data.sd_model.unet.time_embed._modules["0"]


def test_it_is_detected_and_knows_the_checkpoint_that_the_next_prompt_will_load(webui):
    host, _ = detect()
    assert isinstance(host, Host)
    before = host.checkpoint()
    assert (host.name, before.name, before.family, before.blocks) == ("forge", "chosen", "sd1", 4)
    assert list(host.checkpoints()) == ["chosen", "v1.5 other"]
    assert webui.loads == []
    assert borrowed(host, lambda _: host.checkpoint()) == before
    webui.choose("v1.5 other")
    assert host.checkpoint().name == "v1.5 other"
    webui.data.forge_loading_parameters = {"checkpoint_info": None}
    assert host.checkpoint() is None


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
def test_every_tensor_is_the_hosts_own(monkeypatch, tmp_path, family):
    webui = Forge(monkeypatch, tmp_path, family)

    def compare(model):
        parts = webui.data.sd_model.forge_objects
        roots = (webui.data.sd_model.unet, parts.clip.cond_stage_model, parts.vae.first_stage_model)
        host = [tensor for root in roots for tensor in root.state_dict().values()]
        assert all(tensor.is_inference() for tensor in host)
        storages = {tensor.untyped_storage().data_ptr() for tensor in host}
        mine = [tensor for part in parts_of(model) for tensor in part.parameters()]
        assert len(mine) >= 100
        assert {tensor.untyped_storage().data_ptr() for tensor in mine} == storages
        assert not any(tensor.requires_grad or tensor.is_inference() for tensor in mine)
        assert (model.family.name, model.prediction, model.resolution) == (family, "v" if family == "sd2" else "epsilon", 64)
        torch.testing.assert_close(model.alphas_cumprod, torch.linspace(0.999, 0.0047, 1000))
        # SD 2 has lost its last layer when it was loaded, so the last one of those left is the one to take.
        assert [encoder.rules.layer for encoder in model.text_encoders] == {"sd1": [1], "sd2": [1], "sdxl": [2, 2]}[family]

    borrowed(detect()[0], compare)


def test_a_gradient_goes_through_tensors_made_in_inference_mode_and_none_is_left(webui):
    def train_and_fail(model):
        hidden = torch.zeros(1, 77, 32, requires_grad=True)
        model.unet.train().requires_grad_(True)
        model.unet(torch.randn(1, 4, 8, 8), torch.tensor([5]), encoder_hidden_states=hidden).sample.sum().backward()
        assert hidden.grad.abs().sum() > 0
        model.unet.to(torch.float64)
        raise RuntimeError("on purpose")

    host, _ = detect()
    borrowed(host, lambda _: None)
    before = {name: (tensor, tensor.clone()) for name, tensor in webui.data.sd_model.unet.named_parameters()}
    with pytest.raises(RuntimeError, match="on purpose"):
        borrowed(host, train_and_fail)
    assert webui.loads == ["chosen.safetensors"]
    for name, tensor in webui.data.sd_model.unet.named_parameters():
        assert tensor is before[name][0]
        assert torch.equal(tensor, before[name][1])
        assert tensor.grad is None
    assert not webui.call_queue.queue_lock.locked()


def test_a_write_into_the_hosts_weights_is_told(webui, caplog):
    with caplog.at_level(logging.ERROR):
        borrowed(detect()[0], lambda model: next(model.unet.parameters()).add_(1))
    assert "wrote into the WebUI's model.diffusion_model." in caplog.text


def test_text_encoders_that_the_host_keeps_in_two_formats_are_lent_in_one(webui):
    host, _ = detect()
    borrowed(host, lambda _: None)
    encoder = webui.data.sd_model.forge_objects.clip.cond_stage_model.clip_l.transformer.text_model
    with torch.inference_mode():
        encoder.half()
        encoder.embeddings.float()  # as the first prompt does (classic_engine.py, encode_with_transformers)
    lent = borrowed(host, lambda model: {weight.dtype for weight in model.text_encoders[0].module.parameters()})
    assert lent == {torch.float32}
    assert encoder.final_layer_norm.weight.dtype == torch.float16


@pytest.mark.parametrize(("device", "dtype"), [("cpu", torch.float32), ("meta", torch.float16)])
def test_text_encoders_stored_in_8_bits_are_lent_in_what_can_be_computed_with(device, dtype):
    """--clip-in-fp8-e4m3fn, of Forge and reForge; torch computes in no 8 bits. "meta" stands for a card."""
    encoder = tiny_model("sd1").text_encoders[0]
    encoder.module.to(torch.float8_e4m3fn)
    lent = computable(encoder, torch.device(device)).module
    assert {weight.dtype for weight in lent.parameters()} == {dtype}


@pytest.mark.parametrize(("family", "skip", "layers"), [("sd1", 2, [2]), ("sd2", 2, [2]), ("sdxl", 1, [2, 2]),
                                                        ("sdxl", 2, [2, 2]), ("sdxl", 3, [3, 3])])
def test_clip_skip_counts_as_the_host_counts_it(monkeypatch, tmp_path, family, skip, layers):
    webui = Forge(monkeypatch, tmp_path, family)
    webui.shared.opts.CLIP_stop_at_last_layers = skip
    lent = borrowed(detect()[0], lambda model: model)
    taken = [encoder.rules.layer + (lent.clip_skip - 1 if encoder.rules.clip_skip else 0) for encoder in lent.text_encoders]
    assert taken == layers


def test_a_lora_left_in_the_weights_is_taken_out_by_the_hosts_own_means(webui):
    host, _ = detect()
    borrowed(host, lambda _: None)
    original = first_block(webui).weight.clone()
    webui.data.sd_model.forge_objects.unet.merge(first_block(webui), "weight")
    lent = borrowed(host, lambda model: model.unet.time_embedding.linear_1.weight.clone())
    assert torch.equal(lent, original)
    assert torch.equal(first_block(webui).weight, original)


@pytest.mark.parametrize("family", ["sd1", "sdxl"])
def test_files_that_the_host_has_mapped_are_let_go_of_so_that_windows_can_replace_them(monkeypatch, tmp_path, family):
    webui = Forge(monkeypatch, tmp_path, family)
    host, _ = detect()
    borrowed(host, lambda _: None)
    word = host.folders().embeddings / "zkteal.safetensors"
    word.write_bytes(embedding_bytes([torch.ones(2, width) for width in {"sd1": (32,), "sdxl": (32, 64)}[family]], {}))
    host.refresh(word)
    path, model = webui.loras / "x.safetensors", webui.data.sd_model
    path.write_bytes(network_bytes(LAYER, {}, {}))
    webui.networks.load_lora_state_dict(str(path))
    model.current_lora_hash = "[['x.safetensors', 1.0, 1.0, False]]"
    model.forge_objects = model.forge_objects_after_applying_lora = replace(model.forge_objects_original, unet="patched")
    before = pointers(model)
    borrowed(host, lambda _: None)
    assert len(before) == len(pointers(model)) > 0
    assert not set(before) & set(pointers(model))
    assert webui.networks.load_lora_state_dict.cache_info().currsize == 0
    assert model.current_lora_hash not in ("[]", "[['x.safetensors', 1.0, 1.0, False]]")
    assert model.forge_objects == model.forge_objects_after_applying_lora == model.forge_objects_original


def pointers(model):
    """Where the values of all embeddings lie."""
    found = [embedding.vec for name, engine in vars(model).items() if name.startswith("text_processing_engine")
             for embedding in engine.embeddings.word_embeddings.values()]
    return [tensor.data_ptr() for vec in found for tensor in (vec.values() if isinstance(vec, dict) else [vec])]


def test_prompts_that_are_let_through_may_leave_a_lora(webui):
    host, _ = detect()

    def work(model):
        lent = model.unet.time_embedding.linear_1.weight
        original = lent.clone()
        thread = webui.wait(lambda: webui.data.sd_model.forge_objects.unet.merge(first_block(webui), "weight"))
        host.let_through()
        thread.join(300)
        assert torch.equal(first_block(webui).weight, original + 1)
        assert torch.equal(lent, original)
        return host.changed()

    assert borrowed(host, work) is None


def test_nobody_is_let_through_who_would_load_another_checkpoint(webui):
    host, _ = detect()
    seen = []

    def work(_):
        webui.choose("v1.5 other")
        thread = webui.wait(lambda: seen.append(webui.reload()))
        host.let_through()
        return list(seen), host.changed(), thread

    early, change, thread = borrowed(host, work)
    thread.join(300)
    assert (early, change, len(seen)) == ([], None, 1)


HARMS = [
    (lambda webui: webui.choose("v1.5 other") or webui.reload(), r"loaded v1\.5 other anew, instead of chosen"),
    (lambda webui: setattr(webui.data, "forge_hash", "") or webui.reload(), "loaded chosen anew, .* or with other settings"),
    (lambda webui: setattr(webui.data, "sd_model", None), "unloaded chosen; load it again"),
    (lambda webui: [weight.data.add_(1) for weight in webui.data.sd_model.unet.parameters()], "weights of chosen were written"),
]


@pytest.mark.parametrize(("harm", "said"), HARMS)
def test_what_the_host_does_to_a_lent_model_is_told(webui, harm, said):
    host, _ = detect()

    def work(_):
        before = host.changed()
        with torch.inference_mode():
            harm(webui)
        return before, host.changed()

    before, after = borrowed(host, work)
    assert before is None
    assert re.search(said, after)
    assert host.changed() is None  # nothing is lent any more


def test_another_checkpoint_is_lent_and_the_chosen_one_comes_with_the_next_prompt(webui):
    host, _ = detect()
    assert borrowed(host, lambda _: host.checkpoint().name, "v1.5 other") == "v1.5 other"
    assert host.checkpoint().name == "chosen"
    assert webui.reload()[0].sd_checkpoint_info is webui.infos["chosen"]
    assert webui.loads == ["v1.5 other.safetensors", "chosen.safetensors"]
    borrowed(host, lambda _: webui.choose("v1.5 other"), "v1.5 other")
    assert host.checkpoint().name == "v1.5 other"  # what the user has chosen meanwhile stays
    with pytest.raises(HostError, match="'nowhere' is not among"):
        borrowed(host, lambda _: None, "nowhere")


def test_after_a_checkpoint_that_cannot_be_loaded_the_host_draws_again(webui):
    host, _ = detect()
    borrowed(host, lambda _: None)
    webui.fails = True
    with pytest.raises(HostError, match="could not load v1.5 other.safetensors: ValueError: Failed to recognize"):
        borrowed(host, lambda _: None, "v1.5 other")
    webui.fails = False
    assert webui.reload()[0].sd_checkpoint_info is webui.infos["chosen"]
    assert not webui.call_queue.queue_lock.locked()


@pytest.mark.parametrize("what", ["joint_blocks", "double_blocks"])
def test_a_file_of_another_family_is_refused_before_it_is_loaded(webui, what):
    save_file({f"model.diffusion_model.{what}.0.weight": torch.zeros(1)}, webui.infos["chosen"].filename)
    host, _ = detect()
    assert host.checkpoint().family == "unknown"
    with pytest.raises(HostError, match=r"chosen\.safetensors cannot be trained on: it is a (Stable Diffusion 3|Flux)"):
        borrowed(host, lambda _: None)
    assert webui.loads == []


@pytest.mark.parametrize(("harm", "said"), [
    (lambda model: setattr(model, "is_sd1", False), "the WebUI has it as DiffusionEngine. Expected Stable Diffusion"),
    (lambda model: setattr(model.forge_objects.unet.model, "storage_dtype", "nf4"), 'Set "Diffusion in Low Bits" to Automatic'),
    (lambda model: model.unet.to(torch.float8_e4m3fn), 'Set "Diffusion in Low Bits" to Automatic'),
    (lambda model: model.unet.to("meta"), "a part of the UNet outside of the GPU's memory"),
    (lambda model: setattr(model.forge_objects.unet.model.predictor, "prediction_type", "edm"), "predicts 'edm'"),
    (lambda model: model.unet.add_module("odd", nn.LayerNorm(2)), "chosen.safetensors cannot be trained on: its UNet"),
])
def test_what_cannot_be_lent_is_refused_in_words(webui, harm, said):
    host, _ = detect()
    borrowed(host, lambda _: None)
    with torch.inference_mode():
        harm(webui.data.sd_model)
    with pytest.raises(HostError, match=said):
        borrowed(host, lambda _: None)
    assert not webui.call_queue.queue_lock.locked()


def test_without_any_checkpoint_it_says_where_to_put_one(webui):
    webui.data.forge_loading_parameters = {"checkpoint_info": None}
    with pytest.raises(HostError, match="has no checkpoint. Put one into models/Stable-diffusion"):
        borrowed(detect()[0], lambda _: None)


@pytest.mark.parametrize("family", ["sd1", "sdxl"])
def test_a_replaced_embedding_is_in_every_table_and_old_prompts_are_forgotten(monkeypatch, tmp_path, family):
    webui = Forge(monkeypatch, tmp_path, family)
    host, _ = detect()
    host.refresh(host.folders().embeddings / "early.safetensors")  # nothing is loaded: loading will read them all
    borrowed(host, lambda _: None)
    engines = [value for name, value in vars(webui.data.sd_model).items() if name.startswith("text_processing_engine")]
    path, widths = host.folders().embeddings / "zkteal.safetensors", {"sd1": (32,), "sdxl": (32, 64)}[family]
    for value in (1.0, 2.0):
        path.write_bytes(embedding_bytes([torch.full((2, width), value) for width in widths], {}))
        host.refresh(path)
        found = [engine.embeddings.word_embeddings["zkteal"].vec for engine in engines]
        tensors = [vec if family == "sd1" else vec[key] for vec, key in zip(found, ("clip_l", "clip_g"), strict=False)]
        assert [tensor[0, 0] for tensor in tensors] == [value] * len(widths)
    assert webui.caches == [[None, None, None]] * 4
    context = host.prompt_context()
    assert list(context.encoders) == {"sd1": ["clip_l"], "sdxl": ["clip_l", "clip_g"]}[family]
    assert context.embeddings == {"zkteal": 2}
    wide = host.folders().embeddings / "wide.safetensors"
    save_file({"emb_params": torch.zeros(1, 999)}, str(wide))
    with pytest.raises(HostError, match=r"wide\.safetensors does not fit the checkpoint that is loaded"):
        host.refresh(wide)


def test_a_replaced_lora_is_forgotten_under_its_name_in_all_four_places(webui):
    host, _ = detect()
    borrowed(host, lambda _: None)
    path = host.folders().loras / "zk.safetensors"
    for value in (1.0, 2.0):
        path.write_bytes(network_bytes(LAYER | {"lora_unet_conv_in": {"diff": torch.full((1,), value)}}, {}, {}))
        host.refresh(path)
        assert webui.networks.load_lora_state_dict(str(path))["lora_unet_conv_in.diff"] == value
    model = webui.data.sd_model
    parts = model.forge_objects_original
    marks = [model.current_lora_hash, parts.unet.lora_loader.loaded_hash, parts.clip.patcher.lora_loader.loaded_hash]
    assert "[]" not in marks
    assert webui.listed == 2
    assert webui.caches == [[None, None, None]] * 4


def test_before_anything_is_loaded_tokens_are_counted_with_a_tokenizer_of_our_own(webui):
    context = detect()[0].prompt_context()
    assert context.encoders["clip_l"]("a cat", add_special_tokens=False)["input_ids"] == [320, 2368]
    assert context.embeddings == {}
    assert webui.loads == []


def test_a_run_learns_a_word_and_the_host_has_it(webui, tmp_path):
    host, _ = detect()
    desk = Desk(host)
    desk.start({"name": "zkteal", "dataset.folder": str(write_dataset(tmp_path / "images")), "dataset.resolution": 64,
                "dataset.captions": "object", "embeddings.0.placeholder": "zkteal", "embeddings.0.token_count": 2,
                "embeddings.0.initial_text": "green", "length.steps": 2, "batch.size": 2, "samples.every_steps": 0})
    view = desk.wait(120)
    assert (view.state, view.message) == ("finished", "")
    assert webui.data.sd_model.text_processing_engine.embeddings.word_embeddings["zkteal"].vectors == 2
    assert not webui.call_queue.queue_lock.locked()
