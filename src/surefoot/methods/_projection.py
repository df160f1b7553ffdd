"""Weights kept within a learned distance, the radius, of where they started: what TPGM and FTP share.

Pure functions on tensors. A change (weights minus start) is looked at in rows (R, n), each of which has a length; a
row that is longer than the tensor's radius is shortened to it.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

FLOOR = 1e-8  # the smallest radius, and what keeps a length from being 0
Change = tuple[Tensor, Tensor, Tensor]  # a tensor's start, its change in rows, their lengths


def lengths(rows: Tensor) -> Tensor:
    """The L1 length (R, 1) of each row (R, n): the MARS norm."""
    return rows.abs().sum(1, keepdim=True) + FLOOR


def change_of(weight: Tensor, start: Tensor, norm: str) -> Change:
    """For "l2" the whole tensor is one row, with an L2 length; for "mars" each output, and each number of a vector."""
    change = weight.detach() - start
    if norm == "l2":
        rows = change.reshape(1, -1)
        return start, rows, rows.norm(dim=1, keepdim=True) + FLOOR
    rows = change.flatten(1) if change.dim() > 1 else change.reshape(-1, 1)
    return start, rows, lengths(rows)


def bounded(radius: Tensor, longest: Tensor) -> Tensor:
    """The radius, but no less than FLOOR and no more than the longest row, beyond which nothing is shortened."""
    return torch.minimum(radius, longest).clamp(min=FLOOR)


def shorten(rows: Tensor, length: Tensor, radius: Tensor) -> Tensor:
    """The rows (R, n), those that are longer than the radius () shortened to it; with gradient to the radius."""
    return (radius / length).clamp(max=1) * rows


def project_all(changes: Mapping[str, Change], radii: Tensor) -> dict[str, Tensor]:
    """The weights by name, each tensor within its own one of the radii (K), with gradient to them."""
    found = {}
    for (name, (start, rows, length)), radius in zip(changes.items(), radii, strict=True):
        found[name] = start + shorten(rows, length, radius).view_as(start)
    return found


def adam_step(
    radius: Tensor, gradient: Tensor, first: Tensor, second: Tensor, *, step: int, lr: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Step `step` (from 1) of Adam with its usual betas and epsilon: the radius and both moments afterwards."""
    first = 0.9 * first + 0.1 * gradient
    second = 0.999 * second + 0.001 * gradient.square()
    mean, square = first / (1 - 0.9**step), second / (1 - 0.999**step)
    return radius - lr * mean / (square.sqrt() + 1e-8), first, second
