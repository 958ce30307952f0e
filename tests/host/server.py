"""A real WebUI for the tests: one that runs already, or one that they start with Pivotal in its extensions folder."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path

URL, DIR, COMMAND = "PIVOTAL_HOST_URL", "PIVOTAL_HOST_DIR", "PIVOTAL_HOST_COMMAND"
CHECKPOINTS, OTHER_KIND = "PIVOTAL_HOST_CHECKPOINTS", "PIVOTAL_HOST_OTHER_KIND"
ROOT = Path(__file__).resolve().parents[2]
PARTS = ("install.py", "metadata.ini", "style.css", "scripts", "javascript", "extension")
OURS = {"pivotal-under-test": ROOT, "pivotal-under-test-probe": Path(__file__).parent / "probe"}
START_S = 300
WITHOUT = shutil.ignore_patterns("__pycache__", "*.pyc")


class RunningServer:
    """One that somebody else started; it cannot be killed or restarted."""

    def __init__(self, address: str):
        self.address = address.rstrip("/")

    def close(self) -> None:
        """It is left running."""


class StartedServer:
    """One of our own, with copies of this working tree's extension and of the probe; both are taken out again.

    Args:
        folder: the installed WebUI.
        command: what starts it there; {port} is where it shall answer.
    """

    def __init__(self, folder: Path, command: str):
        self._folder, self._command = folder, command
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        self.address = f"http://127.0.0.1:{self._port}"
        self.log = Path(tempfile.mkdtemp(prefix="pivotal-host-")) / "server.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._install()
        self.start()

    def _install(self) -> None:
        others = [path for path in (self._folder / "extensions").glob("*/extension/pivotal") if path.parts[-3] not in OURS]
        assert not others, f"{others[0].parents[1]} is Pivotal, too; take it out while the tests run"
        for name, source in OURS.items():
            target = self._folder / "extensions" / name
            shutil.rmtree(target, ignore_errors=True)
            target.mkdir(parents=True)
            for part in PARTS:
                if (source / part).is_dir():
                    shutil.copytree(source / part, target / part, ignore=WITHOUT)
                elif (source / part).exists():
                    shutil.copy2(source / part, target / part)

    def start(self, *flags: str) -> None:
        """Starts it, with more flags, and waits until it has our API and a checkpoint that draws."""
        words = [*shlex.split(self._command.format(port=self._port), posix=os.name != "nt"), *flags]
        environment = {**os.environ, "GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_OFFLINE": "1",
                       "SD_WEBUI_RESTARTING": "1"}  # A1111 opens no browser then
        environment.pop("PYTHONPATH", None)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(words, cwd=self._folder, env=environment, stdout=log, stderr=subprocess.STDOUT,
                                             start_new_session=True)
        until = time.monotonic() + START_S
        while time.monotonic() < until:
            if self._process.poll() is not None:
                break
            if answers(f"{self.address}/pivotal/v1/job") and answers(f"{self.address}/sdapi/v1/sd-models"):
                return
            time.sleep(1)
        self.kill()
        raise AssertionError(f"{self._command} did not come up in {START_S} s:\n{self.tail()}")

    def tail(self, characters: int = 3000) -> str:
        return self.log.read_text("utf-8", errors="replace")[-characters:]

    def kill(self) -> None:
        """Ends it and its children at once, as a crash does."""
        if self._process is None:
            return
        with suppress(ProcessLookupError):  # it ended by itself, and its children with it
            if hasattr(os, "killpg"):
                os.killpg(self._process.pid, signal.SIGKILL)
            else:
                self._process.kill()
        self._process.wait()
        self._process = None

    def close(self) -> None:
        self.kill()
        for name in OURS:
            shutil.rmtree(self._folder / "extensions" / name, ignore_errors=True)


def server() -> RunningServer | StartedServer | None:
    """What the environment names; None when it names nothing."""
    if os.environ.get(DIR):
        assert os.environ.get(COMMAND), f"{COMMAND} must say how to start the WebUI in {DIR}, with {{port}} in it"
        return StartedServer(Path(os.environ[DIR]), os.environ[COMMAND])
    if os.environ.get(URL):
        return RunningServer(os.environ[URL])
    return None


def named_checkpoints() -> list[str]:
    """What the environment names: the checkpoint to train on and another one of its family; none where it names none."""
    return os.environ.get(CHECKPOINTS, "").split()


def answers(address: str) -> bool:
    """Whether a GET there is answered well."""
    try:
        with urllib.request.urlopen(address, timeout=60) as reply:
            return reply.status == 200
    except (OSError, urllib.error.HTTPError):
        return False
