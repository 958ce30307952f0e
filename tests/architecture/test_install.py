"""install.py as a WebUI calls it, and as a person does: real processes, with a pip and a pytest that only take notes."""

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.once

# What a host has that lacks nothing, at the lower ends of extension/requirements.txt (checked below against that file).
COMPLETE = {
    "torch": "2.1.2+cu121",
    "transformers": "4.30.2",
    "huggingface_hub": "0.36.2",
    "diffusers": "0.31.0",
    "safetensors": "0.3.1",
    "accelerate": "0.21.0",
    "open-clip-torch": "2.20.0",
    "pytorch-optimizer": "4.1.0",
    "ftfy": "6.1",
    "PyYAML": "6.0",
    "Pillow": "9.5.0",
    "numpy": "1.26.2",
    "psutil": "5.9.5",
    "tqdm": "4.65.0",
    "setuptools": "69.5.1",
    "gradio": "3.41.2",
}

# Notes down how it was called, then does what pip would: FAKE_PIP_ADDS are the packages that appear.
FAKE_PIP = """
    import json, os, shutil, sys
    from pathlib import Path

    site = Path(__file__).parents[1]
    if "--version" in sys.argv:
        sys.exit(print("pip 23"))
    call = {"arguments": sys.argv[1:]}
    if "-c" in sys.argv:
        call["constraints"] = Path(sys.argv[sys.argv.index("-c") + 1]).read_text().split()
    with open(os.environ["FAKE_PIP_LOG"], "a") as log:
        log.write(json.dumps(call) + "\\n")
    print("Collecting everything")
    if "FAKE_PIP_FAILS" in os.environ:
        sys.exit("ERROR: No matching distribution found for peace on earth")
    here = Path(os.environ.get("FAKE_PIP_SITE") or site)
    for package in os.environ.get("FAKE_PIP_ADDS", "").split():
        name, version = package.split("==")
        for old in here.glob(name + "-*.dist-info"):
            shutil.rmtree(old)
        folder = here / f"{name}-{version}.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\\nName: {name}\\nVersion: {version}\\n")
        (folder / "INSTALLER").write_text("pip")
    if "FAKE_PIP_DIES" in os.environ:
        os.kill(os.getpid(), 9)
"""


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(text).strip() + "\n", "utf-8")
    return path


class Host:
    """A Python of its own with packages that exist only as far as importlib.metadata can see, and the fake pip."""

    def __init__(self, folder: Path):
        venv.create(folder / "python", with_pip=False, symlinks=os.name == "posix")
        self.python = next(path for path in (folder / "python").glob("*/python*") if path.stem in {"python", "python.exe"})
        self.site = next((folder / "python").glob("lib/python3*/site-packages"), folder / "python/Lib/site-packages")
        self.log = folder / "pip.jsonl"
        write(self.site / "pip/__main__.py", FAKE_PIP)
        for name in ("torch", "pivotal", "gradio", "diffusers"):  # whoever imports one learns it
            write(self.site / f"{name}.py", "raise SystemExit('imported ' + __name__)")

    def add(self, packages: dict[str, str]) -> None:
        for name, version in packages.items():
            folder = self.site / f"{name.replace('-', '_')}-{version}.dist-info"
            write(folder / "METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}")

    def packages(self) -> dict[str, str]:
        return dict(sorted(folder.name.removesuffix(".dist-info").split("-") for folder in self.site.glob("*.dist-info")))

    def run(self, *options: str, script: Path = ROOT / "install.py", **variables: str) -> subprocess.CompletedProcess[str]:
        """What a host does: its own Python, our file, no arguments, another folder, a PYTHONPATH."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PIP_"))}
        environment = {**kept, "PYTHONPATH": f"{self.site.parent}{os.pathsep}", "FAKE_PIP_LOG": str(self.log), **variables}
        command = [str(self.python), *options, str(script)]
        return subprocess.run(command, cwd=self.site, env=environment, capture_output=True, text=True)

    def calls(self) -> list[dict]:
        return [json.loads(line) for line in self.log.read_text().splitlines()] if self.log.exists() else []


@pytest.fixture
def host(tmp_path) -> Host:
    return Host(tmp_path)


@pytest.fixture(scope="module")
def install():
    spec = importlib.util.spec_from_file_location("pivotal_install", ROOT / "install.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def without(*names: str) -> dict[str, str]:
    return {name: version for name, version in COMPLETE.items() if name not in names}


def test_the_complete_host_has_every_requirement(install):
    wanted = install.read_requirements()
    assert len(wanted) >= 9
    assert {"diffusers", "transformers", "safetensors", "pyyaml"} <= set(wanted)
    assert set(wanted) <= {install.plain(name) for name in COMPLETE}
    assert not set(wanted) & {"torch", "gradio", "fastapi", "pydantic"}, "these are the host's own choice"


def test_each_requirement_has_its_reason():
    lines = (ROOT / "extension/requirements.txt").read_text("utf-8").splitlines()
    bare = [line for before, line in zip(["", *lines], lines, strict=False) if line[:1].isalpha() and before[:1] != "#"]
    assert bare == []


def test_with_nothing_missing_it_is_silent_and_quick(host):
    host.add(COMPLETE)
    host.add({f"package{number}": "1.0" for number in range(150)})  # as many as a WebUI has
    seconds = []
    for _ in range(3):
        begin = sum(os.times()[2:4])  # of the children's processor, since other work may share the machine
        done = host.run()
        seconds.append(sum(os.times()[2:4]) - begin)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert min(seconds) < 1
    assert host.calls() == []


def test_it_imports_nothing_but_the_standard_library(host):
    host.add(COMPLETE)
    done = host.run("-X", "importtime")
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
    assert len(imported) > 50
    # org.python is Jython's, asked for by copy and pickle; a venv may have the others.
    known = {*sys.stdlib_module_names, "imported package", "org", "sitecustomize", "usercustomize", "_distutils_hack"}
    assert imported - known == set()


def test_a_missing_package_is_asked_for_with_all_the_others_held(host):
    host.add(without("diffusers"))
    before = host.packages()
    done = host.run(FAKE_PIP_ADDS="diffusers==0.31.0 importlib_metadata==8.0")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "Pivotal: installing diffusers==0.31.0\n"
    (call,) = host.calls()
    assert call["arguments"][0] == "install"
    assert call["arguments"][-1] == "diffusers==0.31.0"
    assert not {"--upgrade", "-U", "--force-reinstall", "--ignore-installed"} & set(call["arguments"])
    assert set(call["constraints"]) == {f"{name.lower().replace('_', '-')}=={version}" for name, version in before.items()}
    assert {"setuptools==69.5.1", "torch==2.1.2+cu121"} <= set(call["constraints"])
    assert host.packages() == {**before, "diffusers": "0.31.0", "importlib_metadata": "8.0"}
    assert host.run().stdout == ""  # the next start has nothing to do
    assert len(host.calls()) == 1


def test_open_clip_comes_without_its_torchvision(host):
    host.add(without("open-clip-torch"))
    assert host.run(FAKE_PIP_ADDS="open_clip_torch==2.20.0").returncode == 0
    assert "--no-deps" in host.calls()[0]["arguments"]


def test_a_version_that_pip_cannot_read_does_not_spoil_the_constraints(host):
    host.add({**without("tqdm"), "oddity": "4.0.0-unsupported-local"})
    assert host.run(FAKE_PIP_ADDS="tqdm==4.66.1").returncode == 0
    held = host.calls()[0]["constraints"]
    assert len(held) == len(COMPLETE) - 1
    assert not any(line.startswith("oddity") for line in held)


@pytest.mark.parametrize(
    ("hub", "version"),
    [("0.20.3", "==0.28.2"), ("0.23.1", "==0.28.2"), ("0.23.2", "==0.31.0"), ("0.36.2", "==0.31.0"), ("2.4.0", ">=1,<9")],
)
def test_diffusers_is_chosen_by_what_the_host_has(install, hub, version):
    assert install.diffusers_for(hub, ">=1,<9") == version


def test_a_host_too_old_for_any_diffusers_is_told_so(host):
    host.add({**without("diffusers"), "huggingface_hub": "0.17.3"})
    done = host.run()
    assert done.returncode == 1
    assert "huggingface_hub 0.17.3" in done.stderr
    assert "Traceback" not in done.stderr
    assert host.calls() == []


def test_a_failing_pip_is_reported_in_its_own_last_words(host):
    host.add(without("tqdm", "ftfy"))
    done = host.run(FAKE_PIP_FAILS="1")
    assert done.returncode == 1
    assert "Pivotal: tqdm>=4.60 could not be installed; pip ended with 1." in done.stderr
    assert "Pivotal: ftfy>=6.1 could not be installed" in done.stderr, "one problem must not hide the next"
    assert "pip: ERROR: No matching distribution found for peace on earth" in done.stderr
    assert "Traceback" not in done.stderr
    assert len(host.calls()) == 2


def test_a_python_without_pip_is_reported(host):
    host.add(without("tqdm"))
    shutil.rmtree(host.site / "pip")
    done = host.run()
    assert done.returncode == 1
    assert "No module named pip" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_version_changed_behind_our_back_is_reported(host):
    host.add(without("diffusers"))
    done = host.run(FAKE_PIP_ADDS="diffusers==0.31.0 numpy==2.4.6")
    assert done.returncode == 1
    assert "numpy 1.26.2 is 2.4.6" in done.stderr


def test_a_package_that_is_too_old_is_named_and_left_alone(host):
    host.add({**COMPLETE, "transformers": "4.26.0"})
    done = host.run()
    assert done.returncode == 1
    assert "transformers 4.26.0 is too old for Pivotal (4.30.2 or newer is needed)" in done.stderr
    assert host.calls() == []


def test_a_package_newer_than_we_know_is_the_hosts_business(host):
    host.add({**COMPLETE, "diffusers": "0.99.0.dev0"})
    assert host.run().returncode == 0
    assert host.calls() == []


def test_nothing_is_installed_before_torch_is_there(host):
    host.add(without("torch", "diffusers"))
    done = host.run()
    assert done.returncode == 1
    assert done.stderr.startswith("Pivotal: torch is missing")
    assert host.calls() == []


# --- as a person calls it ---------------------------------------------------------------------------------------------


class Project:
    """A copy of install.py with small requirement files, a pivotal that only reports, and environments half made."""

    def __init__(self, folder: Path):
        self.root, self.log = folder / "our project", folder / "pip.jsonl"
        shutil.copy(ROOT / "install.py", write(self.root / "install.py", ""))
        write(self.root / "extension/requirements.txt", "numpy>=1")
        for name in ("newest", "a1111", "forge", "tools"):
            write(self.root / f"tests/environments/{name}.txt", f"package-of-{name}")
        report = "import json, os, sys; print(json.dumps([sys.argv[1:], os.getcwd()])); sys.exit(7)"
        write(self.root / "extension/pivotal/__main__.py", report)
        write(folder / "fakes/pip/__main__.py", FAKE_PIP)
        write(folder / "fakes/pytest/__main__.py", FAKE_PYTEST)
        write(folder / "fakes/torch-2.13.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: torch\nVersion: 2.13.0")
        self.fakes = folder / "fakes"
        self.lack_torch = self.fakes / "torch-2.13.0.dist-info"
        for name in (".venv", ".venv-a1111", ".venv-forge"):
            venv.create(self.root / name, with_pip=False, symlinks=os.name == "posix")

    def environment(self, **variables: str) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PIP_", "TORCH_"))}
        return {**kept, "PYTHONPATH": str(self.fakes), "FAKE_PIP_LOG": str(self.log), "FAKE_PIP_SITE": str(self.fakes),
                "FAKE_PIP_ADDS": "numpy==1.26.2", **variables}  # fmt: skip

    def run(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(self.root / "install.py"), *arguments]
        environment = self.environment(**variables)
        return subprocess.run(command, cwd=self.root.parent, env=environment, capture_output=True, text=True)

    def calls(self) -> list[list[str]]:
        return [json.loads(line)["arguments"] for line in self.log.read_text().splitlines()] if self.log.exists() else []


# Writes the report that install.py reads; FAKE_PYTEST tells per environment "tests failures errors skipped exit-code".
FAKE_PYTEST = """
    import json, os, sys
    from pathlib import Path

    name = Path(sys.prefix).name
    counts = json.loads(os.environ["FAKE_PYTEST"]).get(name, "1 0 0 0 0").split()
    report = next(word.partition("=")[2] for word in sys.argv if word.startswith("--junitxml="))
    if counts[0] != "-":
        attributes = zip(("tests", "failures", "errors", "skipped"), counts)
        text = " ".join(f'{key}="{value}"' for key, value in attributes)
        Path(report).write_text(f"<testsuites><testsuite {text}/></testsuites>")
    print(name, os.getcwd(), sys.argv[2:])
    sys.exit(int(counts[-1]))
"""


@pytest.fixture
def project(tmp_path) -> Project:
    return Project(tmp_path)


def test_train_passes_arguments_folder_and_exit_code_on_and_keeps_stdout_clean(project):
    done = project.run("train", "my run.yaml", "--json")
    assert done.returncode == 7, done.stderr
    assert json.loads(done.stdout) == [["train", "my run.yaml", "--json"], str(project.root.parent)]
    assert "Collecting everything" in done.stderr


def test_an_environment_is_made_once_and_again_when_its_files_change(project):
    project.run("webui")
    made = project.calls()
    packages = next(call for call in made if "-r" in call)
    assert str(project.root / "tests/environments/newest.txt") in packages
    assert not any("tools" in word for word in packages), "whoever only trains needs no browser driver"
    project.run("webui")
    assert project.calls() == made
    write(project.root / "tests/environments/newest.txt", "package-of-newest>=2")
    project.run("webui")
    assert len(project.calls()) > len(made)


@pytest.mark.parametrize(("keeps_no_bytecode", "word"), [("", "--no-compile"), ("1", "--compile")])
def test_torch_is_installed_first_and_alone_and_then_held(project, keeps_no_bytecode, word):
    shutil.rmtree(project.lack_torch)
    project.run("train", FAKE_PIP_ADDS="torch==2.13.0 numpy==1.26.2", PYTHONDONTWRITEBYTECODE=keeps_no_bytecode)
    first, second, *_ = [json.loads(line) for line in project.log.read_text().splitlines()]
    assert first["arguments"][1:] == ["install", word, "torch==2.13.0"]
    assert second["constraints"] == ["torch==2.13.0"]


@pytest.mark.parametrize("prefix", ["", "pip "])
def test_the_users_torch_command_is_honoured(project, prefix):
    shutil.rmtree(project.lack_torch)
    project.run("train", TORCH_COMMAND=f"{prefix}install torch==2.9.1 --index-url URL", FAKE_PIP_ADDS="torch==2.9.1 numpy==1.0")
    assert project.calls()[0][1:] == ["install", "torch==2.9.1", "--index-url", "URL"]


def test_an_interrupted_installation_is_repaired(project):
    cut_off = write(project.root / ".venv/lib/python3.11/site-packages/half-1.0.dist-info/METADATA", "Name: half").parent
    done = project.run("webui", FAKE_PIP_DIES="1")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert not (project.root / ".venv/pivotal-stamp.json").exists()
    assert not cut_off.exists(), "pip must not believe that it is there"
    assert project.run("webui").returncode == 7


def test_a_failing_pip_stops_with_a_sentence(project):
    done = project.run("webui", FAKE_PIP_FAILS="1")
    assert done.returncode == 1
    assert "Pivotal: pip could not install" in done.stderr
    assert "Traceback" not in done.stderr


def results(**folders: str) -> str:
    return json.dumps({f".{name.replace('_', '-')}": counts for name, counts in folders.items()})


def test_the_tests_of_all_environments_are_summed_in_the_last_line(project):
    counts = results(venv="10 0 0 2 0", venv_a1111="10 0 0 3 0", venv_forge="10 0 0 0 0")
    done = project.run("test", "--env", "all", "-k", "word", FAKE_PYTEST=counts)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "25 passed, 0 failed"
    assert "In the environment a1111: 7 tests passed, none failed." in done.stdout
    asked = {line.split()[0]: line for line in done.stdout.splitlines() if line.startswith(".venv")}
    assert asked[".venv"].endswith("-reorder', '-k', 'word']")
    assert all(asked[name].endswith("-reorder', '-m', 'not once', '-k', 'word']") for name in (".venv-a1111", ".venv-forge"))
    assert "--numprocesses" not in project.run("test", "-s", FAKE_PYTEST="{}").stdout  # a terminal cannot be shared
    assert any(str(project.root / "tests/environments/tools.txt") in call for call in project.calls())


def test_the_next_environment_is_made_while_one_is_used(install, monkeypatch):
    made = {name: threading.Event() for name in "abc"}
    monkeypatch.setattr(install, "make_environment", lambda name, **_: made[name].set() or name.upper())
    turns = install.made_in_turn([*made])
    assert next(turns) == ("a", "A")
    assert made["b"].wait(300) and not made["c"].is_set()
    assert [*turns] == [("b", "B"), ("c", "C")]


@pytest.mark.parametrize(
    ("a1111", "code", "last"),
    [
        ("10 1 2 0 1", 1, "9 passed, 3 failed"),  # failures and errors
        ("0 0 0 0 5", 5, "2 passed, 0 failed"),  # one environment in which no test ran
        ("3 0 0 3 0", 1, "2 passed, 0 failed"),  # all skipped
        ("- 4", 4, "2 passed, 1 failed"),  # pytest did not get to run a test
    ],
)
def test_one_bad_environment_fails_them_all(project, a1111, code, last):
    done = project.run("test", "--env=all", FAKE_PYTEST=results(venv_a1111=a1111))
    assert done.returncode == code
    assert done.stdout.splitlines()[-1] == last


def test_one_environment_is_tested_unless_more_are_asked_for(project):
    assert project.run("test", FAKE_PYTEST="{}").stdout.splitlines()[-1] == "1 passed, 0 failed"
    assert not (project.root / ".venv-forge/pivotal-stamp.json").exists()
    assert "not once" not in project.run("test", "--env", "a1111", FAKE_PYTEST="{}").stdout


def test_what_a_full_run_counted_goes_into_the_readme(project):
    write(project.root / "tests/figures.py", "import sys; print('figures of', *sys.argv[1:])")
    assert "figures of /" in project.run("test", "--full", FAKE_PYTEST="{}").stdout.replace(os.sep, "/")
    assert "figures of" not in project.run("test", "--full", "-k", "word", FAKE_PYTEST="{}").stdout
    assert "figures of" not in project.run("test", "--full", FAKE_PYTEST=results(venv="3 1 0 0 1")).stdout


def test_an_unknown_command_gets_the_list_of_commands(project):
    done = project.run("trian")
    assert done.returncode == 1
    assert "there is no command trian" in done.stderr
    assert "install.py train RUN.yaml" in done.stderr
    assert project.run("--help").stdout.startswith("Installs what Pivotal needs")


def test_an_old_python_is_told_which_one_is_needed(install, monkeypatch):
    monkeypatch.setattr(sys, "version_info", (3, 9, 18))
    with pytest.raises(install.InstallError, match=r"Python 3\.10 or newer is needed"):
        install.main([])


def test_a_python_without_ensurepip_is_told_what_to_install(install, monkeypatch, tmp_path):
    monkeypatch.setattr(install.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(install.InstallError, match="apt install python3-venv"):
        install.make_python(tmp_path / "new", tmp_path / "new/bin/python")


@pytest.mark.skipif(os.name != "posix", reason="signals are POSIX's")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_reaches_the_program_and_its_end_is_ours(project, number):
    write(
        project.root / "extension/pivotal/__main__.py",
        """
        import signal, sys, time
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda number, frame: sys.exit(40 + number))
        print("ready", flush=True)
        time.sleep(60)
        """,
    )
    command = [sys.executable, str(project.root / "install.py"), "train"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    with subprocess.Popen(command, env=project.environment(), **pipes) as process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        assert process.wait(120) == 40 + number
