"""python -m pivotal.toy --out DIR [--resume]: every stage, from drawn images to toy.safetensors and the demo sets."""

from __future__ import annotations

import argparse
import logging
import shutil
from pathlib import Path

import torch

from pivotal.toy.decoder import train_decoder
from pivotal.toy.demo import write_demo
from pivotal.toy.diffusion import train_diffusion
from pivotal.toy.export import export
from pivotal.toy.latents import latent_bank
from pivotal.toy.state import Schedule

SEED = 7
BANK = 40_000
DECODER = Schedule(steps=1150, batch=8, rate=0.005, seed=SEED, warmup=20, decay=0.99, save_every=100)
DIFFUSION = Schedule(steps=5000, batch=48, rate=0.01, seed=SEED, warmup=50, decay=0.998, save_every=100)


def main() -> None:
    """Runs the stages in order; each keeps its state in DIR/state and goes on from there with --resume."""
    parser = argparse.ArgumentParser(prog="python -m pivotal.toy", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for toy.safetensors, toy.yaml, demo/ and state/")
    parser.add_argument("--resume", action="store_true", help="go on from DIR/state instead of starting over")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads; 0 leaves torch's own number")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    if options.threads:
        torch.set_num_threads(options.threads)
    state = options.out / "state"
    if state.exists() and not options.resume:
        shutil.rmtree(state)
    write_demo(options.out / "demo")
    vae = train_decoder(state, DECODER)
    model = train_diffusion(state, DIFFUSION, latent_bank(state, BANK, SEED))
    logging.getLogger(__name__).info("wrote %s", export(options.out, vae, model))


if __name__ == "__main__":
    main()
