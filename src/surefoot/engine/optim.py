"""The optimizer and its learning rate: AdamW, linear warm-up, cosine to zero."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn


def build_optimizer(groups: Mapping[float, Sequence[nn.Parameter]], *, weight_decay: float) -> torch.optim.AdamW:
    """AdamW with PyTorch's defaults over parameters by what multiplies their learning rate.

    The decay acts on every trained tensor, as in WiSE-FT's and FLYP's code. The fused kernel takes a flag that
    suppresses a step, which `train` raises on a loss that is not finite.
    """
    described = [{"params": list(group), "multiple": multiple} for multiple, group in groups.items()]
    return torch.optim.AdamW(described, lr=0.0, weight_decay=weight_decay, fused=True)


def learning_rate(step: int, steps: int, *, peak: float, warmup: int) -> float:
    """The rate before step `step` (from 0): peak (step + 1) / warmup, then half a cosine to zero.

    As in the code of WiSE-FT and FLYP: 0.5 (1 + cos(pi (step - warmup) / (steps - warmup))) peak.
    """
    if step < warmup:
        return peak * (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup))) * peak


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the rate of every group: `rate` times the group's own multiple."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["multiple"]


def current_rate(optimizer: torch.optim.Optimizer) -> float:
    """The rate that was set last, before what multiplies it."""
    group = optimizer.param_groups[0]
    rate: float = group["lr"] / group["multiple"]
    return rate


def suppress_step_where(optimizer: torch.optim.Optimizer, flag: Tensor) -> None:
    """Make fused AdamW leave all weights and moments as they are while `flag` () is 1; needs no device sync."""
    optimizer.found_inf = flag  # type: ignore[attr-defined]  # read by torch's fused optimizers
