"""What a WebUI runs at its start and at every "Reload UI". All else is in extension/pivotal."""

import sys
from pathlib import Path

# Not left to the host: A1111 and SD.Next have this folder on the path only while this file runs.
EXTENSION = str(Path(__file__).resolve().parents[1] / "extension")
if EXTENSION not in sys.path:
    sys.path.append(EXTENSION)

try:
    from pivotal.register import register_in_webui

    register_in_webui()  # which imports what only some WebUIs need
except ImportError as error:
    # The host must start without us. Its own loader would print a traceback and no remedy.
    print(f"Pivotal's Train tab is not available: {error}. The tab says how to install what is missing.")
    from pivotal.incomplete import show_what_is_missing

    show_what_is_missing(error)
