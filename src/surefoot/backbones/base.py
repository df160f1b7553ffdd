"""Dual encoders: a Backbone embeds images and sentences into one space; a BackboneSource makes one.

Here: unit features, tokens cut to the longest sentence, equal sentences encoded once; `Frozen` and `Average` are
teachers. Where weights come from belongs to the plug-ins beside this file; class weights belong to `classifier`.
"""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Literal

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn
from torch.nn import functional as F

from surefoot import plugins
from surefoot.backbones._frozen import Average as Average
from surefoot.backbones._frozen import Frozen as Frozen
from surefoot.backbones._passes import Tower as Tower
from surefoot.backbones._remembered import remembered
from surefoot.backbones._towers import ImageTower as ImageTower
from surefoot.backbones._towers import RawFeatures as RawFeatures
from surefoot.backbones._towers import TextTower as TextTower
from surefoot.backbones._towers import Tokenizer as Tokenizer
from surefoot.backbones._towers import parts_of as parts_of
from surefoot.backbones._towers import unit as unit
from surefoot.data.draws import random_tokens
from surefoot.data.images import ImageSpec

FOLDER = "backbones"  # where the plug-ins stand

LongText = Literal["cut", "refuse"]


class Backbone(nn.Module, ABC):
    """An image tower and a text tower with one embedding space (D = `dim`), as in CLIP.

    `log_scale` is the logarithm of the factor on cosine similarities; `bias` is added to them (0 for CLIP). Each holds
    one number. A text that is too long is cut, or an error where `long_text` is "refuse".
    """

    bias: Tensor
    long_text: LongText = "cut"

    def __init__(
        self,
        image: ImageTower,
        text: TextTower,
        *,
        tokenizer: Tokenizer,
        image_spec: ImageSpec,
        log_scale: nn.Parameter,
        bias: Tensor,
        name: str,
    ) -> None:
        super().__init__()
        if image.dim != text.dim:
            raise ValueError(f"backbone {name!r}: image features have {image.dim} dimensions, text features {text.dim}")
        self.image = image
        self.text = text
        self.log_scale = log_scale
        self.register_buffer("bias", bias)
        self.tokenizer = tokenizer
        self.image_spec = image_spec
        self.dim = image.dim
        self.name = name
        self._told_of_long_text = False

    @property
    def scale(self) -> Tensor:
        """exp(log_scale) as a scalar (), with gradient."""
        return self.log_scale.exp().reshape(())

    def scores(self, logits: Tensor) -> Tensor:
        """sigmoid(logits + bias) of scaled cosines (N, C): how sure a class is whatever the others are (SigLIP).

        Rows need not sum to 1: all are low where no class fits. Training against a softmax, as all methods do, does not
        keep them calibrated. Raises ValueError for a backbone that has no bias, and was trained with a softmax.
        """
        if not bool(self.bias):
            raise ValueError(
                f"backbone {self.name!r} was trained with a softmax and has no score for a class by itself; "
                "use probabilities"
            )
        return torch.sigmoid(logits + self.bias)

    def forward(self, images: Tensor) -> Tensor:
        """Features (N, D) of images before normalisation: so that `Frozen` can hold a whole backbone."""
        return self.image.raw(images)

    def tokenize(self, texts: Sequence[str]) -> Tensor:
        """Token ids (N, L) on the backbone's device.

        L is the longest end-of-text where what follows cannot matter (the text tower is causal, or does not look at
        what fills rows up), else the whole context. A text that is too long is cut before its end-of-text, with one
        warning.
        """
        return self._fill(self._rows(texts))

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """Unit features (N, D) of the texts, with gradient; equal texts are encoded once."""
        first = {text: row for row, text in enumerate(dict.fromkeys(texts))}
        features: Tensor = self.text(self.tokenize(list(first)))  # (unique, D)
        rows = torch.tensor([first[text] for text in texts]).to(features.device, non_blocking=True)
        return features.index_select(0, rows)

    @torch.no_grad()
    def embed_texts(self, texts: Sequence[str], *, batch_size: int = 256) -> Tensor:
        """Unit features (N, D) of any number of texts, without gradient and in eval mode; equal texts once."""
        first = {text: row for row, text in enumerate(dict.fromkeys(texts))}
        features = self._embed(self._rows(list(first)), batch_size=batch_size)  # (unique, D)
        return features[[first[text] for text in texts]]

    @torch.no_grad()
    def embed_random_texts(self, count: int, *, length: int, seed: int, moment: int) -> Tensor:
        """Unit features (count, D) of texts of `length` random tokens, without gradient and in eval mode.

        Tokens are uniform over all that are not special, and equal for equal (seed, moment) wherever they are drawn.
        """
        empty = self._rows([""])[0]
        if not 1 <= length <= self.tokenizer.context - len(empty):
            raise ValueError(
                f"length={length}: the text tower of {self.name!r} reads {self.tokenizer.context} tokens with "
                f"{len(empty)} marks; give 1 to {self.tokenizer.context - len(empty)}"
            )
        drawn = random_tokens(
            seed, moment, shape=(count, length), size=self.tokenizer.size, excluded=self.tokenizer.special
        )
        return self._embed([[*empty[:-1], *row, empty[-1]] for row in drawn.tolist()], batch_size=count)

    def _embed(self, rows: Sequence[Sequence[int]], *, batch_size: int) -> Tensor:
        order = sorted(range(len(rows)), key=lambda i: len(rows[i]))  # like lengths together: less to fill up
        features = torch.empty(len(rows), self.dim, device=self.log_scale.device)  # (N, D)
        with evaluating(self.text):
            for start in range(0, len(order), batch_size):
                part = order[start : start + batch_size]
                features[part] = self.text(self._fill([rows[i] for i in part]))
        return features

    def zero_shot_weights(self, sentences: Sequence[Sequence[str]]) -> Tensor:
        """One unit row (D) a list of sentences, no gradient: the normalised mean of their unit features.

        Gives the class weights (C, D) from `Prompts.class_sentences()`, the context weights (M, D) from
        `Prompts.context_sentences()`. Of many sentences they are remembered on the disk, see `_remembered`. Raises
        ValueError where a list is empty.
        """
        if not all(sentences):
            raise ValueError("zero_shot_weights: a class has no sentence; give at least one template")
        if self.long_text == "refuse":
            self._rows([sentence for group in sentences for sentence in group])  # also where they are remembered
        made = partial(self._zero_shot_weights, sentences)
        probe = partial(self.embed_texts, [sentences[0][0], sentences[-1][-1]])
        return remembered(made, sentences, tower=self.text, tokenizer=self.tokenizer, probe=probe)

    def _zero_shot_weights(self, sentences: Sequence[Sequence[str]]) -> Tensor:
        features = self.embed_texts([sentence for group in sentences for sentence in group])  # (all sentences, D)
        parts = torch.split(features, [len(group) for group in sentences])
        return torch.stack([F.normalize(part.mean(0), dim=0) for part in parts])

    @property
    def file_names(self) -> dict[str, str]:
        """Each name in `state_dict()` -> its name in the model.safetensors of `save`; without what never changes."""
        return {name: name for name in self.state_dict()}

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write weights, tokenizer and image settings into `folder`, which `load_backbone` opens again."""

    def _rows(self, texts: Sequence[str]) -> list[list[int]]:
        if not texts:
            raise ValueError("texts is empty; give at least one sentence")
        end, context = self.tokenizer.end, self.tokenizer.context
        rows = [ids[: ids.index(end) + 1] for ids in self.tokenizer.encode(texts)]
        too_long = any(len(row) > context for row in rows)
        if too_long and (self.long_text == "refuse" or not self._told_of_long_text):
            self._told_of_long_text = True
            longest = max(range(len(rows)), key=lambda i: len(rows[i]))
            what = (
                f"{texts[longest][:50]!r}... has {len(rows[longest])} tokens, but the text tower of {self.name!r} "
                f"reads {context}"
            )
            if self.long_text == "refuse":
                raise ValueError(f"{what}: give a shorter text, or backbone.long_text=cut to leave the rest out")
            warnings.warn(f"{what}: the rest of this and of other long texts is left out", stacklevel=4)
        return [row if len(row) <= context else [*row[: context - 1], end] for row in rows]

    def _fill(self, rows: Sequence[Sequence[int]]) -> Tensor:
        length = max(len(row) for row in rows) if not self.text.sees_filling else self.tokenizer.context
        pad = self.tokenizer.pad
        filled = [[*row, *[pad] * (length - len(row))] for row in rows]
        return torch.tensor(filled, dtype=torch.int64).to(self.log_scale.device, non_blocking=True)  # (N, L)


class BackboneSource(ABC):
    """Base of the plug-ins in `backbones/`: one subclass a file, its options in the nested Config.

    `recommended` holds settings ("engine.lr": 3e-4) that apply to this backbone unless the user sets them, also
    those of one method and compositions based on it ("flyp.engine.lr": 1e-4).
    """

    class Config(BaseModel):
        model_config = ConfigDict(extra="forbid", frozen=True)

    summary: ClassVar[str]
    paper: ClassVar[str] = ""
    recommended: ClassVar[Mapping[str, Any]] = {}

    @classmethod
    def recommends(cls, config: Config) -> Mapping[str, Any]:  # noqa: ARG003  for those that look at their options
        """`recommended`, for these options."""
        return cls.recommended

    def __init__(self, config: Config) -> None:
        self.config = config

    @classmethod
    def opens(cls, folder: Path) -> bool:  # noqa: ARG003 -- for those that override it
        """Whether `folder` holds a backbone of this source; its Config then has a `path`."""
        return False

    @abstractmethod
    def load(self) -> Backbone:
        """Read or make the backbone, on the CPU, in float32, ready to train."""


def load_backbone(name: str, *, options: Mapping[str, object] = MappingProxyType({})) -> Backbone:
    """The backbone that `name` stands for: a plug-in ("iconclip"), a folder, or a hub id with a "/".

    `options` are those of the source's Config. Raises ValueError for an unknown name, a folder that no source opens,
    or an option that does not fit.
    """
    source, found = source_of(name)
    plugin = plugins.find(FOLDER, source, base=BackboneSource)
    backbone = plugin(plugin.Config.model_validate({**found, **options})).load()
    backbone.name = name
    return backbone


def source_of(name: str) -> tuple[str, dict[str, object]]:
    """The plug-in that opens what `name` stands for, and the options that say so. ValueError where no plug-in does."""
    if name in plugins.names(FOLDER):
        return name, {}
    if Path(name).is_dir():
        for source in plugins.names(FOLDER):
            if plugins.find(FOLDER, source, base=BackboneSource).opens(Path(name)):
                return source, {"path": name}
        raise ValueError(
            f"{name} holds no backbone; give a folder with a model in transformers' format (config.json) or "
            "in open_clip's (open_clip_config.json)"
        )
    if name.startswith("hf-hub:"):  # as open_clip's users write hub ids
        return "openclip", {"path": name}
    if "/" in name:
        return "huggingface", {"path": name}
    return name, {}  # somebody's own module, or a name that `plugins.find` refuses with a list of the known ones


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Eval mode inside, and the mode of each part as it was afterwards."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training
