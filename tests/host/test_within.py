"""Seen from within the WebUI's process: what a run borrows, and that it gives all of it back."""

import json
from pathlib import Path

import pytest

from host.client import LORA, embedding

pytestmark = pytest.mark.host

# Keys of FLUX.1's own file (black-forest-labs/flux, model.py).
FLUX = ("double_blocks.0.img_attn.norm.key_norm.scale", "double_blocks.0.img_attn.qkv.weight", "img_in.weight",
        "single_blocks.0.linear1.weight", "final_layer.linear.weight")


def differences(one, other):
    return [key for part in ("model", "flags", "random") for key in sorted(one[part] | other[part])
            if one[part].get(key) != other[part].get(key)]


@pytest.mark.parametrize("what", ["embedding", "network"])
@pytest.mark.parametrize("end", ["finished", "stopped", "failed"])
def test_the_model_and_all_states_are_as_before_the_run(inside, images, word, what, end):
    trained = embedding(word) if what == "embedding" else LORA
    # A new word may add rows to the host's own tables, and a run clears away what the LoRAs of prompts have left in the weights.
    inside.train(images, word, **trained)
    inside.draw("an unrelated cat")  # the first one after a run may load, move or cast what all later ones find
    unrelated = inside.draw("an unrelated cat")
    before = inside.probe("look")
    assert before["tensors"] > 300
    if end == "finished":
        inside.train(images, word, **trained)
    else:
        inside.begin(images, word, **trained)
        inside.at_step(2)
        if end == "failed":
            inside.probe("fail_at_next_step", {})
            job = inside.finished()
            assert (job["state"], "the probe's failure" in job["message"]) == ("failed", True)
        else:
            assert inside.stop()["state"] == "stopped"
    assert differences(before, inside.probe("look")) == []
    assert inside.draw("an unrelated cat") == unrelated


def test_borrowing_copies_less_than_a_hundredth_of_the_unet(inside, unrelated, record_property):
    inside.probe("memory")  # imports what borrowing needs
    found = inside.probe("memory")
    record_property("memory", found)
    size, copied = found["parts"]["unet"]
    assert size > 1_000_000
    assert copied < 0.01 * size
    # What the process grew by is what was copied (text encoders of another format) and the modules' own bookkeeping.
    assert found["grown"] < sum(copied for _, copied in found["parts"].values()) + 0.01 * size + 20e6
    assert inside.draw("an unrelated cat") == unrelated


def test_a_checkpoint_of_another_kind_is_refused_in_a_sentence(inside, images, unrelated, word):
    path = Path(inside.probe("checkpoint_folder")["folder"]) / f"{word}flux.safetensors"
    header = json.dumps({key: {"dtype": "F16", "shape": [1], "data_offsets": [2 * place, 2 * place + 2]}
                         for place, key in enumerate(FLUX)}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(2 * len(FLUX)))
    try:
        inside.ask("/sdapi/v1/refresh-checkpoints", {})
        (name,) = [name for name in inside.about()["checkpoints"] if name.endswith(path.stem)]
        status, answer = inside.start(images, word, **embedding(word), checkpoint=name)
        told = inside.finished()["message"] if status == 200 else str(answer["problems"])
        assert "cannot be trained on" in told, told
    finally:
        path.unlink()
        inside.ask("/sdapi/v1/refresh-checkpoints", {})
    assert inside.draw("an unrelated cat") == unrelated
