"""Installs what Pivotal needs, and starts it.

    python3 install.py webui [flags]            a WebUI of our own with the Train tab; --help lists its flags
    python3 install.py train RUN.yaml [flags]   one training run without a page; --help lists its flags
    python3 install.py tool NAME ...            something with finished files (resize, merge, ...); --help lists the tools
    python3 install.py presets                  lists recipes for `train --preset NAME`
    python3 install.py import FILE -o RUN.yaml  settings of kohya, OneTrainer or Invoke Training as a run file
    python3 install.py queue add RUN.yaml [--over FOLDER] | list | work
    python3 install.py strings -o FILE          the page's texts, to be translated for a WebUI's localization files
    python3 install.py test [--env newest|a1111|forge|all] [--full] [arguments of pytest]
    python3 install.py                          what a WebUI calls at each of its starts

The first eight make an environment beside this file (.venv; the tests also .venv-a1111 and .venv-forge) with torch
2.13.0. For another build set TORCH_COMMAND, as in AUTOMATIC1111: TORCH_COMMAND="pip install torch --index-url URL".
The last one installs only what the WebUI lacks of extension/requirements.txt, and never changes a version it has.

Standard library only, and nothing of Pivotal's: it runs before either can be there.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parent
REQUIREMENTS = "extension/requirements.txt"
ENVIRONMENTS = {"newest": ".venv", "a1111": ".venv-a1111", "forge": ".venv-forge"}
NEWEST_PYTHON = {"a1111": (3, 11), "forge": (3, 12)}  # for which their pinned packages exist as wheels
TORCH = "torch==2.13.0"  # an unpinned one may be one that nothing here was tried with
# Of open-clip we only read the vocabulary file; its torchvision would have to fit a torch that is not ours.
WITHOUT_DEPENDENCIES = {"open-clip-torch"}


class InstallError(Exception):
    """Something that the user can read and act on."""


def say(text: str) -> None:
    """To stderr, since stdout may be a machine's to read (`train --json`)."""
    print(text, file=sys.stderr, flush=True)


# --- what a WebUI calls at each start ---------------------------------------------------------------------------------


def plain(name: str) -> str:
    """A package's name as pip compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def read_requirements() -> dict[str, str]:
    """Package to range of versions, of extension/requirements.txt."""
    lines = [line.partition("#")[0].strip() for line in (ROOT / REQUIREMENTS).read_text("utf-8").splitlines()]
    return {plain(name): versions for name, versions in (re.match(r"([\w.-]+)(.*)", line).groups() for line in lines if line)}


def release(version: str) -> tuple[int, ...]:
    """The numbers of a version, for comparing: "4.30.2+cu121" is (4, 30, 2, 0)."""
    found = re.match(r"\d+(\.\d+)*", version)
    return tuple(([int(part) for part in found[0].split(".")] if found else []) + [0] * 4)[:4]


def installed_versions() -> dict[str, str]:
    """Package to version, without importing any; the first on sys.path wins, as it does for an import."""
    versions: dict[str, str] = {}
    for package in importlib.metadata.distributions():
        if package.metadata["Name"] and package.version:
            versions.setdefault(plain(package.metadata["Name"]), package.version)
    return versions


def constraints(versions: dict[str, str]) -> str:
    """Lines for `pip -c` that hold every package at its version; setuptools too, which `pip freeze` leaves out."""
    # pip refuses the whole file for one version that is not of PEP 440's form, and old hosts have such packages.
    proper = re.compile(r"(\d+!)?\d+(\.\d+)*((a|b|rc)\d+)?(\.post\d+)?(\.dev\d+)?(\+[a-zA-Z0-9.]+)?")
    return "".join(f"{name}=={version}\n" for name, version in versions.items() if proper.fullmatch(version))


def diffusers_for(hub: str, versions: str) -> str:
    """The diffusers that runs beside a host's huggingface_hub; pip's resolver would take newer ones that do not import.

    Tried: 0.31.0 with huggingface_hub 0.23.2 to 0.36 and transformers 4.30.2 to 4.57 (0.32 already asks for an image
    encoder that 4.30.2 lacks); 0.28.2 with huggingface_hub 0.20.3 to 0.25; 0.42 with 2.4 and transformers 5.
    """
    if release(hub) < (0, 20, 2):
        raise InstallError(
            f"diffusers is missing, and none runs with this WebUI's huggingface_hub {hub}. Pivotal never changes the "
            f'WebUI\'s packages; you can: "{sys.executable}" -m pip install "huggingface_hub>=0.23.2,<1"'
        )
    return "==0.28.2" if release(hub) < (0, 23, 2) else "==0.31.0" if release(hub) < (1,) else versions


def pip_install(requirement: str, *options: str) -> None:
    """Adds one package, and those it needs, to the Python that runs this file; changes no version that is there."""
    before = installed_versions()
    with tempfile.TemporaryDirectory() as folder:
        held = Path(folder, "constraints.txt")
        held.write_text(constraints(before), "utf-8")
        pip = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--prefer-binary"]
        command = [*pip, "-c", str(held), *options, requirement]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8", errors="replace")
    if done.returncode:
        last = "".join(f"\n  pip: {line}" for line in done.stdout.strip().splitlines()[-5:])
        raise InstallError(f"{requirement} could not be installed; pip ended with {done.returncode}.{last}")
    after = installed_versions()
    if changed := [f"{name} {old} is {after.get(name, 'gone')}" for name, old in before.items() if after.get(name) != old]:
        raise InstallError(f"installing {requirement} changed the WebUI's own packages: {', '.join(changed)}.")


def complete(name: str, versions: str, installed: dict[str, str]) -> None:
    """Installs a package that is missing; raises if it is there but too old, since it is not ours to change."""
    oldest = re.search(r"[>=]=([\d.]+)", versions)
    if name in installed:
        if oldest and release(installed[name]) < release(oldest[1]):
            raise InstallError(
                f"{name} {installed[name]} is too old for Pivotal ({oldest[1]} or newer is needed). It is the WebUI's own "
                f"package, so it was left alone; update the WebUI."
            )
        return
    if name == "diffusers" and "huggingface-hub" in installed:
        versions = diffusers_for(installed["huggingface-hub"], versions)
    print(f"Pivotal: installing {name}{versions}", flush=True)
    pip_install(name + versions, *(["--no-deps"] if name in WITHOUT_DEPENDENCIES else []))
    installed.update(installed_versions())


def complete_host() -> int:
    """Brings what is missing of extension/requirements.txt into the Python that runs this file.

    Returns: 0 when all is there now, 1 when something is not; silent and without pip when nothing was missing.
    """
    installed, problems = installed_versions(), []
    if "torch" not in installed:  # and pip would take one for whichever package asks for it: several GB, perhaps unfit
        raise InstallError("torch is missing in this Python. The WebUI brings it: let the WebUI start once without Pivotal.")
    for name, versions in read_requirements().items():
        try:
            complete(name, versions, installed)
        except InstallError as problem:
            problems.append(str(problem))
    for problem in problems:
        say(f"Pivotal: {problem}")
    return 1 if problems else 0


# --- environments of our own ------------------------------------------------------------------------------------------


def step(command: list[str], failure: str) -> None:
    """One step of an installation, with its output on stderr."""
    if subprocess.run(command, stdout=sys.stderr).returncode:
        raise InstallError(f"{failure}; its words are above. If it fails again, delete the environment's folder and retry.")


def answer(command: list[str]) -> str | None:
    """What a program prints; None if it fails or is not there."""
    try:
        return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def make_python(folder: Path, python: Path) -> None:
    """Makes the folder an environment with a working pip, unless it is one; repairs what an interrupted try left."""
    if answer([str(python), "-m", "pip", "--version"]) is None:
        if importlib.util.find_spec("ensurepip") is None:
            raise InstallError(
                "this Python cannot make an environment, as its module ensurepip is missing. On Debian and Ubuntu run "
                "'apt install python3-venv' as root, then the same command again."
            )
        step([sys.executable, "-m", "venv", str(folder)], f"{sys.executable} -m venv {folder} failed")
    # pip writes INSTALLER after a package's last file: without it a package looks installed, but may lack files.
    for record in [*folder.glob("lib/python3*/site-packages/*.dist-info"), *folder.glob("Lib/site-packages/*.dist-info")]:
        if not (record / "INSTALLER").exists():
            shutil.rmtree(record, ignore_errors=True)


def install_packages(python: str, files: list[str], *, quiet: bool) -> None:
    """torch first and alone, so that no other package chooses its build; the files' packages; what they still lack."""
    pip = [python, "-m", "pip", "--disable-pip-version-check", *(["--quiet"] if quiet else [])]
    # Of the packages' files a few are ever imported, and Python compiles those by itself, unless it was told not to.
    compiled = "--compile" if sys.dont_write_bytecode else "--no-compile"
    torch_version = [python, "-c", "import importlib.metadata as packages; print(packages.version('torch'))"]
    if answer(torch_version) is None:
        words = shlex.split(os.environ.get("TORCH_COMMAND") or f"install {compiled} {TORCH}", posix=os.name != "nt")
        step([*pip, *words[words[0] in {"pip", "pip3"} :]], "pip could not install torch")
    with tempfile.TemporaryDirectory() as folder:
        held = Path(folder, "torch.txt")
        held.write_text(f"torch=={answer(torch_version)}\n", "utf-8")
        arguments = [argument for file in files for argument in ("-r", str(ROOT / file))]
        install = [*pip, "install", compiled, "--prefer-binary"]
        step([*install, "-c", str(held), *arguments], f"pip could not install {' and '.join(files)}")
    step([python, str(ROOT / "install.py")], f"{REQUIREMENTS} could not be completed")


def make_environment(name: str, *, tools: bool, quiet: bool = False) -> str:
    """Makes an environment, or brings it up to its requirement files; quick when it already is.

    Args:
        quiet: pip tells only what goes wrong.

    Returns: its interpreter.
    """
    folder = ROOT / ENVIRONMENTS[name]
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    named = [f"tests/environments/{file}.txt" for file in ([name, "tools", f"{name}-tools"] if tools else [name])]
    files = [file for file in named if (ROOT / file).exists()]
    hashes = {file: hashlib.sha256((ROOT / file).read_bytes()).hexdigest() for file in [*files, REQUIREMENTS]}
    stamp = folder / "pivotal-stamp.json"
    stamped = json.loads(stamp.read_text("utf-8")) if stamp.exists() else {}
    if python.exists() and stamped.items() >= hashes.items():
        return str(python)
    if sys.version_info[:2] > NEWEST_PYTHON.get(name, (3, 99)) and not python.exists():
        raise InstallError("the packages of the environment {} need Python {}.{} or older.".format(name, *NEWEST_PYTHON[name]))
    say(f"Pivotal: {'bringing' if stamped else 'making'} {folder} {'up to date' if stamped else '(some minutes, once)'}")
    make_python(folder, python)
    install_packages(str(python), files, quiet=quiet)
    written = stamp.with_suffix(".new")
    written.write_text(json.dumps({**stamped, **hashes}, indent=1), "utf-8")
    os.replace(written, stamp)  # last of all: an environment that is not whole has no fitting stamp
    return str(python)


def made_in_turn(names: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Each name with the interpreter of its environment; while the caller uses one, the next is made."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        ahead = pool.submit(make_environment, names[0], tools=True)
        for name, following in zip(names, [*names[1:], None], strict=True):
            python = ahead.result()
            if following:  # quietly, as the tests have the screen
                ahead = pool.submit(make_environment, following, tools=True, quiet=True)
            yield name, python


# --- the commands -----------------------------------------------------------------------------------------------------


def with_our_package() -> dict[str, str]:
    """The environment's variables for a Python that is to import pivotal."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT / "extension"), os.environ.get("PYTHONPATH")]))}


def become(command: list[str]) -> int:
    """Hands over to a program: on POSIX it is then this very process, so that signals and its end are its own."""
    if os.name == "posix":
        os.execve(command[0], command, with_our_package())
    return run(command)


def run(command: list[str], folder: Path | None = None) -> int:
    """Runs a program with our package on its path. Ctrl-C reaches it from the terminal: it decides, and we wait."""
    with subprocess.Popen(command, cwd=folder, env=with_our_package()) as process:
        while True:
            try:
                code = process.wait()
            except KeyboardInterrupt:
                continue
            return code if code >= 0 else 128 - code


def count_tests(report: Path) -> tuple[int, int]:
    """How many tests passed and how many failed, from pytest's own report."""
    suites = list(ElementTree.parse(report).iter("testsuite")) if report.exists() else []
    total, skipped, *bad = (sum(int(suite.get(key, 0)) for suite in suites) for key in ("tests", "skipped", "failures", "errors"))
    return total - skipped - sum(bad), sum(bad)


def run_tests(arguments: list[str]) -> int:
    """Runs the tests in one environment or in each; the last line says how many passed and failed in all of them."""
    parser = argparse.ArgumentParser("install.py test", allow_abbrev=False, epilog="All else goes to pytest.")
    parser.add_argument("--env", choices=[*ENVIRONMENTS, "all"], default="newest")
    parser.add_argument("--full", action="store_true", help="Runs the sweeps that take minutes, too.")
    options, rest = parser.parse_known_args(arguments)
    # A file stays whole, as its tests share what they set up, and tests/conftest.py sets the order of files. One worker more
    # than cores, since tests wait, too; more than four would want more than 12 GB.
    workers = [f"--numprocesses={min((os.cpu_count() or 1) + 1, 4)}", "--dist=loadfile", "--no-loadscope-reorder"]
    spread = workers if not {"-n", "-s", "--pdb"} & {*rest} else []
    notes, passed, failed, worst = [], 0, 0, 0
    for name, python in made_in_turn([*ENVIRONMENTS] if options.env == "all" else [options.env]):
        # Of all environments, only the newest runs what their packages have no part in (tests/conftest.py).
        apart = ["-m", "not once"] if options.env == "all" and name != "newest" else []
        chosen = ["-m", "slow or not slow"] if options.full else apart
        say(f"Pivotal: testing in the environment {name}")
        with tempfile.TemporaryDirectory() as folder:
            report = Path(folder, "report.xml")
            code = run([python, "-m", "pytest", f"--junitxml={report}", *spread, *chosen, *rest], ROOT)
            good, bad = count_tests(report)
            if options.full and not (code or rest):  # all was run, and nothing failed: what the sweeps counted is for the README
                run([python, "tests/figures.py", str(report)], ROOT)
        bad = bad or int(code not in {0, 5})  # 5: no test was there to run
        passed, failed, worst = passed + good, failed + bad, worst or code or int(not good)
        notes.append(f"In the environment {name}: {good or 'no'} tests passed, {bad or 'none'} failed.")
        if code in {2, 130}:
            break  # a Ctrl-C means all of it
    print("\n".join([*notes, f"{passed} passed, {failed} failed"]), flush=True)
    return worst


def main(arguments: list[str]) -> int:
    """One of the uses that this file's first lines name."""
    if sys.version_info < (3, 10):  # noqa: UP036  this file is what tells the owner of an older one
        raise InstallError(f"Python 3.10 or newer is needed; this is {sys.version.split()[0]} ({sys.executable}).")
    if not arguments:
        return complete_host()
    if arguments[0] in {"webui", "train", "tool", "presets", "import", "queue", "strings"}:
        return become([make_environment("newest", tools=False), "-m", "pivotal", *arguments])
    if arguments[0] == "test":
        return run_tests(arguments[1:])
    if arguments[0] in {"-h", "--help"}:
        print(__doc__)
        return 0
    raise InstallError(f"there is no command {arguments[0]}.\n{__doc__}")


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except InstallError as problem:
        say(f"Pivotal: {problem}")
        sys.exit(1)
    except KeyboardInterrupt:
        say("Pivotal: stopped.")
        sys.exit(130)
