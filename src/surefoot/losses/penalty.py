"""Squared distances and norms: penalties on drifting features and on projections.

The reference receives no gradient; at features == reference value and gradient are exactly zero.
"""

import torch
from torch import Tensor

from surefoot.losses.similarity import check_pairs, constant, similarity, unit, widen


def random_text_gap(
    features: Tensor, reference_features: Tensor, text_features: Tensor, scale: Tensor | float
) -> Tensor:
    """Lipsum-FT's term: how far the image's energies towards random texts moved from the zero-shot model's.

        gap = scale * (features - reference_features) @ text_features.T
        loss = mean over rows of sum_k gap_k^2 / (2 K)

    Features unit-norm (N, D) of the same images, text_features (K, D) of random tokens. One scale, the frozen model's,
    on both sides: it enters squared, 1e4 for CLIP. Only `features` receives a gradient.

    Nam et al., ICLR 2024 (arXiv:2404.00860), with the code's factor of 1/2. They multiply twice and subtract; one
    product of the difference is the same function, cheaper and exact for small drifts.
    """
    check_pairs(features, reference_features, "features and reference_features")
    features, reference = widen(features, reference_features.detach())
    gap = similarity(features - reference, text_features.detach(), constant(scale))  # (N, K)
    return gap.square().mean() / 2


def feature_distance(
    image_features: Tensor, text_features: Tensor, reference_image_features: Tensor, reference_text_features: Tensor
) -> Tensor:
    """TRACER's feature term: the mean squared entry of the images' change plus that of the texts'.

        loss = mean((F - F_ref)^2) + mean((G - G_ref)^2), each over all N * D entries

    Features (N, D), brought to unit norm here. TRACER (arXiv:2605.29380), following the code; a mean over entries,
    which is why the authors' weight is as large as 2000.
    """
    check_pairs(image_features, reference_image_features, "image_features and reference_image_features")
    check_pairs(text_features, reference_text_features, "text_features and reference_text_features")
    images = unit(image_features) - unit(reference_image_features.detach())  # (N, D)
    texts = unit(text_features) - unit(reference_text_features.detach())  # (N, D)
    return images.square().mean() + texts.square().mean()


def orthogonality(projection: Tensor) -> Tensor:
    """CaRot's constraint: how far the columns of a projection (width, D) are from orthonormal.

        loss = || W.T @ W - identity ||_F

    Oh et al., NeurIPS 2024 (arXiv:2311.01723). The norm is not squared, as in the authors' code, so the gradient does
    not fade near the goal; at exactly orthonormal columns it is taken as 0. A torch Linear's weight is (D, width):
    transpose it.
    """
    gram = similarity(projection.T, projection.T, 1.0)  # (D, D)
    norm: Tensor = torch.linalg.matrix_norm(gram - torch.eye(len(gram), dtype=gram.dtype, device=gram.device))
    return norm


def cross_projection_norm(visual_projection: Tensor, text_projection: Tensor) -> Tensor:
    """CaRot's optional term: how much the two projections, (width, D) and (text width, D), share.

        loss = || W_visual @ W_text.T ||_F, not squared

    In the authors' code and recipe (weight .05), not in the paper (arXiv:2311.01723). The equal form
    sqrt(<W_visual.T W_visual, W_text.T W_text>) would cancel, and could go negative, where the norm is small.
    """
    norm: Tensor = torch.linalg.matrix_norm(similarity(visual_projection, text_projection, 1.0))
    return norm
