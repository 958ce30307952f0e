"""What the fuzzer damages: good files of all kinds that a user, or somebody else by a user, may hand us; and who reads them."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from fastapi import FastAPI
from fastapi.testclient import TestClient
from PIL import Image

from fake_host import FakeHost
from pivotal.api.routes import attach_routes
from pivotal.config.build import draft
from pivotal.config.files import read_run_file
from pivotal.config.imports.read import imported
from pivotal.config.train import TrainConfig
from pivotal.data.folder import Reading
from pivotal.data.headers import upright_size
from pivotal.data.images import check_mask, open_image, read_mask, upright_rgb
from pivotal.data.sources import read_source
from pivotal.errors import PivotalError, QueueError
from pivotal.formats.adapter_config import read_alphas
from pivotal.formats.embedding_file import bundled_words, encoders_in, read_embedding
from pivotal.formats.embedding_writing import EMBEDDING_STYLES, embedding_files
from pivotal.formats.network_file import family_of_network, network_bytes, read_network
from pivotal.formats.state_file import State, read_state, write_state
from pivotal.hosts.protocol import Folders
from pivotal.jobs.desk import Desk
from pivotal.jobs.queue.entries import Entry
from pivotal.jobs.queue.journals import curve_of, ending_of, events_of
from pivotal.jobs.queue.store import Store
from pivotal.jobs.recipe_file import recipe_in
from pivotal.tools.dataset.filters import Filter
from pivotal.tools.dataset.mask_files import read_mask_file
from pivotal.tools.dataset.opened import Opened
from pivotal.tools.dataset.places import open_place

IMPORTS = Path(__file__).resolve().parents[1] / "unit" / "config" / "imports"


@dataclass(frozen=True)
class Kind:
    """Good files of one sort, as name -> bytes, and who reads them."""

    seeds: dict[str, bytes]
    read: Callable[[Path], object]


def kinds(folder: Path) -> dict[str, Kind]:
    """All that a user, or somebody whose file a user got, may hand us."""
    vectors = (torch.randn(2, 768, generator=torch.Generator().manual_seed(1)),)
    embeddings = {f"{style} {name}".replace(" ", "-"): data for style in EMBEDDING_STYLES
                  for name, data in embedding_files("word", vectors, style).items()}
    layer = {"lora_down.weight": torch.ones(4, 320), "lora_up.weight": torch.ones(320, 4), "alpha": torch.tensor(4.0)}
    network = network_bytes({"lora_unet_input_blocks_1_1_transformer_blocks_0_attn1_to_q": layer}, {"word": vectors}, {"a": "b"})
    write_state(folder / "seed.safetensors", State({"config": {"a": 1}}, {"x": torch.ones(3)}))
    return {
        "images": Kind(images(), read_image),
        "embeddings": Kind(embeddings, read_any_embedding),
        "networks": Kind({"net.safetensors": network}, lambda path: family_of_network(read_network(path))),
        "states": Kind({"state.safetensors": (folder / "seed.safetensors").read_bytes()}, read_state),
        "run files": Kind({"run.yaml": b"name: a\nlength: {steps: 5}\nembeddings:\n  - {placeholder: zk, token_count: 2}\n"},
                          lambda path: draft(TrainConfig, read_run_file(path))),
        "other trainers'": Kind({path.name: path.read_bytes() for path in sorted(IMPORTS.glob("*.*")) if path.suffix != ".py"},
                                lambda path: draft(TrainConfig, imported(path.read_text("utf-8", "replace"), path.name).flat)),
        "datasets": Kind({"set.jsonl": b'{"image": "a.png", "text": "a cat"}\n{"image": "a.png"}\n',
                          "set.txt": b"a.png\ta cat\n"}, read_dataset),
        "captions": Kind({"a.txt": "a (cat:1.2), {red|blue}\nzk\u00e4".encode()}, read_beside_image),
        "masks": Kind({"a-masklabel.png": _png(Image.linear_gradient("L").resize((48, 32)))}, read_as_mask),
        "queue files": Kind({"queue.sqlite": queue_bytes(folder / "queue.sqlite")}, read_queue),
        "journals": Kind({"events.jsonl": JOURNAL}, read_journal),
        "recipes in files": Kind({"net.safetensors": recipe_bytes(layer)}, read_recipe),
        "dataset pages": Kind({"a.png": images()["a.png"], "a.txt": b"red, (a cat:1.2), blue"}, read_page),
        "requests": requests(folder / "host"),
        "adapter settings": Kind({"adapter_config.json": b'{"r": 4, "lora_alpha": 8, "alpha_pattern": {"a.b": 2}}'},
                                 lambda path: read_alphas(path.parent / "adapter_model.safetensors", {})),
    }


def images() -> dict[str, bytes]:
    """A picture as PNG, JPEG, WebP, GIF, BMP and TIFF, with an orientation where there can be one."""
    picture = Image.effect_noise((48, 32), 60).convert("RGB")
    exif = Image.Exif()
    exif[0x0112] = 6
    found = {}
    for name, form, extra in (("a.png", "PNG", {"exif": exif}), ("a.jpg", "JPEG", {"exif": exif}), ("a.webp", "WEBP", {}),
                              ("a.gif", "GIF", {}), ("a.bmp", "BMP", {}), ("a.tiff", "TIFF", {})):
        data = io.BytesIO()
        picture.save(data, form, **extra)
        found[name] = data.getvalue()
    return found


def read_image(path: Path) -> object:
    """As a dataset's: by its header, then decoded."""
    read_source(str(path.parent), Reading(need_captions=False), path.parent)
    with open_image(path) as image:
        upright_size(image)
        return upright_rgb(image)


def read_any_embedding(path: Path) -> object:
    bundled_words(path)
    return read_embedding(path, encoders_in(path))


def read_dataset(path: Path) -> object:
    (path.parent / "a.png").write_bytes(_PLAIN)
    return read_source(str(path), Reading(), path.parent)


def read_beside_image(path: Path) -> object:
    (path.parent / "a.png").write_bytes(_PLAIN)
    return read_source(str(path.parent), Reading(), path.parent)


JOURNAL = b"".join(json.dumps(line).encode() + b"\n" for line in (
    {"at": "2026-01-01", "event": "StepDone", "step": 1, "of": 2, "loss": 0.5, "smooth_loss": 0.5, "rates": {"zk": 0.1}},
    {"at": "2026-01-01", "event": "Measured", "step": 1, "error": 0.25},
    {"at": "2026-01-01", "event": "Finished", "step": 2, "stopped": False, "files": ["/a/b.safetensors"]}))


def read_as_mask(path: Path) -> object:
    """As a run does, before the start and in training, and as the painter."""
    check_mask(path, (32, 48))
    read_mask_file(path, (48, 32))
    return read_mask(path, (48, 32))


def queue_bytes(path: Path) -> bytes:
    """A queue of three runs."""
    store = Store(path)
    options = {"name": "a", "length.steps": 2}
    store.add([Entry(f"{index:012x}", f"run {index}", options, folder=str(path.parent)) for index in range(3)])
    store.take_next()
    return path.read_bytes()


def read_queue(path: Path) -> object:
    """A damaged file is set aside and told of, and the queue begins empty."""
    store = Store(path)
    found = store.found(search="run"), store.open_runs(), store.latest_left("run 1")
    if store.database.notice:
        raise QueueError(store.database.notice)
    return found


def read_journal(path: Path) -> object:
    """As the queue's history does."""
    entry = Entry("0" * 12, "run", {}, folder=str(path.parent))
    assert entry.journal == path
    return events_of(entry, 0), curve_of(entry), ending_of(entry)


def recipe_bytes(layer: dict[str, torch.Tensor]) -> bytes:
    """A network that says how it was trained, in kohya's words and in ours."""
    words = {"ss_network_module": "networks.lora", "ss_learning_rate": "0.0001", "ss_unet_lr": "0.0001", "ss_network_dim": "4",
             "ss_network_args": '{"conv_dim": 4}', "ss_noise_offset": "0.05", "pivotal.length.steps": "5",
             "ss_datasets": '[{"resolution": [512, 512], "subsets": [{"num_repeats": 2}]}]'}
    return network_bytes({"lora_unet_input_blocks_1_1_proj_in": layer}, {}, words)


def read_recipe(path: Path) -> object:
    """As "Train again" does."""
    return draft(TrainConfig, recipe_in(str(path), Folders(path.parent, path.parent, path.parent)).flat)


def read_page(path: Path) -> object:
    """As the dataset page does."""
    if not (path.parent / "a.png").exists():
        (path.parent / "a.png").write_bytes(_PLAIN)
    opened = Opened(open_place(str(path.parent)), path.parent / "scratch", len)
    shown = opened.shown
    shown.count_more()
    return shown.counts(Filter()), shown.tags(Filter(search="cat")), [opened.trouble(found) for found in opened.images()]


def requests(folder: Path) -> Kind:
    """A body for each address that takes one; only refusals are to be told apart from what crashes."""
    app = FastAPI()
    attach_routes(app, Desk(FakeHost(folder)), {})
    client = TestClient(app, raise_server_exceptions=False)
    addresses = sorted({route.path for route in app.router.routes
                        if route.path.startswith("/pivotal/") and "POST" in getattr(route, "methods", ())})
    body = json.dumps({"options": {"name": "a", "length": {"steps": 2}, "embeddings": [{"placeholder": "zk"}]}, "text": "a",
                       "name": "b", "query": "x", "id": "1", "path": "../../etc/passwd", "folder": str(folder)}).encode()
    return Kind({f"{index}.json": body for index in range(len(addresses))}, partial(_posted, client, addresses))


def _posted(client: TestClient, addresses: list[str], path: Path) -> object:
    address = addresses[int(path.stem)]
    reply = client.post(address, content=path.read_bytes(), headers={"Content-Type": "application/json"})
    if reply.status_code >= 500:
        raise RuntimeError(f"{address} answers {reply.status_code}: {reply.text[:200]}")
    if reply.status_code >= 400:
        raise PivotalError(reply.text)
    return reply


def _png(picture: Image.Image) -> bytes:
    data = io.BytesIO()
    picture.save(data, "PNG")
    return data.getvalue()


_PLAIN = _png(Image.new("RGB", (8, 8)))
