"""Carries out small runs, and takes a model's fingerprint."""

from __future__ import annotations

import hashlib

import pytest
import torch

from pivotal.jobs.checks.plan import make_plan
from pivotal.jobs.control import Control
from pivotal.jobs.desk import work_through

QUICK = {"name": "run", "embeddings.0.placeholder": "zkteal", "embeddings.0.initial_text": "green",
         "embeddings.0.token_count": 2, "samples.every_steps": 0, "batch.size": 2, "measure.images": 0,
         "optimizer.learning_rate": 0.02, "length.steps": 8}


def carry_out(host, folder, *, resume=False, stop_after=None, alone=False, **changes):
    """`alone` leaves out the embedding of QUICK."""
    events: list = []
    quick = {key: value for key, value in QUICK.items() if not (alone and key.startswith("embeddings."))}
    flat = quick | {"dataset.folder": str(folder)} | {key.replace("__", "."): value for key, value in changes.items()}
    plan = make_plan(flat, host, resume=resume)
    outcome = work_through(plan, host, events.append, Control(stop_after_steps=stop_after, patient=False))
    return outcome, events


def mostly_once(values, everywhere=1):
    """Parameters of a test: the first ones run in all environments, the others in the newest alone (tests/conftest.py)."""
    return [*values[:everywhere], *(pytest.param(value, marks=pytest.mark.once) for value in values[everywhere:])]


def fingerprint(host):
    digest = hashlib.sha256()
    modules = [host.model.unet, host.model.vae, *(encoder.module for encoder in host.model.text_encoders)]
    for module in modules:
        for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
            digest.update(f"{name}{tensor.dtype}{tensor.requires_grad}{tensor.grad}".encode())
            digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes()
                          if tensor.dim() else str(tensor.item()).encode())
        for part in module.modules():
            digest.update(f"{part.training}{len(part._forward_hooks)}{vars(part).get('gradient_checkpointing')}".encode())
    return digest.hexdigest()
