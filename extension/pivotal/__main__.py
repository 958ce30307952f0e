"""``python -m pivotal webui|train``; install.py calls it in an environment that has all it needs."""

import sys

from pivotal.cli import main

if __name__ == "__main__":
    sys.exit(main())
