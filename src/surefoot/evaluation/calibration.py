"""Temperature scaling (Guo et al., arXiv:1706.04599): one number that makes probabilities honest, labels unchanged.

Fit it on ID validation only; measuring calibration belongs to `metrics`.
"""

from torch import Tensor
from torch.nn import functional as F

LOWEST, HIGHEST = 1e-2, 1e2  # of the temperature
STEPS = 200  # Newton needs fewer than ten; the bound only ends a loop that rounding keeps alive


def fit_temperature(logits: Tensor, labels: Tensor) -> float:
    """The temperature in [0.01, 100] that minimises the mean negative log likelihood of softmax(logits / T).

    `logits` (N, C), `labels` (N) int64; computed in float64 on the logits' device. The likelihood is convex in 1/T, so
    the minimum is the only one. Where every label has the highest logit it has none above T = 0; the targets are then
    smoothed by 1/(N + 2), as in Platt's rule, so that few right answers do not make the model certain of everything.
    Raises ValueError where the inputs do not fit or are not finite.
    """
    _check(logits, labels)
    logits = logits.detach().double()
    logits = logits - logits.amax(-1, keepdim=True)  # (N, C); <= 0, for exp
    labels = labels.to(logits.device)
    smoothing = 1 / (len(logits) + 2) if _all_right(logits, labels) else 0.0
    wanted = (1 - smoothing) * logits.gather(1, labels[:, None]).squeeze(1) + smoothing * logits.mean(-1)  # (N,)
    return 1 / _root(logits, wanted)


def _root(logits: Tensor, wanted: Tensor) -> float:
    """b = 1/T where the slope of the likelihood in b, mean(E[logit] - wanted logit), is 0: Newton within a bracket."""
    low, high, b = 1 / HIGHEST, 1 / LOWEST, 1.0
    for _ in range(STEPS):
        p = F.softmax(b * logits, dim=-1)  # (N, C)
        mean = (p * logits).sum(-1)  # (N,)
        slope = (mean - wanted).mean().item()
        curvature = ((p * logits.square()).sum(-1) - mean.square()).mean().item()
        if slope == 0:  # also where all logits of each example are equal: nothing to scale
            return b
        low, high = (b, high) if slope < 0 else (low, b)
        step = b - slope / curvature if curvature > 0 else 0.0
        following = step if low < step < high else (low * high) ** 0.5
        if abs(following - b) <= 1e-12 * b or high / low <= 1 + 1e-12:
            return following
        b = following
    return b


def _all_right(logits: Tensor, labels: Tensor) -> bool:
    own = logits.gather(1, labels[:, None])  # (N, 1)
    return bool((own >= logits).all())


def _check(logits: Tensor, labels: Tensor) -> None:
    if logits.ndim != 2 or logits.shape[0] == 0 or logits.shape[1] < 2:
        raise ValueError(f"logits has shape {tuple(logits.shape)}; a temperature needs (N >= 1, C >= 2)")
    if labels.shape != logits.shape[:1]:
        raise ValueError(f"labels has shape {tuple(labels.shape)}, logits {tuple(logits.shape)}; give one label a row")
    if labels.is_floating_point() or int(labels.min()) < 0 or int(labels.max()) >= logits.shape[1]:
        raise ValueError(f"labels must be whole numbers from 0 to {logits.shape[1] - 1}, the classes of the logits")
    if not bool(logits.isfinite().all()):
        raise ValueError("logits holds values that are not finite; leave masked classes out instead of using -inf")
