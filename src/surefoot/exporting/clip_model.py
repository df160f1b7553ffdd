"""A folder that transformers' zero-shot pipeline opens: the classifier's own, with the temperature in `logit_scale`.

The pipeline makes one sentence a class, so that it computes the classifier's probabilities where the head was made by
text, from one template; otherwise it is a zero-shot model with the same towers. Which it is, is found out and said.
"""

import math
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional as F

from surefoot.classifier import CARD, HEAD, Classifier
from surefoot.exporting.head import folded
from surefoot.exporting.source import CLOSE, Source

WEIGHTS = "model.safetensors"
BESIDE = (  # what else a classifier's folder may have; other files in it are nobody's business
    *(CARD, HEAD, "config.json", "processor_config.json", "preprocessor_config.json"),
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
    *("vocab.json", "merges.txt", "vocab.txt"),
)
EQUAL = 2 * CLOSE  # logits that differ by less give probabilities that differ by less than half of it


def write(source: Source, folder: Path) -> list[str]:
    """Write CLIPModel, tokenizer and processor; say which probabilities the pipeline gives.

    Surefoot's own files stay beside them, so that it opens the folder too.
    """
    source.clip("transformers")
    classifier = source.classifier
    for name in BESIDE:
        if (source.folder / name).is_file():
            shutil.copyfile(source.folder / name, folder / name)
    weights = load_file(source.folder / WEIGHTS)
    text = _text_weights(classifier)  # (C, T, D)
    made_by_text = _distance(classifier, text) <= EQUAL
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
    gaps = _gaps(classifier, text, source.probes())
    best = int(gaps.argmin())
    return [
        f"the head is the mean over {len(gaps)} templates, but the zero-shot pipeline takes one sentence a class: with "
        f"hypothesis_template={classifier.templates[best]!r}, the nearest, probabilities differ by up to "
        f"{float(gaps[best]):.2f} on noise. For the head's own use --to image-classification"
    ]


def _text_weights(classifier: Classifier) -> Tensor:
    """Unit features (C, T, D) of every class name in each of the classifier's templates."""
    sentences = [template.replace("{}", name) for name in classifier.classes for template in classifier.templates]
    if not sentences:
        return torch.zeros(len(classifier.classes), 0, classifier.backbone.dim)
    features = classifier.backbone.embed_texts(sentences)
    return features.view(len(classifier.classes), len(classifier.templates), -1)


@torch.no_grad()
def _distance(classifier: Classifier, text: Tensor) -> float:
    """How far calibrated logits may be, on any image, from those of the head that the text tower gives now."""
    if classifier.head.convention == "linear" or not text.numel():  # on features of any length; no templates
        return math.inf
    weight, bias = folded(classifier.head, classifier.temperature)
    made = _factor(classifier) * F.normalize(text.mean(1), dim=-1)
    return float((weight - made).norm(dim=-1).max() + bias.abs().max())


@torch.no_grad()
def _gaps(classifier: Classifier, text: Tensor, images: Tensor) -> Tensor:
    """By template, the largest difference (T) of its probabilities from the classifier's."""
    features = _factor(classifier) * classifier.backbone.image(images)  # (N, D)
    by_template = torch.einsum("nd,ctd->tnc", features, text).softmax(-1)
    return (by_template - classifier.probabilities(images)).abs().amax((1, 2))


def _factor(classifier: Classifier) -> Tensor:
    return classifier.backbone.scale / classifier.temperature
