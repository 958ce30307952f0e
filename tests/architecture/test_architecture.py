"""The house rules that a reader may rely on, held by a test that reads the sources and imports none of them."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

pytestmark = pytest.mark.once  # no package of an environment has a part in it

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "extension" / "pivotal"

# A floor may import the floors under it, never its own neighbours and never up.
FLOORS = [
    {"__main__"},
    {"cli"},
    {"cli_compare"},  # a tool that needs jobs
    {"cli_tools", "cli_recipes", "cli_queue", "cli_strings"},
    {"commands"},
    {"register", "incomplete"},
    {"ui", "api"},
    {"jobs"},
    {"tools"},  # above data, as some work on a dataset's images
    {"training", "networks", "data", "hosts"},
    {"models", "embeddings"},
    {"prompts", "formats"},
    {"config", "events"},
    {"errors"},
]
FLOOR = {name: level for level, names in enumerate(FLOORS) for name in names}
# A side room, which nobody imports and which may import only this of ours.
SIDE_ROOMS = {"toy": {"prompts"}}

# Top-level names that are not everybody's, and the folders that may import them.
HOST_NAMES = ("modules", "modules_forge", "backend", "ldm", "sgm", "networks", "launch", "webui", "k_diffusion", "installer")
DOORS = {
    **dict.fromkeys(HOST_NAMES, ("hosts",)),
    "gradio": ("ui", "hosts/embedded"),
    "gradio_client": ("ui", "hosts/embedded"),
    "fastapi": ("api", "hosts/embedded"),
    "starlette": ("api", "hosts/embedded"),
    "uvicorn": ("api", "hosts/embedded"),
}
# Packages that a user may lack; only these may be imported inside a function (and anything under hosts/).
# And what carries a command out, once it is chosen and its flags are right: torch and gradio take seconds to import.
LATE = ("pivotal.commands", "pivotal.tools.work")
OPTIONAL = {"cv2", "datasets", "bitsandbytes", "tensorboard", "wandb", "xformers", "pytorch_optimizer", "ftfy", "onnxruntime",
            "rembg"}
LONGEST_FILE, LONGEST_FUNCTION = 400, 60


class Import(NamedTuple):
    """One imported name, where it stands, and whether that is inside a function."""

    name: str
    line: int
    is_local: bool


class Source(NamedTuple):
    """A file of the package, parsed."""

    path: str  # from the package's folder, with slashes: "hosts/embedded/page.py"
    text: str
    tree: ast.Module

    @property
    def room(self) -> str:
        """The module or package directly under pivotal/ that the file is or lies in."""
        return self.path.partition("/")[0].removesuffix(".py")

    def imports(self) -> list[Import]:
        """Every import, at the top or inside a function; `from pivotal import jobs` counts as pivotal.jobs."""
        local = {id(inner) for outer in functions(self.tree) for inner in ast.walk(outer)}
        found = []
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level:
                names = ["." * node.level + (node.module or "")]
            elif isinstance(node, ast.ImportFrom):
                names = [f"{node.module}.{alias.name}" if node.module == PACKAGE.name else node.module for alias in node.names]
            else:
                continue
            found += [Import(name, node.lineno, id(node) in local) for name in dict.fromkeys(names)]
        return found


def functions(tree: ast.Module) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def sources(package: Path) -> list[Source]:
    found = []
    for path in sorted(package.rglob("*.py")):
        text = path.read_text("utf-8")
        found.append(Source(path.relative_to(package).as_posix(), text, ast.parse(text, str(path))))
    return found


def room_problems(source: Source) -> Iterator[str]:
    """Files that stand in no room we know, and imports that run up or sideways."""
    here = source.room
    if here not in FLOOR and here not in SIDE_ROOMS and here != "__init__":
        yield f"{source.path}: {here} is on no floor; give it one in {Path(__file__).name}"
    for name, line, _ in source.imports():
        top, _, rest = name.partition(".")
        there = rest.partition(".")[0]
        if top != PACKAGE.name or there in {here, "__version__", ""}:  # the bare package is only its name and version
            continue
        if here in SIDE_ROOMS:
            allowed = there in SIDE_ROOMS[here]
        elif here == "__init__" or there not in FLOOR:
            allowed = False
        else:
            allowed = FLOOR[there] > FLOOR.get(here, len(FLOORS))
        if not allowed:
            yield f"{source.path}:{line}: {here} may not import {name}"


def import_problems(source: Source) -> Iterator[str]:
    """Relative imports, guarded names outside their doors, and imports hidden in functions."""
    for name, line, is_local in source.imports():
        top = name.partition(".")[0]
        if not top:
            yield f"{source.path}:{line}: write the whole name instead of {name}"
        elif top == "extension":
            yield f"{source.path}:{line}: 'extension' is a folder on the path; two extensions would share the name"
        elif not source.path.startswith(tuple(f"{door}/" for door in DOORS.get(top, ("",)) if door)) and top in DOORS:
            yield f"{source.path}:{line}: only {' and '.join(DOORS[top])} may import {top}"
        is_late = source.path.startswith("cli") and name.startswith(LATE)
        if is_local and top not in OPTIONAL and source.room != "hosts" and not is_late:
            yield f"{source.path}:{line}: import {name} at the top of the file"


def size_problems(source: Source) -> Iterator[str]:
    """Files and functions that do not fit in a head."""
    lines = len(source.text.splitlines())
    if lines > LONGEST_FILE:
        yield f"{source.path}: {lines} lines; {LONGEST_FILE} are enough"
    for function in functions(source.tree):
        lines = function.end_lineno - function.lineno + 1
        if lines > LONGEST_FUNCTION:
            yield f"{source.path}:{function.lineno}: {function.name} has {lines} lines; {LONGEST_FUNCTION} are enough"


@pytest.fixture(scope="module")
def house() -> list[Source]:
    return sources(PACKAGE)


def problems(house: list[Source], rule) -> list[str]:
    return [problem for source in house for problem in rule(source)]


def test_there_is_a_house_to_look_at(house):
    rooms = {source.room for source in house}
    assert len(house) >= 40
    assert sum(len(functions(source.tree)) for source in house) >= 200
    assert sum(imported.name.startswith("pivotal.") for source in house for imported in source.imports()) >= 80
    assert rooms >= {"config", "events", "errors", "prompts", "formats", "models", "embeddings", "data", "hosts", "toy"}


def test_imports_run_downwards(house):
    assert problems(house, room_problems) == []


def test_guarded_packages_are_imported_only_at_their_doors(house):
    assert problems(house, import_problems) == []


def test_the_command_line_knows_its_flags_without_what_takes_seconds_to_import():
    told = "import sys, pivotal.cli; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", told], cwd=PACKAGE.parent, capture_output=True, text=True)
    assert "pivotal.config.train" in done.stdout.split(), done.stderr
    assert not {"torch", "numpy", "PIL", "transformers", "diffusers", "gradio", "fastapi"} & {*done.stdout.split()}


def test_files_and_functions_stay_readable(house):
    assert problems(house, size_problems) == []


def test_the_parts_outside_the_package_import_only_what_is_always_there():
    files = [*ROOT.glob("scripts/*.py"), *ROOT.glob("*.py")]
    assert ROOT / "install.py" in files
    for path in files:
        text = path.read_text("utf-8")
        source = Source(path.name, text, ast.parse(text))
        tops = {imported.name.partition(".")[0] for imported in source.imports()}
        assert not tops & {*DOORS, "extension"}, f"{path.name} imports {tops & {*DOORS, 'extension'}}"
        assert len(text.splitlines()) <= LONGEST_FILE, path.name
        assert list(size_problems(source)) == []


@pytest.mark.parametrize(
    ("path", "text", "rule", "word"),
    [
        ("prompts/a.py", "from pivotal.jobs import queue", room_problems, "may not import"),
        ("training/a.py", "import pivotal.networks.lora", room_problems, "may not import"),
        ("formats/a.py", "from pivotal import prompts", room_problems, "may not import"),
        ("models/a.py", "from pivotal.toy import vae", room_problems, "may not import"),
        ("toy/a.py", "from pivotal.models import text", room_problems, "may not import"),
        ("helpers/a.py", "", room_problems, "is on no floor"),
        ("__init__.py", "from pivotal import config", room_problems, "may not import"),
        ("jobs/a.py", "from modules import shared", import_problems, "only hosts may import"),
        ("training/a.py", "import networks", import_problems, "only hosts may import"),
        ("hosts/a1111.py", "import gradio", import_problems, "only ui and hosts/embedded may import"),
        ("jobs/a.py", "import fastapi", import_problems, "only api and hosts/embedded may import"),
        ("jobs/a.py", "from . import queue", import_problems, "write the whole name"),
        ("jobs/a.py", "import extension.pivotal", import_problems, "two extensions"),
        ("jobs/a.py", "def f():\n    import torch", import_problems, "at the top"),
        ("cli_a.py", "def f():\n    from pivotal.jobs import desk", import_problems, "at the top"),
        ("jobs/a.py", "\n" * 401, size_problems, "401 lines"),
        ("jobs/a.py", "def f():\n" + "    f()\n" * 60, size_problems, "61 lines"),
    ],
)
def test_each_rule_sees_a_planted_breach(path, text, rule, word):
    found = list(rule(Source(path, text, ast.parse(text))))
    assert len(found) == 1
    assert word in found[0]


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("jobs/a.py", "import torch\nfrom pivotal.training import loop\nfrom pivotal import hosts, events"),
        ("hosts/embedded/a.py", "import fastapi, gradio\ndef f():\n    from modules import shared"),
        ("hosts/a1111.py", "def f():\n    import networks"),
        ("training/a.py", "def f():\n    import bitsandbytes"),
        ("toy/a.py", "from pivotal.prompts import vocabulary\nfrom pivotal.toy import vae"),
        ("__main__.py", "from pivotal.cli import main"),
    ],
)
def test_no_rule_minds_what_is_allowed(path, text):
    source = Source(path, text, ast.parse(text))
    assert [problem for rule in (room_problems, import_problems, size_problems) for problem in rule(source)] == []


def test_ruff_finds_nothing():
    done = subprocess.run([sys.executable, "-m", "ruff", "check", "--no-cache", ROOT], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
