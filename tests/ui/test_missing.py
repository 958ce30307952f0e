"""A WebUI without a package that the trainer needs shows a tab that says so, and brings it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pivotal.ui.missing import command_line, install

ROOT = Path(__file__).resolve().parents[2]
# A WebUI's script_callbacks and gradio, in a process of its own in which diffusers cannot be imported.
START = """
import runpy, sys, types
import gradio

class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "diffusers":
            raise ModuleNotFoundError("No module named 'diffusers'", name="diffusers")

sys.meta_path.insert(0, Block())
drawn = []
callbacks = types.ModuleType("modules.script_callbacks")
callbacks.on_ui_tabs = drawn.append
ui = types.ModuleType("modules.ui")
ui.gr = gradio
sys.modules |= {"modules": types.ModuleType("modules"), "modules.script_callbacks": callbacks, "modules.ui": ui}
sys.modules["modules"].script_callbacks = callbacks
runpy.run_path(sys.argv[1])
((interface, title, identifier),) = drawn[0]()
text = str(interface.get_config_file())
print(title, identifier, "No module named 'diffusers'" in text.replace("&#x27;", "'").replace("\\\\'", "'"),
      "Install what is missing" in text, "install.py" in text)
"""


def test_the_script_shows_the_tab_in_place_of_the_trainers():
    done = subprocess.run([sys.executable, "-c", START, str(ROOT / "scripts" / "train_tab.py")], capture_output=True,
                          encoding="utf-8", timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "Pivotal pivotal_train True True True"
    assert "diffusers" in done.stdout.splitlines()[0]


@pytest.mark.parametrize(("ends", "words"), [(0, "start it again"), (1, "still missing")])
def test_the_button_runs_the_installer_and_shows_what_it_said(tmp_path, ends, words):
    script = tmp_path / "install.py"
    script.write_text(f"import sys\nprint('brought <x>')\nsys.exit({ends})", encoding="utf-8")
    told = install(script)
    assert words in told and "brought &lt;x&gt;" in told
    assert str(script) in command_line(script) and sys.executable in command_line(script)


def test_an_installer_that_is_not_there_is_told_of(tmp_path):
    assert "still missing" in install(tmp_path / "install.py")
