"""Asks a served WebUI of ours for all that the API's own description allows and forbids, by a seeded die (schemathesis).

    PYTHONPATH=extension python tests/property/api.py --examples 50 --seed 7

ends with 1 when an answer is an error of the server, or of a status, type or form that is not described, or when something that
the description forbids is taken. Its data folder is a temporary one; whatever the die starts or writes goes with it.
"""

from __future__ import annotations

import argparse
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CHECKS = ("not_a_server_error", "status_code_conformance", "content_type_conformance", "response_schema_conformance",
          "negative_data_rejection")
# A run has two hundred options: each bad value of each is what other tests are for, and here it would take hours.
LARGE = r"/(jobs|check|plan|measure|run_file|schedule|edit|queue)$"
PATIENCE_S = 300.0


def main() -> int:
    """Exit code 0 when every answer was as described."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=6, help="At most so many of each address. Default: 6.")
    parser.add_argument("--seed", type=int, default=7, help="Default: 7.")
    known = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        environment = os.environ | {"PYTHONPATH": str(ROOT / "extension")}
        command = [sys.executable, "-m", "pivotal", "webui", "--data-dir", folder, "--port", str(port), "--no-browser"]
        with subprocess.Popen(command, env=environment) as server:
            try:
                wait_for(f"http://127.0.0.1:{port}/openapi.json", server)
                return max(asked(port, known, "--exclude-path-regex", LARGE, "--phases", "coverage,fuzzing"),
                           asked(port, known, "--include-path-regex", LARGE, "--phases", "fuzzing"))
            finally:
                server.terminate()


def wait_for(address: str, server: subprocess.Popen[bytes]) -> None:
    """Returns when it answers."""
    until = time.monotonic() + PATIENCE_S
    while server.poll() is None and time.monotonic() < until:
        try:
            urllib.request.urlopen(address, timeout=30).close()
            return
        except (urllib.error.URLError, TimeoutError, ConnectionError):
            time.sleep(0.5)
    raise SystemExit("the WebUI was not served")


def asked(port: int, known: argparse.Namespace, *which: str) -> int:
    """schemathesis' exit code."""
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"http://127.0.0.1:{port}/openapi.json",
               "-n", str(known.examples), "--seed", str(known.seed), "-c", ",".join(CHECKS), "--suppress-health-check", "all",
               "--warnings", "off", "--no-shrink", "--continue-on-failure", *which]
    return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
