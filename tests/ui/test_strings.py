"""The template for translators holds what the pages show, each text whole."""

import json
import re

from pivotal.cli import main
from pivotal.config.options import walk
from pivotal.config.train import TrainConfig
from pivotal.ui.widgets import label_of


def test_the_template_has_every_text_once_and_nothing_but_texts(tmp_path):
    assert main(["strings", "-o", str(tmp_path / "pivotal.json")]) == 0
    found = json.loads((tmp_path / "pivotal.json").read_text(encoding="utf-8"))
    for option in walk(TrainConfig):
        assert label_of(option) in found and option.spec.help in found, option.key
    for text in ("Train", "Check and plan", "Stop and keep", "Keep only this", "Start the queue", "Paint a mask",
                 "Waiting for the host to be free", "Unpin", "No option has such words.", "More options",
                 "New words for prompts, a LoRA (or a relative of it), or both in one file (pivotal tuning)."):
        assert text in found, text
    assert all(key == value for key, value in found.items())
    assert not [text for text in found if re.search(r"[<>\0]|data-|pivotal[-_]", text)]
