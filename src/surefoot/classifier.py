"""What a run leaves behind: a backbone, class weights and names, saved as a folder that transformers opens.

Evaluation, blending and prediction need a Classifier and no method. Training it belongs to `methods` and `engine`.
"""

import json
import math
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, Self, get_args

import torch
from PIL import Image
from pydantic import BaseModel, PositiveFloat
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from surefoot.backbones.base import Backbone, evaluating, load_backbone, unit
from surefoot.data import images as pictures
from surefoot.data.prompts import Prompts
from surefoot.permissions import as_new

Convention = Literal["scaled", "unit", "linear"]

FORMAT, CARD, HEAD = 1, "surefoot.json", "head.safetensors"  # format of the two files


class Head(nn.Module):
    """Class weights on image features, in one of the three conventions in use; under Adam they train differently.

    "scaled": rows of length exp(s) on unit features, with a bias (WiSE-FT, FLYP); "unit": rows of length 1 on unit
    features times a frozen exp(s), no bias (Lipsum-FT); "linear": a linear layer on raw features (DomainBed).
    """

    weight: nn.Parameter  # (C, D)
    bias: Tensor  # (C); a parameter, but for "unit" a buffer of zeros
    scale: Tensor  # (); a buffer, 1 but for "unit"

    def __init__(self, weight: Tensor, *, bias: Tensor, scale: Tensor, convention: Convention) -> None:
        super().__init__()
        if convention not in get_args(Convention):
            raise ValueError(f"head convention is {convention!r}; choose one of {', '.join(get_args(Convention))}")
        if weight.ndim != 2 or bias.shape != weight.shape[:1] or scale.shape != ():
            shapes = ", ".join(str(tuple(part.shape)) for part in (weight, bias, scale))
            raise ValueError(
                f"head: weight, bias and scale have shapes {shapes}; expected (classes, dim), (classes), ()"
            )
        self.convention = convention
        self.weight = nn.Parameter(weight.detach().float().clone())
        values = bias.detach().float().clone()
        self.bias = nn.Buffer(values) if convention == "unit" else nn.Parameter(values)
        self.scale = nn.Buffer(scale.detach().float().clone())

    @classmethod
    def zero_shot(cls, backbone: Backbone, prompts: Prompts, *, convention: Convention = "scaled") -> Self:
        """The class weights that the text tower gives now; ValueError for "linear", which has no zero-shot start."""
        if convention == "linear":
            raise ValueError("head convention is 'linear', which has no zero-shot weights; choose scaled or unit")
        weight = backbone.zero_shot_weights(prompts.class_sentences())  # (C, D)
        scale = backbone.scale.detach().float()
        bias = torch.zeros(len(weight), device=weight.device)
        if convention == "scaled":
            return cls(scale * weight, bias=bias, scale=torch.ones_like(scale), convention=convention)
        return cls(weight, bias=bias, scale=scale, convention=convention)

    @classmethod
    def random(cls, dim: int, classes: int, *, seed: int) -> Self:
        """A "linear" head as torch.nn.Linear starts: uniform within 1/sqrt(dim) of 0, equal for equal seeds."""
        generator = torch.Generator().manual_seed(seed)
        drawn = (2 * torch.rand(classes, dim + 1, generator=generator) - 1) / math.sqrt(dim)
        return cls(drawn[:, :dim], bias=drawn[:, dim], scale=torch.ones(()), convention="linear")

    def forward(self, features: Tensor) -> Tensor:
        """Logits (N, C) in float32 of raw features (N, D), also under autocast; "scaled" and "unit" normalise them."""
        with torch.autocast(features.device.type, enabled=False):
            features = features.float() if self.convention == "linear" else unit(features)
            return self.scale * F.linear(features, self.weight) + self.bias


@dataclass(frozen=True)
class Prediction:
    """One image's most probable class, and the `top_k` most probable with their calibrated probabilities."""

    label: str
    probability: float
    top: tuple[tuple[str, float], ...]


class Classifier(nn.Module):
    """A backbone's image tower with a Head: images to logits over named classes.

    `temperature` calibrates probabilities only (see `evaluation.calibration`); `templates` made the class weights
    where text did; `provenance` says how the classifier came about (JSON values).
    """

    def __init__(
        self,
        backbone: Backbone,
        head: Head,
        *,
        classes: Sequence[str],
        templates: Sequence[str] = (),
        temperature: float = 1.0,
        provenance: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        super().__init__()
        if tuple(head.weight.shape) != (len(classes), backbone.dim):
            raise ValueError(
                f"head: weight has shape {tuple(head.weight.shape)}, but {len(classes)} classes and features of "
                f"{backbone.dim} dimensions need {(len(classes), backbone.dim)}"
            )
        if len(set(classes)) < len(classes):
            twice = sorted({name for name in classes if list(classes).count(name) > 1})
            raise ValueError(f"classes has {twice} more than once; give each class its own name")
        if not (math.isfinite(temperature) and temperature > 0):
            raise ValueError(f"temperature is {temperature}; it must be a positive number (1 changes nothing)")
        self.backbone, self.head = backbone, head
        self.classes = tuple(classes)
        self.templates = tuple(templates)
        self.temperature = temperature
        self.provenance = dict(provenance)

    @classmethod
    def zero_shot(cls, backbone: Backbone, prompts: Prompts, *, convention: Convention = "scaled") -> Self:
        """The classifier that the text tower gives, without training."""
        head = Head.zero_shot(backbone, prompts, convention=convention)
        return cls(backbone, head, classes=prompts.classes, templates=prompts.templates)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, C) in float32 of normalised images (N, 3, S, S); the temperature is not applied."""
        logits: Tensor = self.head(self.backbone.image.raw(images))
        return logits

    def probabilities(self, images: Tensor) -> Tensor:
        """Calibrated probabilities (N, C): softmax(logits / temperature)."""
        return F.softmax(self(images) / self.temperature, dim=-1)

    def scores(self, images: Tensor) -> Tensor:
        """How sure each class is by itself (N, C), where the backbone was trained with a sigmoid: `Backbone.scores`."""
        if self.head.convention == "linear":
            raise ValueError("the head is 'linear', whose logits are no similarities to texts; use probabilities")
        return self.backbone.scores(self(images))

    def predict(
        self, images: Sequence[str | Path | Image.Image], *, top_k: int = 1, batch_size: int = 64
    ) -> list[Prediction]:
        """Classify image files and PIL images, in order, `batch_size` at a time.

        Raises ValueError with all files that cannot be read.
        """
        if not 1 <= top_k <= len(self.classes):
            raise ValueError(f"top_k is {top_k}; choose 1 to {len(self.classes)}, the number of classes")
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}; give 1 or more")
        found: list[Prediction] = []
        broken: list[str] = []
        for start in range(0, len(images), batch_size):
            pixels: list[Tensor] = []
            for image in images[start : start + batch_size]:
                try:
                    pixels.append(_read(image, self.backbone.image_spec))
                except (pictures.UnreadableImage, OSError) as error:
                    broken.append(str(error))
            if not broken:  # else only to name all the others
                found += self._predict_pixels(torch.stack(pixels), top_k)
        if broken:
            listed = "\n  ".join(broken)
            raise ValueError(f"{len(broken)} of {len(images)} images cannot be read; leave them out:\n  {listed}")
        return found

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the backbone's own files, `head.safetensors` and `surefoot.json`: the whole folder or nothing.

        A classifier that stands there is replaced; ValueError where the folder holds something else.
        """
        folder = Path(folder).absolute()
        if folder.exists() and not (folder / CARD).is_file() and (not folder.is_dir() or any(folder.iterdir())):
            raise ValueError(f"{folder} exists and is no saved classifier; give a new or an empty folder")
        card = self._card()  # first, so that a bad provenance leaves no files
        partial, before = (folder.with_name(f".{folder.name}.{os.getpid()}.{what}") for what in ("partial", "before"))
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        try:
            self.backbone.save(partial)
            head = {name: value.detach().cpu().contiguous() for name, value in self.head.state_dict().items()}
            save_file(head, partial / HEAD, metadata={"format": "pt"})
            (partial / CARD).write_text(card, encoding="utf-8")
            as_new(*(file for file in partial.rglob("*") if file.is_file()))
            if folder.exists():
                folder.rename(before)
            partial.rename(folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
            if before.exists() and not folder.exists():
                before.rename(folder)
            shutil.rmtree(before, ignore_errors=True)

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> Self:
        """Open a folder that `save_pretrained` wrote, on the CPU, in eval mode.

        Raises ValueError, naming the file, where a part is missing, does not fit or was written by a newer Surefoot.
        """
        card = read_card(Path(folder))
        head = _read_head(Path(folder), card.convention)
        backbone = load_backbone(str(Path(folder).absolute()))
        backbone.name = card.backbone
        try:
            told = card.model_dump(include={"classes", "templates", "temperature", "provenance"})
            classifier = cls(backbone, head, **told)
        except ValueError as error:
            raise ValueError(f"{folder} does not hold together: {error}") from error
        return classifier.eval()

    def _card(self) -> str:
        card = {
            "format": FORMAT,
            "backbone": self.backbone.name,
            "convention": self.head.convention,
            "classes": self.classes,
            "templates": self.templates,
            "temperature": self.temperature,
            "provenance": self.provenance,
        }
        try:
            return json.dumps(card, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        except (TypeError, ValueError) as error:
            raise ValueError(f"provenance holds more than JSON values, which cannot be saved: {error}") from error

    @torch.no_grad()
    def _predict_pixels(self, pixels: Tensor, top_k: int) -> list[Prediction]:
        images = pictures.normalise(pixels.to(self.head.weight.device), self.backbone.image_spec)
        with evaluating(self):
            probabilities = self.probabilities(images)  # (N, C)
        best = probabilities.topk(top_k, dim=-1)
        rows = zip(best.indices.tolist(), best.values.tolist(), strict=True)
        tops = [tuple((self.classes[c], p) for c, p in zip(*row, strict=True)) for row in rows]
        return [Prediction(*top[0], top) for top in tops]


def _read(image: str | Path | Image.Image, spec: pictures.ImageSpec) -> Tensor:
    """An image through the evaluation transform: uint8 (3, S, S)."""
    if isinstance(image, Image.Image):
        opened = pictures.Opened(image.copy())  # decoding may shrink it in place
    else:
        opened = pictures.open_image(Path(image).read_bytes(), name=str(image))
    return pictures.to_tensor(pictures.evaluation_view(opened, spec))


class Card(BaseModel, extra="forbid", allow_inf_nan=False):
    """surefoot.json."""

    format: int
    backbone: str
    convention: Convention
    classes: list[str]
    templates: list[str]
    temperature: PositiveFloat
    provenance: dict[str, Any]


def read_card(folder: Path) -> Card:
    """What a saved classifier says of itself, without its weights; ValueError where it cannot be used."""
    path = folder / CARD
    if not path.is_file():
        raise ValueError(f"{folder} is no saved classifier: it has no {CARD}; give a folder of save_pretrained")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(content, dict) and isinstance(content.get("format"), int) and content["format"] > FORMAT:
            raise ValueError(f"it has format {content['format']}, this Surefoot reads up to {FORMAT}; update Surefoot")
        return Card.model_validate(content)
    except ValueError as error:  # also what JSON, UTF-8 and pydantic raise
        raise ValueError(f"{path} cannot be used: {error}") from error


def _read_head(folder: Path, convention: Convention) -> Head:
    path = folder / HEAD
    if not path.is_file():
        raise ValueError(
            f"{path} is missing; save the classifier again with save_pretrained (a pickled head, such as head.pt or "
            "head.bin, can run code when opened and is refused)"
        )
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path} is damaged ({error}); save the classifier again") from error
    if set(tensors) != {"weight", "bias", "scale"}:
        raise ValueError(f"{path} holds {sorted(tensors)}; a head has weight, bias and scale")
    if not all(bool(tensor.isfinite().all()) for tensor in tensors.values()):
        raise ValueError(f"{path} holds values that are not finite; the run that wrote it failed")
    try:
        return Head(tensors["weight"], bias=tensors["bias"], scale=tensors["scale"], convention=convention)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
