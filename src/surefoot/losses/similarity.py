"""Similarities in a precision that softmax can use, and the checks that every loss of this folder begins with."""

import torch
import torch.nn.functional as F
from torch import Tensor


def similarity(a: Tensor, b: Tensor, scale: Tensor | float) -> Tensor:
    """The logits scale * a @ b.T, (N, D) x (M, D) -> (N, M), in float32 or wider whatever autocast says.

    At CLIP's scale of 100 a logit rounded to bfloat16 is off by up to 0.25, so the product is made in at least float32;
    float64 stays float64. `scale` multiplies (CLIP's exp(logit_scale)) and may be a trained 0-d tensor. Raises
    ValueError where the rows of `a` and `b` are not of one length.
    """
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1]:
        raise ValueError(
            f"cannot compare the rows of {tuple(a.shape)} with those of {tuple(b.shape)}; "
            "give two matrices, (N, D) and (M, D), of the same D"
        )
    a, b = widen(a, b)
    with torch.autocast(device_type=a.device.type, enabled=False):
        return (scale * a) @ b.T


def widen(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Both tensors in their common type, and at least in float32."""
    dtype = torch.promote_types(torch.promote_types(a.dtype, b.dtype), torch.float32)
    return a.to(dtype), b.to(dtype)


def unit(features: Tensor) -> Tensor:
    """The rows (N, D) at unit norm, in at least float32.

    Features that have it already keep their values; their gradients lose the part along the feature.
    """
    return F.normalize(features.to(torch.promote_types(features.dtype, torch.float32)), dim=-1)


def constant(scale: Tensor | float) -> Tensor | float:
    """The scale without its gradient."""
    return scale.detach() if isinstance(scale, Tensor) else scale


def check_pairs(a: Tensor, b: Tensor, names: str) -> None:
    """ValueError unless `a` and `b` are matrices of one shape with at least one row; `names` says what they are."""
    if a.ndim != 2 or a.shape != b.shape or len(a) == 0:
        raise ValueError(
            f"{names} have shapes {tuple(a.shape)} and {tuple(b.shape)}; "
            "give two matrices of one shape, one row an example, at least one row"
        )


def check_labels(labels: Tensor, rows: Tensor) -> None:
    """ValueError unless there is one label a row."""
    if not isinstance(labels, Tensor):
        raise ValueError(f"labels is {labels!r}; give one class number a row, a tensor ({len(rows)},)")
    if labels.shape != rows.shape[:1]:
        raise ValueError(f"labels have shape {tuple(labels.shape)}; give one class number a row, ({len(rows)},)")
