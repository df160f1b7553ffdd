"""Losses that match images with texts inside a batch.

Unit-norm features (N, D) in, a scalar out. On several processes the caller gathers the features first: the negatives
are the whole batch.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from surefoot.losses.similarity import check_labels, check_pairs, similarity, unit


def contrastive_loss(image_features: Tensor, text_features: Tensor, scale: Tensor | float) -> Tensor:
    """CLIP's loss: row i of (N, D) images belongs to row i of (N, D) texts.

        Z = scale * image_features @ text_features.T
        loss = (cross_entropy(Z, 0..N-1) + cross_entropy(Z.T, 0..N-1)) / 2

    Radford et al., 2021 (arXiv:2103.00020), fig. 3; as a loss for fine-tuning FLYP, Goyal et al., 2023
    (arXiv:2212.00638). As in the authors' code, other images of the same class are negatives. Gradients flow to both
    features and to a trained scale.
    """
    check_pairs(image_features, text_features, "image_features and text_features")
    logits = similarity(image_features, text_features, scale)  # (N, N)
    return (_match(logits) + _match(logits.T)) / 2


def cross_contrastive(
    image_features: Tensor,
    text_features: Tensor,
    reference_image_features: Tensor,
    reference_text_features: Tensor,
    scale: Tensor | float,
) -> Tensor:
    """TRACER's interactive contrastive term: student images match the teacher's texts, student texts its images.

        loss = (cross_entropy(scale * F @ G_ref.T, 0..N-1) + cross_entropy(scale * G @ F_ref.T, 0..N-1)) / 2

    Features (N, D), brought to unit norm here; `scale` is the student's. No gradient reaches the reference. Not zero
    where student and reference agree: it is a contrastive loss. TRACER (arXiv:2605.29380), following the code.
    """
    check_pairs(image_features, reference_text_features, "image_features and reference_text_features")
    check_pairs(text_features, reference_image_features, "text_features and reference_image_features")
    to_texts = similarity(unit(image_features), unit(reference_text_features.detach()), scale)  # (N, N)
    to_images = similarity(unit(text_features), unit(reference_image_features.detach()), scale)  # (N, N)
    return (_match(to_texts) + _match(to_images)) / 2


def mpm_nce(
    image_features: Tensor,
    text_features: Tensor,
    scale: Tensor | float,
    labels: Tensor,
    *,
    epsilon: float = 0.02,
    margin: float = 0.05,
) -> Tensor:
    """R-Adapter's multi-positive margin loss: all pairs (N, D) x (N, D) of one class are positives.

    With P(i) the rows of the class of row i, the target of row i is (1 - epsilon) / |P(i)| on P(i) and
    epsilon / (N - |P(i)|) elsewhere; logits are scale * cosine, plus scale * margin on the negatives. The loss is the
    soft cross-entropy, averaged over rows and over both directions. In a batch of one class the negatives' share
    falls away.

    Kim et al., ECCV 2024 (arXiv:2408.05749); epsilon and margin as in the authors' instructions, the scale the
    model's own as in their code.
    """
    check_pairs(image_features, text_features, "image_features and text_features")
    check_labels(labels, image_features)
    if not 0 <= epsilon < 1:
        raise ValueError(f"epsilon is {epsilon}; give the share of the target that negatives get, in [0, 1)")
    same = (labels[:, None] == labels[None, :]).float()  # (N, N)
    target = F.normalize(same, p=1, dim=1) * (1 - epsilon) + F.normalize(1 - same, p=1, dim=1) * epsilon  # (N, N)
    logits = similarity(image_features, text_features, scale)  # (N, N)
    same, target = same.to(logits.dtype), target.to(logits.dtype)
    logits = logits + scale * margin * (1 - same)
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


def _match(logits: Tensor) -> Tensor:
    return F.cross_entropy(logits, torch.arange(len(logits), device=logits.device))
