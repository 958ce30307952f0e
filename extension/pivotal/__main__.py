"""``python -m pivotal webui|train``; install.py calls it in an environment that has all it needs."""

import os
import sys

# Read once, at import: without it transformers tells each user at each start that torchvision, which we do not use, is missing.
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

from pivotal.cli import main

if __name__ == "__main__":
    sys.exit(main())
