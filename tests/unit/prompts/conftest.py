"""One tokenizer for all of these tests: reading the vocabulary takes a second."""

import pytest

from pivotal.prompts.vocabulary import clip_tokenizer


@pytest.fixture(scope="package")
def tokenizer(tmp_path_factory):
    return clip_tokenizer(tmp_path_factory.mktemp("vocabulary"))
