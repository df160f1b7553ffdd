"""The towers of open_clip's dual encoders and its tokenizers. Imported through `openclip`, which finds the weights.

Transformer blocks are built of open_clip's own attention module, not of torch's: the weights have the same names and
do the same, and each residual branch ends in a linear map that is called as a module, which adapters need.
"""

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from surefoot.backbones._towers import ImageTower, TextTower, Tokenizer
from surefoot.pretrained import explained

TOKENIZER_FILES = ("tokenizer.json", "vocab.json", "vocab.txt", "spiece.model", "sentencepiece.bpe.model")
CUTTABLE = ("argmax", "eos")  # poolings that take the state at the end of text
POOLINGS = (*CUTTABLE, "first", "last")
CONTEXT, VOCABULARY = 77, 49408  # open_clip's own, where a configuration is silent
REMEMBERED = 100_000  # texts whose tokens are kept
PROBES = ("a photo of two dogs, 3 cats & a bird.", "", "a long sentence " * 100)


def dual_encoder(config: Mapping[str, Any], *, name: str) -> dict[str, Any]:
    """A model's configuration in open_clip's form, as that of two towers and nothing else.

    A caption decoder (CoCa) is left out, and so is all that is random in training: patches, paths and units that are
    dropped. ValueError for a text tower that open_clip takes from transformers, or an unknown pooling.
    """
    found = copy.deepcopy(dict(config))
    image, text = found["vision_cfg"], found["text_cfg"]
    if text.get("hf_model_name"):
        raise ValueError(
            f"backbone {name!r}: its text tower is {text['hf_model_name']!r} of transformers, whose configuration "
            "open_clip fetches from the hub each time, so that a saved classifier could not be opened without it; take "
            "a model with a text tower of open_clip's own"
        )
    pooling = text.get("pool_type", CUTTABLE[0])
    if pooling not in POOLINGS:
        raise ValueError(
            f"backbone {name!r}: pool_type={pooling!r} in text_cfg is no way to make one state of a sentence; "
            f"there are {', '.join(POOLINGS)}"
        )
    found.pop("multimodal_cfg", None)
    found["custom_text"] = True
    image |= {"output_tokens": False, "patch_dropout": 0.0}
    text["output_tokens"] = False
    if image.get("timm_model_name"):
        image |= {"timm_model_pretrained": False, "timm_drop": 0.0, "timm_drop_path": None}
    return found


def build(library: Any, config: Mapping[str, Any], *, name: str) -> Any:
    """A `CustomTextCLIP` with random weights, float32; ValueError where open_clip cannot build it."""
    wanted = copy.deepcopy({option: value for option, value in config.items() if option != "custom_text"})
    for tower in ("vision_cfg", "text_cfg"):
        wanted[tower]["block_type"] = "custom"
    with torch.random.fork_rng(devices=[]):  # the seed of the run stays as it is
        try:
            return library.CustomTextCLIP(**wanted)
        except (TypeError, ValueError, AssertionError, RuntimeError) as error:
            raise ValueError(
                f"backbone {name!r}: open_clip {library.__version__} cannot build its configuration: {error}"
            ) from error


class OpenClipImageTower(ImageTower):
    """open_clip's vision transformer or ResNet, or a model of timm. Batch norms keep the statistics they came with."""

    def __init__(self, visual: nn.Module, *, dim: int) -> None:
        super().__init__()
        self.dim = dim
        self.visual: Any = visual
        self._native = "proj" in dict(visual.named_parameters(recurse=False))  # a vision transformer of open_clip
        self._output = "proj" if self._native else _last_linear(visual, dim)
        self.blocks = tuple(f"visual.{name}." for name in _blocks(visual))

    @property
    def output_weight(self) -> Tensor:
        weight: Tensor = self.visual.get_parameter(self._output)
        return weight if self._native else weight.T

    @property
    def parts(self) -> list[nn.Module]:
        stem = self.visual.conv1 if self._native else dict(self.visual.named_modules()).get("trunk.patch_embed")
        return [stem, *_blocks(self.visual).values()] if stem is not None and self.blocks else []

    @property
    def branches(self) -> list[nn.Linear]:
        return _branches(list(_blocks(self.visual).values())) if self._native else []

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        for module in self.modules():
            if isinstance(module, _BatchNorm):
                module.eval()
        return self

    def raw(self, images: Tensor) -> Tensor:
        features: Tensor = self.visual(images)
        return features.float()


class OpenClipTextTower(TextTower):
    """open_clip's text transformer; CoCa's class token, and a pooling at the last place, need the whole context."""

    def __init__(self, text: Any, *, dim: int) -> None:
        super().__init__()
        self.dim = dim
        self.text: Any = text
        self.causal = text.attn_mask is not None and text.cls_emb is None and text.pool_type in CUTTABLE
        self.blocks = tuple(f"text.transformer.resblocks.{i}." for i in range(len(text.transformer.resblocks)))

    @property
    def output_weight(self) -> Tensor:
        projection = self.text.text_projection
        if isinstance(projection, nn.Linear):
            return projection.weight.T
        weight: Tensor = self.text.transformer.resblocks[-1].mlp.c_proj.weight.T if projection is None else projection
        return weight

    @property
    def branches(self) -> list[nn.Linear]:
        return _branches(self.text.transformer.resblocks)

    def raw(self, tokens: Tensor) -> Tensor:
        if not self.causal:
            whole: Tensor = self.text(tokens)
            return whole.float()
        length = tokens.shape[1]  # open_clip's own forward takes the whole context only
        states = self.text.token_embedding(tokens) + self.text.positional_embedding[:length]  # (N, L, width)
        states = self.text.transformer(states, attn_mask=self.text.attn_mask[:length, :length])
        is_end = tokens if self.text.pool_type == "argmax" else (tokens == self.text.eos_id).int()
        ends = is_end.argmax(-1)  # (N,), the first
        pooled = self.text.ln_final(states[torch.arange(len(ends), device=ends.device), ends])
        projection = self.text.text_projection
        if isinstance(projection, nn.Linear):
            pooled = projection(pooled)
        elif projection is not None:
            pooled = pooled @ projection
        features: Tensor = pooled
        return features.float()


class OpenClipTokenizer(Tokenizer, ABC):
    """A tokenizer of open_clip. ValueError where a sentence's row is not its ids, cut, closed and filled up."""

    def __init__(self, tokenizer: Any, *, end: int, pad: int, size: int, special: Sequence[int]) -> None:
        self.tokenizer = tokenizer
        self.context = tokenizer.context_length
        self.end, self.pad, self.size, self.special = end, pad, size, frozenset(special)
        self._known: dict[str, list[int]] = {}  # training meets the same captions again and again

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        if len(self._known) > REMEMBERED:
            self._known.clear()
        for text in texts:
            if text not in self._known:
                self._known[text] = self.ids(text)
        return [self._known[text] for text in texts]

    @abstractmethod
    def ids(self, text: str) -> list[int]:
        """The ids of a text with start and end."""

    def save(self, folder: Path) -> None:
        """Write what `open_tokenizer` needs beside the configuration; nothing for a tokenizer that open_clip has."""

    def check(self, *, vocabulary: int, name: str) -> None:
        """ValueError where rows made of `encode` are not those that open_clip makes, or no text tower reads them."""
        for probe in PROBES:
            expected = self.tokenizer([probe])[0].tolist()  # (context,)
            row = self.ids(probe)
            row = row if len(row) <= self.context else [*row[: self.context - 1], self.end]
            if [*row, *[self.pad] * (self.context - len(row))] != expected:
                raise ValueError(
                    f"backbone {name!r}: its tokenizer does more than write a sentence, close it and fill it up, which "
                    "is not supported; take another model"
                )
            if max(expected) >= vocabulary:
                raise ValueError(
                    f"backbone {name!r}: its tokenizer writes the token {max(expected)}, but the text tower has "
                    f"{vocabulary}; these files do not belong together"
                )


class ClipTokenizer(OpenClipTokenizer):
    """That of CLIP, which open_clip has itself."""

    def __init__(self, tokenizer: Any) -> None:
        size, special = tokenizer.vocab_size, tokenizer.all_special_ids
        super().__init__(tokenizer, end=tokenizer.eot_token_id, pad=0, size=size, special=special)

    def ids(self, text: str) -> list[int]:
        return [self.tokenizer.sot_token_id, *self.tokenizer.encode(text), self.end]


class TransformersTokenizer(OpenClipTokenizer):
    """One of transformers, for which open_clip cleans the texts (SigLIP, CLIPA); CLIPA writes 0 for the end of text."""

    def __init__(self, tokenizer: Any, *, vocabulary: int) -> None:
        inner = tokenizer.tokenizer
        end = 0 if tokenizer.strip_sep_token else inner("").input_ids[-1]
        size, special = min(len(inner), vocabulary), {*inner.all_special_ids, end}
        super().__init__(tokenizer, end=end, pad=inner.pad_token_id, size=size, special=[*special])

    def ids(self, text: str) -> list[int]:
        inner = self.tokenizer.tokenizer
        found = inner(self.tokenizer.clean_fn(text), padding=False, truncation=False, verbose=False).input_ids
        separator = inner.sep_token_id if self.tokenizer.strip_sep_token else -1
        return [0 if token == separator else token for token in found]

    def save(self, folder: Path) -> None:
        self.tokenizer.save_pretrained(folder)


def open_tokenizer(text: Mapping[str, Any], *, folder: str, name: str) -> OpenClipTokenizer:
    """The tokenizer that the configuration of a text tower names; one of transformers lies in `folder`, or at the hub.

    ValueError where it cannot be opened.
    """
    from open_clip.tokenizer import HFTokenizer, SimpleTokenizer

    defaults = {"context_length": text.get("context_length", CONTEXT), **(text.get("tokenizer_kwargs") or {})}
    vocabulary = text.get("vocab_size", VOCABULARY)
    there = text.get("hf_tokenizer_name")
    found: OpenClipTokenizer
    if there:
        if folder and not any((Path(folder) / file).is_file() for file in TOKENIZER_FILES):
            raise ValueError(f"backbone {name!r} has no tokenizer: none of {', '.join(TOKENIZER_FILES)} is there")
        with explained(f"backbone {name!r}: its tokenizer", folder or there, kind="AutoTokenizer"):
            inner = HFTokenizer(folder or there, tokenizer_mode=text.get("tokenizer_mode"), **defaults)
        found = TransformersTokenizer(inner, vocabulary=vocabulary)
    else:
        found = ClipTokenizer(SimpleTokenizer(**defaults))
    found.check(vocabulary=vocabulary, name=name)
    return found


def _blocks(visual: nn.Module) -> dict[str, nn.Module]:
    """An image tower's transformer blocks by name; none for a network of another kind."""
    modules = dict(visual.named_modules())
    for place in ("transformer.resblocks", "trunk.blocks"):
        found = modules.get(place)
        if isinstance(found, nn.Sequential | nn.ModuleList):
            return {f"{place}.{i}": block for i, block in enumerate(found)}
    return {}


def _branches(layers: Sequence[Any]) -> list[nn.Linear]:
    return [branch for layer in layers for branch in (layer.attn.out_proj, layer.mlp.c_proj)]


def _last_linear(module: nn.Module, dim: int) -> str:
    """The name of the weight (dim, width) of the last linear map to features of that dimension."""
    found = [n for n, part in module.named_modules() if isinstance(part, nn.Linear) and part.out_features == dim]
    if not found:
        raise ValueError(f"the image tower {type(module).__name__} has no linear map to its {dim} features")
    return f"{found[-1]}.weight"
