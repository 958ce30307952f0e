"""What a result card tells: the prompt that uses a result, and nothing that is not so."""

from __future__ import annotations

from pathlib import Path

import pytest

from pivotal.config.build import build
from pivotal.config.train import TrainConfig
from pivotal.hosts.protocol import Folders
from pivotal.jobs.result import prompt_to_try, result_of
from pivotal.jobs.watch.view import JobView

FOLDERS = Folders(Path("/host/embeddings"), Path("/host/loras"), Path("/host/pivotal"))
NETWORK, WORD = FOLDERS.loras / "mara.safetensors", FOLDERS.embeddings / "zkmara.safetensors"


def config(**flat):
    return build(TrainConfig, {"name": "mara", "dataset.folder": "/images"} | {
        key.replace("__", "."): value for key, value in flat.items()})


def view(*files, prompts=(), samples=()):
    told = {NETWORK: "<lora:mara:1> zkmara", WORD: "zkmara"} | dict(prompts)
    return JobView(name="mara", state="finished", files=files, prompts={str(path): told[path] for path in files},
                   samples=tuple(samples))


ROW = {"embeddings__0__placeholder": "zkmara"}


@pytest.mark.parametrize(("files", "samples", "flat", "expected"), [
    ((NETWORK,), [], ROW, "<lora:mara:1> zkmara"),
    ((NETWORK,), [(0, "a photo of zkmara", Path("a"))], ROW, "<lora:mara:1> a photo of zkmara"),
    ((NETWORK,), [(0, "old zkmara", Path("a")), (5, "a ZKMARA", Path("b")), (5, "second", Path("c"))], ROW,
     "<lora:mara:1> a zkmara"),  # the first of the last drawing; the word is spelt as its file is
    ((NETWORK,), [(5, "a cat", Path("a"))], ROW, "<lora:mara:1> zkmara, a cat"),  # else the word would do nothing
    ((NETWORK,), [], {"samples__prompts": ["a zkmara at sea --w 640 --n rain"], **ROW}, "<lora:mara:1> a zkmara at sea"),
    ((WORD,), [], ROW, "zkmara"),
    ((WORD,), [(5, "a zkmara (raw)", Path("a"))], ROW, "a zkmara"),
    ((NETWORK, WORD), [], ROW, "<lora:mara:1> zkmara"),
    ((NETWORK,), [], {"network__method": "lora", "caption__trigger_word": "zktrigger"}, "<lora:mara:1> zktrigger"),
    ((NETWORK,), [], {"network__method": "lora"}, "<lora:mara:1>"),
    ((WORD,), [], {"embeddings__0__placeholder": "<zk:mara>"}, "_zk_mara_"),  # what Windows forbids in a file's name
])
def test_the_prompt_to_try_has_tag_and_words(files, samples, flat, expected):
    shown = view(*files, samples=samples, prompts={NETWORK: "<lora:mara:1>"} if "network__method" in flat else {})
    assert prompt_to_try(shown, FOLDERS, config(**flat)) == expected


def test_the_words_are_told_even_when_the_run_file_is_gone():
    assert prompt_to_try(view(NETWORK), FOLDERS, None) == "<lora:mara:1> zkmara"
    assert prompt_to_try(view(WORD), FOLDERS, None) == "zkmara"


def test_a_run_that_goes_on_or_failed_has_no_result():
    for state in ("idle", "running", "failed"):
        assert result_of(JobView(name="mara", state=state, files=(NETWORK,)), FOLDERS) is None
    assert result_of(JobView(name="mara", state="finished"), FOLDERS) is None


def test_files_that_are_gone_have_no_hash(tmp_path):
    folders = Folders(tmp_path, tmp_path, tmp_path)
    (found,) = result_of(view(NETWORK), folders).files
    assert (found.size, found.hashes, found.short_hash) == (0, None, "")
