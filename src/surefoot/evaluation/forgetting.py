"""How far a model has moved from the zero-shot model: pure functions of features, no labels.

Everything is made in float64 on the CPU. Which images and texts are embedded, and when, belongs to `meter`; what
methods train with too stands in `losses` and is taken from there.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from surefoot.losses import class_kl, context_kl, random_text_gap

KEPT = 20  # singular values that are told


@dataclass(frozen=True)
class Features:
    """Unit features of one sample by one model: N images, and by its text tower S spurious captions; all (n, D)."""

    images: Tensor
    captions: Tensor


@dataclass(frozen=True)
class Texts:
    """Unit features by the zero-shot model's text tower: M contexts (M, D), K random texts (K, D); its scale."""

    contexts: Tensor
    random: Tensor
    scale: float


def movement(now: Features, start: Features, texts: Texts) -> dict[str, float]:
    """All quantities that compare a model with the zero-shot model, by name; each is 0, the CKA 1, where it is itself.

    Raises ValueError where the features are not of the same images and captions.
    """
    images, before = now.images.double(), start.images.double()
    contexts, random = texts.contexts.double(), texts.random.double()
    return {
        "context_drift": float(context_kl(images, before, contexts, texts.scale)),
        "random_text_gap": float(random_text_gap(images, before, random, texts.scale)),
        "spurious_drift": spurious_drift(now, start, texts.scale),
        "feature_distortion": feature_distortion(images, before),
        "linear_cka": linear_cka(images, before),
    }


def shape(images: Tensor) -> dict[str, float]:
    """Quantities of one model alone, of its image features (N, D)."""
    return {
        "smallest_singular_value": smallest_singular_values(images, count=1)[0],
        "off_diagonal_correlation": off_diagonal_correlation(images),
    }


def spurious_drift(now: Features, start: Features, scale: float) -> float:
    """StarFT's quantity without labels: how the images' distribution over spurious captions has changed.

        mean over images of KL(softmax(scale * F0 G0.T) || softmax(scale * F G.T))

    F images (N, D), G captions (S, D), each side with its own towers and the zero-shot model's scale. Kim et al., IJCAI
    2025 (arXiv:2505.13232), their variant `kl`, over one fixed set of captions in place of those of a batch.
    """
    reference = scale * start.images.double() @ start.captions.double().T  # (N, S)
    logits = scale * now.images.double() @ now.captions.double().T
    return float(class_kl(logits, reference))


def feature_distortion(images: Tensor, start: Tensor) -> float:
    """The mean Euclidean distance between features (N, D) now and at the start; between 0 and 2 for unit features.

    Kumar et al., ICLR 2022 (arXiv:2202.10054), who look at how far features move on images at home and under a shift.
    """
    _check_same(images, start)
    return float(torch.linalg.vector_norm(images.double() - start.double(), dim=-1).mean())


def linear_cka(images: Tensor, start: Tensor) -> float:
    """Linear centered kernel alignment of two sets of features of the same N images, (N, D) and (N, E), in [0, 1].

        ||Y.T X||_F^2 / (||X.T X||_F ||Y.T Y||_F), X and Y without their column means

    1 where one is the other rotated and scaled. Kornblith et al., ICML 2019 (arXiv:1905.00414). Biased upwards where
    there are few images. Two sets that are constant are taken as alike (1), a constant and another as unlike (0).
    """
    if len(images) != len(start):
        raise ValueError(f"features of {len(images)} and of {len(start)} images; give those of the same images")
    x, y = _centred(images), _centred(start)
    cross = torch.linalg.matrix_norm(y.T @ x).square()
    own = torch.linalg.matrix_norm(x.T @ x) * torch.linalg.matrix_norm(y.T @ y)
    if float(own) == 0:
        return float(bool((x == 0).all()) and bool((y == 0).all()))
    return float((cross / own).clamp(max=1.0))


def smallest_singular_values(images: Tensor, *, count: int = KEPT) -> list[float]:
    """The smallest singular values of the covariance of features (N, D), rising; at most `count`.

    Those that are zero for want of images are left out: of N images there are min(N - 1, D). The bound of CaRot (Oh et
    al., NeurIPS 2024, arXiv:2311.01723) on the error under a shift falls as the smallest one rises.
    """
    centred = _centred(images)
    if len(centred) < 2:
        raise ValueError(f"features of {len(centred)} image(s) have no covariance; give two images or more")
    rank = min(len(centred) - 1, centred.shape[1])
    values = torch.linalg.svdvals(centred).square() / (len(centred) - 1)  # falling
    found: list[float] = values[:rank].flip(0)[:count].tolist()
    return found


def off_diagonal_correlation(images: Tensor) -> float:
    """The mean absolute correlation between different dimensions of features (N, D), in [0, 1].

    0 where all dimensions are uncorrelated, what the orthogonality constraint of CaRot (arXiv:2311.01723) aims at. A
    dimension that is constant is correlated with nothing.
    """
    centred = _centred(images)
    lengths = torch.linalg.vector_norm(centred, dim=0)  # (D)
    unit = centred / torch.where(lengths > 0, lengths, 1.0)
    correlation = (unit.T @ unit).abs()  # (D, D)
    dims = len(correlation)
    if dims < 2:
        return 0.0
    return float((correlation.sum() - correlation.diagonal().sum()) / (dims * (dims - 1)))


def accuracy_by_text(images: Tensor, classes: Tensor, labels: Tensor) -> float:
    """The share of images (N, D) whose nearest class (C, D) is that of `labels` (N)."""
    right = (images.double() @ classes.double().T).argmax(-1) == labels
    return float(right.double().mean())


def lost(now: Mapping[str, float], start: Mapping[str, float]) -> float:
    """Points (0 to 100) of accuracy that the mean over tasks has lost since the start; negative where it gained."""
    return 100 * sum(start[name] - now[name] for name in start) / len(start)


def _centred(features: Tensor) -> Tensor:
    features = features.double()
    return features - features.mean(0)


def _check_same(images: Tensor, start: Tensor) -> None:
    if images.shape != start.shape:
        raise ValueError(
            f"features of shapes {tuple(images.shape)} and {tuple(start.shape)}; give those of the same images in the "
            "same space"
        )
