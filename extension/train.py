"""A run file on one device or on several, without a page.

    python -m torch.distributed.run --standalone --nproc_per_node 2 extension/train.py RUN.yaml --batch.accumulation 2
    accelerate launch --multi_gpu --num_processes 2 extension/train.py RUN.yaml --batch.accumulation 2

`python extension/train.py RUN.yaml` is `install.py train` in the Python that runs it. All flags are those of `train`.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

if __name__ == "__main__":
    from pivotal.cli import main

    sys.exit(main(["train", *sys.argv[1:]]))
