"""What SD.Next's adapter reads and writes, against its stand-in: folders, embeddings, networks, whole runs."""

import threading
import types

import pytest
import torch
from safetensors.torch import save_file

from fake_host import write_dataset
from hosts.sdnext_standin import SdNext
from pivotal.errors import HostError
from pivotal.hosts.detect import detect
from pivotal.jobs.desk import Desk


@pytest.fixture
def webui(monkeypatch, tmp_path):
    return SdNext(monkeypatch, tmp_path)


def test_folders_are_those_of_the_settings(webui):
    folders = detect()[0].folders()
    assert (folders.embeddings, folders.loras) == (webui.embeddings, webui.loras)
    assert folders.scratch == webui.folder / "pivotal"
    assert all(folder.is_dir() for folder in vars(folders).values())


@pytest.mark.parametrize("inside", [True, False])
def test_refresh_takes_up_a_replaced_embedding_and_forgets_old_prompts(webui, inside):
    host, _ = detect()
    path = host.folders().embeddings / "zkteal.safetensors"

    def refresh():
        host.refresh(path)

    for value in (1.0, 2.0):
        webui.prompt_parser_diffusers.cache["a prompt"] = "its conditioning"
        save_file({"emb_params": torch.full((2, 32), value)}, str(path))
        worker = threading.Thread(target=host.run if inside else refresh, args=[refresh] if inside else [], daemon=True)
        worker.start()
        worker.join(300)
        assert not worker.is_alive(), "refresh waits for a lock that its own thread holds"
        number = webui.pipe.tokenizer.added_tokens_encoder["zkteal"]
        assert webui.pipe.text_encoder.get_input_embeddings().weight[number, 0] == value
        assert webui.prompt_parser_diffusers.cache == {}


def test_an_embedding_that_became_shorter_leaves_no_vectors_behind(webui):
    host, _ = detect()
    path, other = (host.folders().embeddings / f"{name}.safetensors" for name in ("zkteal", "zkwide"))
    save_file({"emb_params": torch.ones(4, 32)}, str(other))
    for vectors in (3, 1):
        save_file({"emb_params": torch.ones(vectors, 32)}, str(path))
        host.refresh(path)
        assert len(webui.pipe.tokenizer.expanded("zkteal")) == vectors
    assert len(webui.pipe.tokenizer.expanded("zkwide")) == 4
    assert webui.pipe.tokenizer.added_tokens_encoder["<|endoftext|>"] == 49407


def test_a_replaced_lora_is_read_anew(webui):
    host, _ = detect()
    path = host.folders().loras / "v1.1.safetensors"
    save_file({"lora_unet_conv_in.lora_up.weight": torch.ones(1)}, str(path))
    layer = webui.fuse("v1_1", 0.5)
    webui.lora_load.lora_cache.update({"v1_1": "as it was", "other": "kept"})
    webui.sd_models_utils.state_dict_cache._cache.update({str(path): "as it was", "other": "kept"})
    host.refresh(path)
    assert webui.lora_load.lora_cache == {"other": "kept"}
    assert webui.sd_models_utils.state_dict_cache._cache == {"other": "kept"}
    assert webui.pipe.loaded_loras == {}
    assert len(webui.lora_common.previously_loaded_networks) == 1  # so that the host takes out what it put in
    assert layer.network_current_names != ()
    webui.shared.opts.lora_fuse_native = False
    host.refresh(path)
    assert layer.network_current_names == ()


@pytest.mark.parametrize(("keys", "settings", "said"), [
    (["lora_unet_conv_in.diff", "lora_unet_conv_in.diff_b"], {}, "it changes biases.*LoRA native fuse"),
    (["lora_unet_conv_in.diff", "lora_unet_conv_in.diff_b"], {"lora_fuse_native": False}, None),
    (["lora_te_text_model_final.lora_up.weight"], {}, "apply to text encoder is on; this one has no other"),
    (["lora_te_text_model_final.lora_up.weight"], {"lora_apply_te": True}, None),
    (["lora_unet_conv_in.lora_up.weight", "lora_te_text_model_final.lora_up.weight"], {}, None),
])
def test_what_the_host_would_leave_out_is_told(webui, keys, settings, said):
    host, _ = detect()
    vars(webui.shared.opts).update(settings)
    path = host.folders().loras / "teal.safetensors"
    save_file({key: torch.ones(1) for key in keys}, str(path))
    if said is None:
        host.refresh(path)
        return
    with pytest.raises(HostError, match=said):
        host.refresh(path)


def test_an_embedding_that_cannot_be_used_is_told(webui):
    host, _ = detect()
    path = host.folders().embeddings / "wide.safetensors"
    save_file({"emb_params": torch.zeros(1, 999)}, str(path))
    with pytest.raises(HostError, match=r"wide\.safetensors does not fit the checkpoint that is loaded"):
        host.refresh(path)
    webui.shared.opts.diffusers_enable_embed = False
    with pytest.raises(HostError, match="Settings > Networks > Enable embeddings support"):
        host.refresh(path)


@pytest.mark.parametrize("is_loaded", [True, False])
def test_the_prompt_context_waits_for_nobody(webui, is_loaded):
    host, _ = detect()
    webui.pipe.embedding_db.word_embeddings["zkteal"] = types.SimpleNamespace(tokens=["zkteal", "zkteal_1", "zkteal_2"])
    if not is_loaded:
        webui.modeldata.model_data.sd_model = None
        assert host.checkpoint() is None
    with webui.call_queue.queue_lock:
        context = host.prompt_context()
    assert context.encoders["clip_l"]("a cat", add_special_tokens=False)["input_ids"] == [320, 2368]
    assert context.embeddings == ({"zkteal": 3} if is_loaded else {})


@pytest.mark.parametrize("family", ["sd1", "sdxl"])
def test_a_whole_run_writes_an_embedding_and_a_network_that_the_host_knows(monkeypatch, tmp_path, family):
    webui = SdNext(monkeypatch, tmp_path, family)
    host, _ = detect()
    desk = Desk(host)
    before = {name: weight.clone() for name, weight in webui.pipe.unet.named_parameters()}
    desk.start({"name": "zkteal", "dataset.folder": str(write_dataset(tmp_path / "images")), "dataset.resolution": 64,
                "embeddings.0.placeholder": "zkteal", "embeddings.0.token_count": 2, "length.steps": 2,
                "network.method": "lora", "network.rank": 2, "samples.every_steps": 0, "save.every_steps": 1,
                "sharing.let_prompts_through": True, "save.bundle": False})
    view = desk.wait(120)
    assert (view.state, view.message) == ("finished", "")
    assert (webui.loras / "zkteal.safetensors").is_file()
    assert all(tokenizer.expanded("zkteal") == ["zkteal", "zkteal_1"] for tokenizer in webui.pipe.tokenizers)
    for name, weight in webui.pipe.unet.named_parameters():
        assert torch.equal(weight, before[name]), name
