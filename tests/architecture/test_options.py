"""Every option is used, and the README lists it as it is."""

from __future__ import annotations

from pathlib import Path

from pivotal.config.derived import docs_table
from pivotal.config.options import everything
from pivotal.config.train import TrainConfig

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "extension" / "pivotal"


def test_no_option_is_dead():
    """Each option's name is read as an attribute somewhere outside config/."""
    sources = [path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py")
               if path.relative_to(PACKAGE).parts[0] not in ("config", "toy", "ui")]
    text = "\n".join(sources)
    names = {option.key.rpartition(".")[2] for option in everything(TrainConfig)}
    assert len(names) > 30
    assert [name for name in sorted(names) if f".{name}" not in text] == []


def test_the_readmes_table_is_the_options_own():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert docs_table(TrainConfig) in text, "run: python -m pivotal options, and put its output into README.md"
