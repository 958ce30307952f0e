"""The tools as one calls them: clear help, one sentence and exit code 1 when something is wrong."""

from __future__ import annotations

import argparse
import os
import time

import pytest
import torch
from tests.tiny import write_tiny, write_truncated
from tests.unit.tools.made import CONV, SHAPES, TO_K, deltas, random, write_network

from pivotal.cli_tools import add_tool_commands
from pivotal.config.options import walk
from pivotal.formats.embedding_file import read_embedding
from pivotal.formats.network_delta import rank_of
from pivotal.formats.network_file import read_network
from pivotal.tools.registry import TOOLS
from pivotal.tools.work import WORK


def call(*words: str) -> int:
    parser = argparse.ArgumentParser(prog="install.py")
    add_tool_commands(parser.add_subparsers(required=True))
    known, rest = parser.parse_known_args(words)
    return known.command(known, rest)


def test_every_tool_has_somebody_who_does_its_work():
    assert len(WORK) > 10 and WORK.keys() == {tool.section for tool in TOOLS.values()}


def test_a_network_is_resized(tmp_path, capsys):
    source = write_network(tmp_path / "in.safetensors")
    assert call("tool", "resize", str(source), str(tmp_path / "out.safetensors"), "--rank", "2", "--conv-rank", "3") == 0
    layers = read_network(tmp_path / "out.safetensors").layers
    assert rank_of(layers[TO_K]) == 2 and rank_of(layers[CONV]) == 3
    assert str(tmp_path / "out.safetensors") in capsys.readouterr().out


def test_networks_are_merged_with_weights(tmp_path):
    a, b = write_network(tmp_path / "a.safetensors"), write_network(tmp_path / "b.safetensors", seed=2)
    assert call("tool", "merge", f"{a}=0.7", f"{b}=0.3", str(tmp_path / "out"), "--precision", "fp32") == 0
    both = deltas(tmp_path / "out.safetensors")
    for key in SHAPES:
        torch.testing.assert_close(both[key], 0.7 * deltas(a)[key] + 0.3 * deltas(b)[key], rtol=1e-4, atol=1e-5)


def test_a_lora_is_extracted(tmp_path):
    base, tuned = write_tiny(tmp_path / "base.safetensors"), write_tiny(tmp_path / "tuned.safetensors", seed=1)
    assert call("tool", "extract", str(base), str(tuned), str(tmp_path / "out"), "--rank", "4", "--no-text-encoders") == 0
    layers = read_network(tmp_path / "out.safetensors").layers
    assert layers and {rank_of(parts) for parts in layers.values()} == {4}


def test_an_embedding_goes_into_a_network_and_out_again(tmp_path):
    source = write_network(tmp_path / "in.safetensors", words={"one": (random(2, 768),)})
    assert call("tool", "split-bundle", str(source), "--folder", str(tmp_path), "--style", "a1111-pt") == 0
    assert call("tool", "remove-embeddings", str(source), str(tmp_path / "bare")) == 0
    bare, one = str(tmp_path / "bare.safetensors"), str(tmp_path / "one.pt")
    assert call("tool", "add-embeddings", bare, one, str(tmp_path / "out")) == 0
    assert call("tool", "rename-embedding", str(tmp_path / "out.safetensors"), "one", "two", str(tmp_path / "named")) == 0
    assert torch.equal(read_embedding(tmp_path / "named.safetensors", 1, "two")[0], random(2, 768))


def test_an_existing_file_is_replaced_when_asked(tmp_path, capsys):
    source = write_network(tmp_path / "in.safetensors")
    words = ("tool", "resize", str(source), str(source), "--rank", "2")
    assert call(*words) == 1 and "exists, and nothing was written" in capsys.readouterr().err
    assert rank_of(read_network(source).layers[TO_K]) == 6
    assert call("tool", "resize", "--replace", *words[2:]) == 0
    assert rank_of(read_network(source).layers[TO_K]) == 2


@pytest.mark.parametrize(("words", "said"), [
    (("resize", "good", "out", "--rank", "0"), "--rank: expected at least 1, got 0"),
    (("resize", "good", "out", "--rank", "two"), "--rank: expected a whole number, got 'two'"),
    (("resize", "good", "out", "--method", "best"), "--method: expected one of fixed, sv_ratio"),
    (("resize", "good", "out", "--ranks", "2"), "--ranks: is no flag of tool resize"),
    (("resize", "absent", "out"), "cannot be read"), (("resize", "cut", "out"), "not a whole safetensors file"),
    (("resize", "empty", "out"), "is empty (0 bytes)"), (("resize", "checkpoint", "out"), "is a checkpoint"),
    (("resize", "good", "out", "--device", "cuda"), "no CUDA device"),
    (("merge", "good", "out"), "two networks or more"), (("convert-keys", "checkpoint", "out"), "is a checkpoint"),
    (("split-bundle", "good"), "no embeddings bundled"), (("convert-embedding", "good", "out"), "a LoRA without an embedding")])
def test_a_mistake_is_one_sentence_and_exit_code_1(tmp_path, capsys, monkeypatch, words, said):
    if "cuda" in words:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    write_network(tmp_path / "good.safetensors")
    write_truncated(tmp_path / "cut.safetensors")
    (tmp_path / "empty.safetensors").touch()
    write_tiny(tmp_path / "checkpoint.safetensors")
    names = ("good", "cut", "empty", "checkpoint", "absent", "out")
    typed = [str(tmp_path / f"{word}.safetensors") if word in names else word for word in words]
    assert call("tool", *typed) == 1
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1 and "Traceback" not in error
    assert not (tmp_path / "out.safetensors").exists()


def test_a_pickle_with_code_is_not_run(tmp_path, capsys):
    (tmp_path / "evil.pt").write_bytes(b"cbuiltins\nprint\n(S'code in a pickle ran'\ntR.")
    for tool in ("resize", "convert-embedding"):
        assert call("tool", tool, str(tmp_path / "evil.pt"), str(tmp_path / "out")) == 1
    printed = capsys.readouterr()
    assert "code in a pickle ran" not in printed.out and printed.err.count("without running code") == 2


@pytest.mark.parametrize("tool", TOOLS.values(), ids=TOOLS)
def test_help_tells_every_option_with_its_values(tool, capsys):
    with pytest.raises(SystemExit) as ended:
        call("tool", tool.name, "--help")
    assert ended.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    assert tool.title in text
    for option in walk(tool.section):
        assert option.spec.help.split(",")[0].split(".")[0].replace(" ", "") in text.replace(" ", ""), option.key
        assert option.spec.help.endswith(".") and "\n" not in option.spec.help
    assert all(name in {option.key for option in walk(tool.section)} for name in tool.given)


def test_encoded_images_are_deleted_as_asked(tmp_path, capsys):
    (tmp_path / "latents").mkdir()
    for letter, days in (("a", 40), ("b", 2)):
        path = tmp_path / "latents" / f"{letter * 64}.safetensors"
        path.write_bytes(b"x" * 2_000_000)
        os.utime(path, (time.time() - days * 86_400,) * 2)
    assert call("tool", "clean-cache", str(tmp_path), "--older-than", "30") == 0
    assert "1 encoded images and captions deleted, 2 MB; 1 stay, 2 MB." in capsys.readouterr().out
    assert [path.name[0] for path in (tmp_path / "latents").iterdir()] == ["b"]
    assert call("tool", "clean-cache", str(tmp_path)) == 1 and "--older-than: needs a number" in capsys.readouterr().err
    assert call("tool", "clean-cache", str(tmp_path / "none"), "--keep-gb", "1") == 1
    (tmp_path / "empty").mkdir()
    assert call("tool", "clean-cache", str(tmp_path / "empty"), "--keep-gb", "1") == 1
    assert "holds no encoded images or captions" in capsys.readouterr().err
