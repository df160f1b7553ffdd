"""A dual encoder that is built in milliseconds from a seed, without any download: for tests and first steps.

It has everything a real one has (causal text, end-of-text, a scale) and can learn toy tasks, but knows nothing.
"""

import json
import re
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import torch
from pydantic import Field
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from surefoot.backbones.base import Backbone, BackboneSource, ImageTower, TextTower, Tokenizer
from surefoot.data.images import ImageSpec

START, END, WORDS = 0, 1, 509  # ids of the two marks; words share the ids 2..510 by a hash
CONFIG = "tiny.json"
WEIGHTS = "model.safetensors"


class Tiny(BackboneSource):
    class Config(BackboneSource.Config):
        seed: int = Field(default=0, ge=0)
        dim: int = Field(default=32, ge=1)  # of the features
        size: int = Field(default=16, ge=4, multiple_of=4)  # of the images, in pixels
        context: int = Field(default=24, ge=3)  # the most tokens the text tower reads
        path: str = ""  # a folder with saved weights; empty: made from the seed

    config: Config
    summary = "A very small dual encoder made from a seed; knows nothing, learns toy tasks: for tests"
    recommended: ClassVar = {"engine.lr": 1e-3}

    @classmethod
    def opens(cls, folder: Path) -> bool:
        return (folder / CONFIG).is_file()

    def load(self) -> Backbone:
        if not self.config.path:
            return TinyBackbone(self.config)
        folder = Path(self.config.path)
        try:
            saved = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
            backbone = TinyBackbone(self.Config.model_validate(saved))
            backbone.load_state_dict(load_file(folder / WEIGHTS))
        except (OSError, ValueError, RuntimeError, SafetensorError) as error:
            raise ValueError(f"{folder} does not hold a saved tiny backbone: {error}") from error
        return backbone


class TinyBackbone(Backbone):
    def __init__(self, config: Tiny.Config) -> None:
        with torch.random.fork_rng(devices=[]):  # the seed of the run stays as it is
            torch.manual_seed(config.seed)
            image, text = TinyImageTower(config.size, config.dim), TinyTextTower(config.context, config.dim)
        spec = ImageSpec(size=config.size, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), resize=config.size)
        super().__init__(
            image,
            text,
            tokenizer=WordTokenizer(config.context),
            image_spec=spec,
            log_scale=nn.Parameter(torch.tensor(10.0).log()),
            bias=torch.zeros(()),
            name="tiny",
        )
        self.config = config

    def save(self, folder: Path) -> None:
        weights = {name: value.detach().cpu().contiguous() for name, value in self.state_dict().items()}
        save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})
        config = self.config.model_dump(exclude={"path"})
        (folder / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


class TinyBlock(nn.Module):
    """A residual block over states (N, L, 32)."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.inner, self.out = nn.LayerNorm(32), nn.Linear(32, 32), nn.Linear(32, 32)

    def forward(self, states: Tensor) -> Tensor:
        changed: Tensor = states + self.out(F.gelu(self.inner(self.norm(states))))
        return changed


class TinyImageTower(ImageTower):
    """4 x 4 patches, one residual block over each, one linear map over all of them."""

    def __init__(self, size: int, dim: int) -> None:
        super().__init__()
        self.dim = dim
        self.patches = nn.Conv2d(3, 32, kernel_size=4, stride=4)
        self.block = TinyBlock()
        self.norm = nn.LayerNorm(32)
        self.projection = nn.Linear(32 * (size // 4) ** 2, dim, bias=False)

    @property
    def output_weight(self) -> Tensor:
        return self.projection.weight.T

    @property
    def parts(self) -> list[nn.Module]:
        return [self.patches, self.block]

    @property
    def branches(self) -> list[nn.Linear]:
        return [self.block.out]

    def raw(self, images: Tensor) -> Tensor:
        patches = self.block(F.gelu(self.patches(images)).flatten(2).transpose(1, 2))  # (N, patches, 32)
        features: Tensor = self.projection(self.norm(patches).flatten(1))
        return features.float()


class TinyTextTower(TextTower):
    """One causal attention layer and one block; the state at the first end-of-text is the sentence."""

    causal = True

    def __init__(self, context: int, dim: int) -> None:
        super().__init__()
        self.dim = dim
        self.tokens = nn.Embedding(2 + WORDS, 32)
        self.positions = nn.Parameter(0.1 * torch.randn(context, 32))
        self.norm = nn.LayerNorm(32)
        self.mix = nn.Linear(32, 3 * 32)
        self.block = TinyBlock()
        self.final_norm = nn.LayerNorm(32)
        self.projection = nn.Linear(32, dim, bias=False)

    @property
    def output_weight(self) -> Tensor:
        return self.projection.weight.T

    @property
    def branches(self) -> list[nn.Linear]:
        return [self.block.out]

    def raw(self, tokens: Tensor) -> Tensor:
        states = self.tokens(tokens) + self.positions[: tokens.shape[1]]  # (N, L, 32)
        query, key, value = self.mix(self.norm(states)).unflatten(-1, (3, 1, 32)).transpose(1, 3).unbind(2)
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=True)  # (N, 1, L, 32)
        states = self.final_norm(self.block(states + mixed.squeeze(1)))
        ends = (tokens == END).int().argmax(-1)  # (N,)
        features: Tensor = self.projection(states[torch.arange(len(ends), device=ends.device), ends])
        return features.float()


class WordTokenizer(Tokenizer):
    """One id a word, by a hash; case and punctuation do not count."""

    end = END
    pad = END
    size = 2 + WORDS
    special = frozenset({START, END})

    def __init__(self, context: int) -> None:
        self.context = context

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        words = [re.findall(r"\w+", text.lower()) for text in texts]
        return [[START, *(2 + zlib.crc32(word.encode()) % WORDS for word in row), END] for row in words]
