"""The network of a run: which method, how large, on which layers, how fast."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pivotal.config.options import option
from pivotal.config.sections.pace import RELATIVE, OwnSchedule, StopUnit

_ANY = ("lora", "loha", "lokr", "dylora", "oft", "boft", "ia3", "glora", "full")
_RANKED = ("lora", "loha", "lokr", "dylora", "glora")
_SIZED = (*_RANKED, "oft", "boft")
WHEN = ("network.method", _ANY)  # something is trained besides embeddings
_WHEN_RANKED = ("network.method", _RANKED)
_FROM_FILE = ("network.rank_from_file", (True,), "The file that is continued says it, layer by layer.")
_NO_UNET = ("targets.unet", (False,), "The UNet gets no network.")
_NO_ENCODER_1 = ("targets.text_encoder_1", (False,), "This text encoder gets no network.")
_NO_ENCODER_2 = ("targets.text_encoder_2", (False,), "This text encoder gets no network.")


@dataclass(frozen=True)
class Network:
    """Small weights beside the model's own (LoRA and its kin), written to the host's LoRA folder."""

    method: Literal["none", "lora", "loha", "lokr", "dylora", "oft", "boft", "ia3", "glora", "full"] = option(
        "none", "Trains a network of this kind; with embeddings at once it is pivotal tuning, and one file holds both.",
        label="Network", first_page=True, ss="ss_network_module",
        source="lora arXiv:2106.09685, loha arXiv:2108.06098, lokr arXiv:2309.14859, dylora arXiv:2210.07558, "
               "oft arXiv:2306.07280, boft arXiv:2311.06243, ia3 arXiv:2205.05638, glora arXiv:2306.07967")
    rank: int = option(16, "Size of the network: more learns more, and costs more. For OFT and BOFT the block size.",
                       ge=1, le=4096, first_page=True, ss="ss_network_dim", shown_when=("network.method", _SIZED),
                       void_when=(_FROM_FILE,))
    alpha: float = option(16.0, "Strength: the network acts by alpha / rank. More than the rank is unusual.", above=0, le=65536,
                          first_page=True, ss="ss_network_alpha", shown_when=_WHEN_RANKED, void_when=(_FROM_FILE,))
    rank_stabilized: bool = option(False, "Lets it act by alpha / sqrt(rank) instead, so that large ranks learn no slower.",
                                   source="arXiv:2312.03732", shown_when=_WHEN_RANKED)
    conv_rank: int | None = option(
        None, "Rank of the 3x3 convolutions (LoCon). Empty leaves the residual blocks as they are.", ge=1, le=4096,
        label="Convolution rank", ss="ss_network_conv_dim", shown_when=WHEN)
    conv_alpha: float | None = option(None, "Alpha of the 3x3 convolutions. Empty takes alpha.", above=0, le=65536,
                                      label="Convolution alpha", shown_when=_WHEN_RANKED)
    dora: bool = option(False, "Learns each weight's length apart from its direction.", label="DoRA",
                        source="arXiv:2402.09353", shown_when=("network.method", ("lora", "loha", "lokr")))
    train_norms: bool = option(False, "Trains the norm layers, too.", label="Norm layers", shown_when=WHEN)
    factor: int | None = option(None, "Size of LoKr's smaller matrix. Empty halves the sizes evenly.", ge=2, le=4096,
                                label="LoKr factor", shown_when=("network.method", ("lokr",)))
    unit: int = option(1, "Ranks that DyLoRA trains at once; the rank must be a multiple.", ge=1, le=4096,
                       label="DyLoRA unit", shown_when=("network.method", ("dylora",)))
    constraint: float = option(0.0, "Limits how far OFT turns a weight; 0 is no limit.", ge=0, le=1000,
                               shown_when=("network.method", ("oft", "boft")))
    dropout: float = option(0.0, "Share of the network's inner values that are left out in a step.", ge=0, le=0.95,
                            ss="ss_network_dropout", shown_when=("network.method", ("lora", "dylora")))
    rank_dropout: float = option(0.0, "Share of the ranks that are left out, image by image.", ge=0, le=0.95,
                                 shown_when=("network.method", ("lora", "dylora")))
    module_dropout: float = option(0.0, "Share of the layers whose network is left out in a step.", ge=0, le=0.95,
                                   shown_when=WHEN)
    norm_limit: float | None = option(
        None, "Scales a layer's network down when it grows longer than this; 1 is usual. Empty: no limit.", above=0,
        le=1000, label="Scale weight norms", ss="ss_scale_weight_norms", shown_when=("network.method", (*_RANKED, "full", "ia3")))
    plus_ratio: float = option(1.0, "Learning rate of the second (up) matrices over that of the first; 16 is the paper's.",
                               ge=1, le=1000, label="LoRA+ ratio", source="arXiv:2402.12354",
                               shown_when=_WHEN_RANKED)
    base_file: str = option(
        "", "Continues from this LoRA file, whichever trainer wrote it; embeddings in it go on, too. It stays as it is.",
        widget="folder", label="Continue from", shown_when=WHEN)
    rank_from_file: bool = option(False, "Takes rank and alpha, layer by layer, from the file that is continued.",
                                  label="Rank from the file", shown_when=WHEN,
                                 void_when=(("network.base_file", ("",), "No file is continued."),))


@dataclass(frozen=True)
class Targets:
    """What the network is put on, and how fast each part learns."""

    unet: bool = option(True, "Puts the network on the UNet, which draws.", label="Train the UNet")
    learning_rate: float = option(
        1e-4, "Learning rate of the network on the UNet; 0.0001 is usual, 0 changes nothing.", ge=0, le=10, first_page=True,
        label="Network learning rate", ss="ss_unet_lr", void_when=(_NO_UNET, RELATIVE))
    stop_after: float | None = option(None, "Freezes the UNet's network after this much training. Empty trains to the end.",
                                      above=0, label="Stop the UNet after", void_when=(_NO_UNET,))
    stop_unit: StopUnit = option("never", "Unit of Stop the UNet after.", label="UNet stop unit", void_when=(_NO_UNET,))
    text_encoder_1: bool = option(False, "Puts the network on the (first) text encoder.", label="Train text encoder 1")
    text_encoder_1_rate: float = option(5e-5, "Learning rate of the network on the first text encoder.", ge=0, le=10,
                                        label="Text encoder 1 learning rate", ss="ss_text_encoder_lr",
                                        void_when=(_NO_ENCODER_1, RELATIVE))
    text_encoder_2: bool = option(False, "Puts the network on SDXL's second text encoder.", label="Train text encoder 2")
    text_encoder_2_rate: float = option(5e-5, "Learning rate of the network on the second text encoder.", ge=0, le=10,
                                        label="Text encoder 2 learning rate", void_when=(_NO_ENCODER_2, RELATIVE))
    text_encoder_stop_after: float | None = option(
        None, "Freezes the text encoders' networks after this much training. Empty trains to the end.", above=0,
        label="Stop the text encoders after")
    text_encoder_stop_unit: StopUnit = option("never", "Unit of Stop the text encoders after.",
                                              label="Text encoder stop unit")
    schedule: OwnSchedule = option("as the run", "Learning-rate schedule of the network.", label="Network schedule",
                                   void_when=(RELATIVE,))
    rates: str = option("", "Its own rates for the schedule rate list, such as 0.005:100, 0.001. Empty takes the run's list.",
                        label="Network rate list")
    layers: Literal["attention and feed-forward", "attention", "cross-attention", "self-attention"] = option(
        "attention and feed-forward", "Layers of the UNet's transformers that get a network.", void_when=(_NO_UNET,))
    filter: str = option("", "Keeps only UNet layers whose name matches this regular expression, such as attn2|up_blocks\\.1.",
                         label="Layer filter", void_when=(_NO_UNET,))


@dataclass(frozen=True)
class Blocks:
    """Values for each block of the UNet, in the order IN00 ..., M00, OUT00 ...: 25 for SD 1 and SD 2, 19 for SDXL."""

    weights: str = option(
        "", "Learning-rate weight of each block: a list, or down / middle / up with numbers or words such as cosine+0.1.",
        label="Block weights", source="words: cosine, sine, linear, reverse_linear, zeros; kohya's networks/lora.py")
    zero_threshold: float = option(0.0, "Leaves blocks at or under this weight out of the network and its file.", ge=0, le=1,
                                   label="Zero threshold")
    ranks: str = option("", "Rank of each block; 0 leaves it out.", label="Block ranks")
    alphas: str = option("", "Alpha of each block.", label="Block alphas")
    conv_ranks: str = option("", "Rank of each block's 3x3 convolutions; 0 leaves them out.",
                             label="Block convolution ranks")
    conv_alphas: str = option("", "Alpha of each block's 3x3 convolutions.", label="Block convolution alphas")


@dataclass(frozen=True)
class Pivot:
    """In which order embeddings and the network learn."""

    order: Literal["together", "embeddings first", "network first"] = option(
        "together", "Trains embeddings and the network together, or one until the pivot and the other after it.",
        label="Order")
    at: float = option(0.5, "The pivot: below 1 a fraction of the run, else a step.", above=0, le=10_000_000,
                       label="Pivot at", shown_when=("pivot.order", ("embeddings first", "network first")))
