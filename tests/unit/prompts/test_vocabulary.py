"""CLIP's vocabulary, and the same ids whatever transformers is installed."""

import importlib.util
import json
from concurrent.futures import ThreadPoolExecutor
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import SimpleNamespace

import pytest

from pivotal.errors import FormatError, HostError
from pivotal.hosts.a1111_text import OpenClipTokenizer
from pivotal.prompts.pieces import token_bytes, token_ids
from pivotal.prompts.vocabulary import clip_tokenizer, read_merges

# Recorded from transformers 4.30.2's CLIPTokenizer with ftfy 6.3.1, as AUTOMATIC1111 1.10.1 calls it.
RECORDED = json.loads((Path(__file__).parent / "transformers_4_30_2_ids.json").read_text("utf-8"))


def test_ids_are_those_of_transformers_4_30_2(tokenizer):
    assert len(RECORDED) > 350
    other = [case["text"] for case in RECORDED if token_ids(tokenizer, case["text"]) != case["ids"]]
    assert other == []


def test_a_batch_and_its_padding_have_the_same_ids(tokenizer):
    # openai/CLIP: 49406 a 320, photo 1125, of 539, cat 2368, end and padding 49407
    ids = tokenizer(["a photo of a cat", "“a cat”"], padding="max_length", truncation=True, max_length=8)["input_ids"]
    assert ids == [[49406, 320, 1125, 539, 320, 2368, 49407, 49407], [49406, 257, 320, 2368, 257, 49407, 49407, 49407]]


def test_a_count_beside_a_padded_call_in_another_thread_is_whole(tokenizer):
    # A fault shows only now and then; without the lock, 1000 calls had about five under transformers 5.23.0.
    with ThreadPoolExecutor(2) as threads:
        padded = threads.submit(lambda: [tokenizer("a cat " * 50, padding="max_length", truncation=True, max_length=77)
                                         for _ in range(1000)])
        counts = [len(token_ids(tokenizer, "a cat " * 50)) for _ in range(1000)]
        lengths = {len(encoded["input_ids"]) for encoded in padded.result()}
    assert (set(counts), lengths) == ({100}, {77})


def test_the_vocabulary_has_clips_size_and_marks(tokenizer):
    assert len(tokenizer.get_vocab()) == 49408
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.model_max_length) == (49406, 49407, 77)


def test_pieces_are_the_bytes_of_the_text(tokenizer):
    assert b"".join(token_bytes(tokenizer, token) for token in token_ids(tokenizer, "naïve日本🐈")) == "naïve日本🐈".encode()


def test_open_clips_kind_of_tokenizer_is_read_too():
    simple = OpenClipTokenizer(SimpleNamespace(encode={"a cat": [320, 2368]}.get, decoder={320: "a</w>", 2368: "cat</w>"}))
    assert token_ids(simple, "a cat") == [320, 2368]
    assert token_bytes(simple, 2368) == b"cat"
    assert token_bytes(simple, 49406) == b""


def test_files_are_written_once_and_leave_nothing_aside(tmp_path):
    clip_tokenizer(tmp_path / "kept")
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "kept").iterdir()}
    clip_tokenizer(tmp_path / "kept")
    assert {path.name: path.stat().st_mtime_ns for path in (tmp_path / "kept").iterdir()} == before
    assert set(before) == {"vocab.json", "merges.txt"}


def test_the_merges_are_found_without_importing_open_clip(monkeypatch, tmp_path):
    real = Path(importlib.util.find_spec("open_clip").origin).parent / "bpe_simple_vocab_16e6.txt.gz"
    (tmp_path / real.name).write_bytes(real.read_bytes())
    spec = ModuleSpec("open_clip", None, origin=str(tmp_path / "__init__.py"))  # there is no such file to import
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)
    merges = read_merges()
    assert (len(merges), merges[0], merges[-1]) == (48894, "i n", "jeky ll</w>")


def test_a_missing_package_is_named_with_the_remedy(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(HostError, match="pip install open-clip-torch"):
        read_merges()


def test_another_vocabulary_in_the_folder_is_refused(tmp_path):
    vocabulary = {"a": 0, "b": 1, "<|startoftext|>": 2, "<|endoftext|>": 3}
    (tmp_path / "vocab.json").write_text(json.dumps(vocabulary))
    (tmp_path / "merges.txt").write_text("#version: 0.2\n")
    with pytest.raises(FormatError, match="expected 49408"):
        clip_tokenizer(tmp_path)
