"""Looks at a WebUI from within, for the tests of tests/host; an extension beside Pivotal, put there by them alone."""

from __future__ import annotations

import gc
import hashlib
import random
import sys
import threading
from pathlib import Path

import numpy as np
import psutil
import torch
from modules import extra_networks, script_callbacks, shared

PREFIX = "/pivotal-probe"
VOCABULARY = 49408  # hosts append rows of embeddings to a table of tokens
INTEGERS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
DEPTH = 7  # of attributes between the host's model and its modules
STARTS = Path(__file__).parents[1] / "starts"  # how often this process made its page, as bytes


def host():
    from pivotal.register import _process

    return _process["desk"].host


def loaded_model():
    for name in ("modules.modeldata", "modules.sd_models"):
        data = getattr(sys.modules.get(name), "model_data", None)
        if data is not None:
            return data.sd_model
    return None


def modules_in(thing, name="", depth=DEPTH, seen=None):
    """(path, module) of everything that can be reached by attributes, each once."""
    seen = set() if seen is None else seen
    if depth == 0 or id(thing) in seen or isinstance(thing, (type, str, torch.Tensor)) or callable(getattr(thing, "mro", None)):
        return
    seen.add(id(thing))
    if isinstance(thing, torch.nn.Module):
        for path, module in thing.named_modules():
            if path == "" or id(module) not in seen:
                seen.add(id(module))
                yield f"{name}.{path}", module
    if isinstance(thing, dict):
        parts = list(thing.items())
    elif isinstance(thing, (list, tuple)):
        parts = list(enumerate(thing)) if len(thing) < 100 else []
    else:
        parts = [(key, part) for key, part in list(getattr(thing, "__dict__", {}).items())
                 if key not in ("_modules", "_parameters", "_buffers")]
    for key, part in parts:
        yield from modules_in(part, f"{name}.{key}", depth - 1, seen)


def tensors_of(module):
    for own in (module._parameters, module._buffers):
        yield from ((key, tensor) for key, tensor in own.items() if tensor is not None)


def told(tensor):
    """What a tensor is, and a sum of its bits."""
    bits = tensor.detach()[:VOCABULARY] if tensor.ndim == 2 else tensor.detach()
    bits = bits.contiguous().flatten().view(INTEGERS[tensor.element_size()])
    shape = (min(tensor.shape[0], VOCABULARY), *tensor.shape[1:]) if tensor.ndim == 2 else tuple(tensor.shape)
    return (f"{tensor.dtype} {tensor.device} {shape} {tensor.requires_grad} {tensor.grad is None} "
            f"{int(bits.sum(dtype=torch.int64))} {int(bits[::2].sum(dtype=torch.int64))}")


def look():
    """Every tensor, mode, hook and patch of the loaded model, torch's flags, and the states of all random generators."""
    found = {}
    with torch.no_grad():
        for path, module in modules_in(loaded_model()):
            hooks = sum(len(getattr(module, name)) for name in ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks"))
            found[path] = f"{module.training} {hooks} {vars(module).get('forward')} {type(module).forward}"
            found |= {f"{path}.{key}": told(tensor) for key, tensor in tensors_of(module)}
    layers = (torch.nn.Linear, torch.nn.Conv2d, torch.nn.GroupNorm, torch.nn.LayerNorm, torch.nn.Embedding)
    flags = {layer.__name__: str(layer.forward) for layer in layers} | {
        "threads": torch.get_num_threads(), "dtype": str(torch.get_default_dtype()),
        "deterministic": torch.are_deterministic_algorithms_enabled(), "cudnn": torch.backends.cudnn.benchmark,
        "tf32": (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32),
        "flash": torch.backends.cuda.flash_sdp_enabled(), "load": str(torch.load)}
    random_states = {"torch": torch.get_rng_state().numpy().tobytes(), "python": repr(random.getstate()).encode(),
                     "numpy": repr(np.random.get_state()).encode()}
    return {"tensors": sum(" torch" in f" {value}" for value in found.values()), "model": found,
            "flags": {key: str(value) for key, value in flags.items()},
            "random": {key: hashlib.sha256(state).hexdigest() for key, state in random_states.items()}}


def memory():
    """Bytes of each lent part, those of them that are not the host's own memory, and the growth of the process."""
    process = psutil.Process()

    def work():
        gc.collect()
        before = process.memory_info().rss
        with host().borrow("") as model:
            gc.collect()
            grown = process.memory_info().rss - before
            theirs = {tensor.untyped_storage().data_ptr() for _, module in modules_in(loaded_model())
                      for _, tensor in tensors_of(module)}
            parts = {"unet": [model.unet], "vae": [model.vae], "text": [encoder.module for encoder in model.text_encoders]}
            sizes = {name: [size(modules, set()), size(modules, theirs)] for name, modules in parts.items()}
        return {"parts": sizes, "grown": grown}

    return host().run(work)


def size(modules, without):
    """Bytes of the storages of the modules' parameters, but those in `without`."""
    storages = {weight.untyped_storage().data_ptr(): weight.numel() * weight.element_size()
                for module in modules for weight in module.parameters()}
    return sum(length for pointer, length in storages.items() if pointer not in without)


def registered():
    """How often we are in the host's lists, where it is written how often the page was made, our threads, and the tags in
    prompts."""
    lists = {category: [callback for callback in callbacks if our_module(callback)]
             for category, callbacks in script_callbacks.callback_map.items()}
    return {"callbacks": {category: len(ours) for category, ours in lists.items() if ours},
            "tags": [*extra_networks.extra_network_registry, *getattr(extra_networks, "extra_network_aliases", ())],
            "starts": str(STARTS), "can_reload": hasattr(shared.state, "request_restart"),
            "threads": sorted(thread.name for thread in threading.enumerate() if thread.name.startswith("pivotal"))}


def our_module(callback):
    function = getattr(callback, "callback", callback)
    return getattr(function, "__module__", "").startswith("pivotal.")


def fail_at_next_step():
    """The run's next question whether the model was changed ends it with an exception that nobody foresaw."""
    lender = host()

    def changed():
        del lender.changed
        raise RuntimeError("the probe's failure")

    lender.changed = changed
    return {}


def settings():
    """Every setting and every flag that the host knows. Its own API may leave out settings that nobody has changed (SD.Next),
    or fail (Forge, /sdapi/v1/cmd-flags)."""
    values = {key: getattr(shared.opts, key, None) for key in shared.opts.data_labels}
    return {"options": {key: value for key, value in values.items() if isinstance(value, (str, int, float, list))},
            "flags": list(vars(shared.cmd_opts))}


def checkpoint_folder():
    from modules import paths

    named = getattr(shared.opts, "ckpt_dir", None) or getattr(shared.cmd_opts, "ckpt_dir", None)
    return {"folder": str(Path(named or Path(paths.models_path) / "Stable-diffusion").absolute())}


def reload():
    shared.state.request_restart()
    return {}


def attach(_demo, app):
    for method, asked in (("GET", look), ("GET", memory), ("GET", registered), ("GET", checkpoint_folder), ("GET", settings),
                          ("POST", reload), ("POST", fail_at_next_step)):
        app.add_api_route(f"{PREFIX}/{asked.__name__}", asked, methods=[method])
        app.router.routes.insert(0, app.router.routes.pop())  # gradio answers every path that is not taken before it
    with STARTS.open("ab") as counted:
        counted.write(b"*")


script_callbacks.on_app_started(attach)
