"""The toy's text side: real CLIP token ids, and a small CLIPTextModel trained on the few tokens that captions use."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from pivotal.prompts.vocabulary import clip_tokenizer
from pivotal.toy import captions, concepts

VOCABULARY = 49408
POSITIONS = 77
BOS, EOS = 49406, 49407  # SD1 pads with EOS
WIDTH = 64
LAYERS = 2


@cache
def tokenizer() -> CLIPTokenizer:
    """CLIP's, the same as the embedded host's; its vocabulary files lie in the system's temporary folder."""
    return clip_tokenizer(Path(tempfile.gettempdir()) / "pivotal-vocabulary")


def token_ids(texts: list[str]) -> Tensor:
    """(len(texts), 77) int64: BOS, the words, EOS to the end."""
    words = tokenizer()(texts, truncation=False, add_special_tokens=False)["input_ids"]
    rows = [[BOS, *ids[: POSITIONS - 2]] for ids in words]
    return torch.tensor([row + [EOS] * (POSITIONS - len(row)) for row in rows])


def known_words() -> list[str]:
    """Every word that a training caption can hold, once."""
    plain, composed = concepts.trained_paints()
    text = [paint.name for paint in (*plain, *composed)] + list(concepts.TRAINED_SHAPES) + list(captions.OPENINGS)
    return sorted({*" ".join(text).split(), "a", "on", "background", "background,", "photo,"})


@dataclass(frozen=True)
class Vocabulary:
    """The token ids in use, sorted; training works on their short table, the export writes them back to their rows."""

    ids: tuple[int, ...]

    def compact(self, tokens: Tensor) -> Tensor:
        """Positions in `ids` of tokens (..., 77), all of which must be known."""
        places = torch.searchsorted(torch.tensor(self.ids), tokens)
        if not torch.equal(torch.tensor(self.ids)[places], tokens):
            raise ValueError("a caption holds a token outside the trained vocabulary")
        return places


@cache
def trained_vocabulary() -> Vocabulary:
    """Collected from sampled captions too, so that punctuation is in it."""
    rng = np.random.default_rng(0)
    texts = [captions.training_pair(rng)[1] for _ in range(3000)] + known_words()
    return Vocabulary(tuple(sorted(set(token_ids(texts).flatten().tolist()) | {BOS, EOS})))


def text_config(vocabulary: int) -> CLIPTextConfig:
    """SD1's text model in small; heads follow the rule max(1, width // 64) that loaders use."""
    return CLIPTextConfig(
        vocab_size=vocabulary,
        hidden_size=WIDTH,
        intermediate_size=4 * WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=max(1, WIDTH // 64),
        max_position_embeddings=POSITIONS,
        hidden_act="quick_gelu",
        bos_token_id=BOS,
        eos_token_id=EOS,
        pad_token_id=EOS,
    )


def build_text(vocabulary: int) -> CLIPTextModel:
    """The untrained encoder over a table of `vocabulary` rows."""
    model = CLIPTextModel(text_config(vocabulary))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, module in model.named_modules():
            if isinstance(module, nn.LayerNorm):
                # A1111's emphasis divides by the mean of the features, which exact 1 and 0 would make zero.
                module.weight.add_(0.05 * torch.randn(module.weight.shape, generator=generator))
                module.bias.add_(0.05 * torch.randn(module.bias.shape, generator=generator))
                if name.endswith("final_layer_norm"):
                    module.bias.add_(0.15)
    return model


def full_table(rows: Tensor, vocabulary: Vocabulary) -> Tensor:
    """(49408, width) float16: trained rows in place, the others random signs times the trained rows' std per dimension."""
    generator = torch.Generator().manual_seed(1)
    signs = torch.randint(0, 2, (VOCABULARY, rows.shape[1]), generator=generator) * 2 - 1
    table = signs * rows.std(0, keepdim=True)
    table[torch.tensor(vocabulary.ids)] = rows
    return table.half()
