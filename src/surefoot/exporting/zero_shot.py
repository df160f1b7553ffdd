"""A folder that transformers' zero-shot pipeline opens: the classifier's own, with the temperature in `logit_scale`.

The pipeline makes one sentence a class, so that it computes the classifier's probabilities where the head was made by
text, from one template; otherwise it is a zero-shot model with the same towers. Which it is, is found out and said.
"""

import math
import shutil
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional as F

from surefoot.classifier import Classifier
from surefoot.exporting.head import folded
from surefoot.exporting.source import CLOSE, Source

WEIGHTS = "model.safetensors"
EQUAL = 2 * CLOSE  # logits that differ by less give probabilities that differ by less than half of it


def write(source: Source, folder: Path) -> list[str]:
    """Write CLIPModel, tokenizer and processor; say which probabilities the pipeline gives.

    Surefoot's own files stay beside them, so that it opens the folder too.
    """
    source.clip("transformers")
    classifier = source.classifier
    for file in source.folder.iterdir():
        if file.name != WEIGHTS:
            shutil.copyfile(file, folder / file.name)
    weights = load_file(source.folder / WEIGHTS)
    made_by_text = bool(classifier.templates) and distance(classifier, classifier.templates) <= EQUAL
    if made_by_text:
        weights["logit_scale"] = weights["logit_scale"] - math.log(classifier.temperature)
    save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})
    if not made_by_text:
        return [
            "the head was trained, and no text gives it: in the zero-shot pipeline this folder answers by its text "
            "tower, without a temperature. For the head's probabilities use --to image-classification"
        ]
    if len(classifier.templates) == 1:
        template = classifier.templates[0]
        return [f"the zero-shot pipeline gives the classifier's probabilities with hypothesis_template={template!r}"]
    images = source.probes()
    gaps = {template: _gap(classifier, template, images) for template in classifier.templates}
    nearest = min(gaps, key=gaps.__getitem__)
    return [
        f"the head is the mean over {len(gaps)} templates, but the zero-shot pipeline takes one sentence a class: with "
        f"hypothesis_template={nearest!r}, the nearest, probabilities differ by up to {gaps[nearest]:.2f} on noise. For "
        "the head's own use --to image-classification"
    ]


@torch.no_grad()
def distance(classifier: Classifier, templates: Sequence[str]) -> float:
    """How far calibrated logits may be, on any image, from those of the head that these templates give."""
    if classifier.head.convention == "linear":  # on features of any length
        return math.inf
    weight, bias = folded(classifier.head, classifier.temperature)
    return float((weight - _by_text(classifier, templates)).norm(dim=-1).max() + bias.abs().max())


def _by_text(classifier: Classifier, templates: Sequence[str]) -> Tensor:
    """The calibrated weights (C, D) on features of length 1 that the classifier's text tower gives now."""
    backbone = classifier.backbone
    sentences = [[template.replace("{}", name) for template in templates] for name in classifier.classes]
    return backbone.scale.detach() * backbone.zero_shot_weights(sentences) / classifier.temperature


@torch.no_grad()
def _gap(classifier: Classifier, template: str, images: Tensor) -> float:
    logits = classifier.backbone.image(images) @ _by_text(classifier, [template]).T  # (N, C)
    return float((F.softmax(logits, dim=-1) - classifier.probabilities(images)).abs().max())
