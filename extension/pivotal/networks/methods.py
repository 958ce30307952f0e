"""Every method by its name, what it can adapt, and what it understands."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from pivotal.errors import FormatError
from pivotal.networks.adapter import Adapter, Parts
from pivotal.networks.boft import Boft
from pivotal.networks.dylora import DyLora
from pivotal.networks.full import Full
from pivotal.networks.glora import GLora
from pivotal.networks.ia3 import Ia3
from pivotal.networks.loha import LoHa
from pivotal.networks.lokr import LoKr
from pivotal.networks.lora import Lora
from pivotal.networks.norm import Norm
from pivotal.networks.oft import Oft
from pivotal.networks.settings import LayerSettings

METHODS: Mapping[str, type[Adapter]] = {
    "lora": Lora, "loha": LoHa, "lokr": LoKr, "dylora": DyLora, "oft": Oft, "boft": Boft, "ia3": Ia3, "glora": GLora,
    "full": Full, "norm": Norm,
}
_RANKED = {"lora", "loha", "lokr", "dylora", "glora"}
_KNOWN_BY: Mapping[str, set[str]] = {  # option -> the methods that read it; the rest is read by all
    "rank": {*_RANKED, "oft", "boft"},
    "alpha": _RANKED,
    "rank_stabilized": _RANKED,
    "dropout": {"lora", "dylora"},
    "rank_dropout": {"lora", "dylora"},
    "dora": {"lora", "loha", "lokr"},
    "factor": {"lokr"},
    "unit": {"dylora"},
    "constraint": {"oft", "boft"},
    "train_bias": {"full"},
    "norm_limit": {*_RANKED, "full", "ia3", "norm"},
    "plus_ratio": _RANKED,
}
# The first convolution of an inpainting model: AUTOMATIC1111 1.10.1 takes any change of it for one of 4 inputs.
_INPAINTING_INPUTS = 9
# Parts of forms that are read by nobody here: Tucker's decomposition, and OFT as LyCORIS had it first.
_UNREAD = ("lora_mid.weight", "hada_t1", "hada_t2", "lokr_t2", "rescale")


def fits(method: str, module: nn.Module) -> bool:
    """Whether the method can adapt the module, and AUTOMATIC1111 1.10.1 then applies it."""
    if method == "norm":
        return isinstance(module, (nn.GroupNorm, nn.LayerNorm)) and module.weight is not None and module.bias is not None
    if isinstance(module, nn.Conv2d):
        if method == "glora" or module.groups != 1 or isinstance(module.padding, str):
            return False
        if module.in_channels == _INPAINTING_INPUTS:
            return False
    elif not isinstance(module, nn.Linear) or not module.weight.is_floating_point():  # packed numbers of 4 or 8 bits
        return False
    return method not in ("oft", "boft") or module.weight.shape[0] % 2 == 0


def supports(method: str, option: str) -> bool:
    """Whether the method reads that field of LayerSettings, or `norm_limit` or `plus_ratio` of a network."""
    return method in _KNOWN_BY.get(option, set(METHODS))


def supports_dora(method: str) -> bool:
    """Whether there may be lengths of columns (DoRA)."""
    return supports(method, "dora")


def rank_problem(method: str, settings: LayerSettings) -> str | None:
    """What is wrong with rank, alpha and unit, in a sentence; None when nothing is."""
    rank, unit = settings.rank, settings.unit
    if supports(method, "rank") and rank < 1:
        return f"the rank must be 1 or more, got {rank}"
    if supports(method, "alpha") and settings.alpha <= 0:
        return f"alpha must be more than 0, got {settings.alpha:g}: the network would change nothing"
    if method == "dylora" and (unit < 1 or rank % unit):
        return f"the rank ({rank}) must be a multiple of the unit ({unit})"
    if method in ("oft", "boft") and rank < 2:
        return f"a block must have a size of 2 or more, got {rank}: a single number cannot be turned"
    return None


def method_of(parts: Parts) -> str | None:
    """The method of a file's layer; None where no method reads it. A DyLoRA's is a LoRA's."""
    if any(name in parts for name in _UNREAD):
        return None
    if "oft_blocks" in parts:
        return {3: "oft", 4: "boft"}.get(parts["oft_blocks"].dim())
    if ("lokr_w1" in parts or "lokr_w1_b" in parts) and ("lokr_w2" in parts or "lokr_w2_b" in parts):
        return "lokr"
    return next((name for name, adapter in METHODS.items()
                 if adapter.needed and all(part in parts for part in adapter.needed)), None)


def settings_of(method: str, parts: Parts) -> LayerSettings:
    """Rank, alpha and the like of a file's layer, as `method` continues it.

    Raises:
        FormatError: the layer is of another method.
    """
    found = method_of(parts)
    if found != method and (found, method) != ("lora", "dylora"):
        raise FormatError(f"expected a layer of the method {method}, found {found or 'none that can be continued'} "
                          f"({', '.join(sorted(parts))})")
    return METHODS[method].read(parts)
