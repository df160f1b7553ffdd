"""Weights as dicts of tensors: blend, average and follow them; torch only.

All but `ema_` are pure. They look at one tensor at a time and read each once, so a mapping that reads its tensors when
asked keeps memory low. Arithmetic is in float32 or wider, results have the inputs' type, and entries that are not
floating point, such as counters, are taken over and never averaged. When to apply which belongs to the callers.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import torch
from torch import Tensor

Weights = Mapping[str, Tensor]


@torch.no_grad()
def interpolate(start: Weights, end: Weights, alpha: float) -> dict[str, Tensor]:
    """WiSE-FT: (1 - alpha) * start + alpha * end over every floating-point entry; the others are those of `end`.

    Exactly `start` at alpha 0 and `end` at alpha 1. Wortsman et al., CVPR 2022 (arXiv:2109.01903), who blend the head
    too: with zero-shot weights of the same scale as the fine-tuned ones. Raises ValueError where alpha is outside
    [0, 1], or names or shapes differ.
    """
    _check_share("alpha", alpha)
    if alpha in (0, 1):  # arithmetic would lose the sign of -0.0 and make NaN of an infinite weight
        return {
            name: (first if alpha == 0 and last.is_floating_point() else last).to(last.dtype, copy=True)
            for name, first, last in _pairs(start, end)
        }
    return _blend(start, end, lambda _, like: like.new_tensor(alpha))


@torch.no_grad()
def fisher_merge(
    start: Weights,
    end: Weights,
    *,
    start_fisher: Weights,
    end_fisher: Weights,
    alpha: float,
    floor: float = 1e-8,
) -> dict[str, Tensor]:
    """`interpolate` in which each coordinate counts by its Fisher information, and by no less than `floor`.

        theta = (c0 * start + c1 * end) / (c0 + c1),  c0 = (1 - alpha) * max(start_fisher, floor),
                                                      c1 = alpha * max(end_fisher, floor)

    Matena and Raffel, 2022 (arXiv:2111.09832), with the floor and the use of alpha of WiSE-FT's code; Fisher = mean
    squared gradient of the log-likelihood of labels *drawn from the model*. An entry that neither Fisher holds (a
    buffer) is plainly interpolated. Raises ValueError as `interpolate` does, and where only one Fisher has an entry.
    """
    _check_share("alpha", alpha)
    if not floor > 0:
        raise ValueError(f"floor is {floor}; give a number above 0, such as 1e-8")
    _check_names(start_fisher, end_fisher)
    informed = set(start_fisher)  # a set, as `in` may read the tensor
    if unknown := sorted(informed - set(start)):
        raise ValueError(
            f"the weights lack {_listed(unknown)}, which the Fisher information has; make both of one model"
        )

    def share(name: str, like: Tensor) -> Tensor:
        if name not in informed:
            return like.new_tensor(alpha)
        of_start, of_end = start_fisher[name], end_fisher[name]
        for fisher in (of_start, of_end):
            _check_shape(name, like, fisher)
        of_start = (1 - alpha) * of_start.to(like).clamp(min=floor)
        of_end = alpha * of_end.to(like).clamp(min=floor)
        return of_end / (of_start + of_end)

    return _blend(start, end, share)


@torch.no_grad()
def average(models: Iterable[Weights]) -> dict[str, Tensor]:
    """Uniform soup: the mean of the models' weights, read one after the other; other entries are those of the last.

    Wortsman et al., ICML 2022 (arXiv:2203.05482). Holds the mean and one model, or one tensor of a model that reads
    them when asked, however many there are; the mean is kept in float32 or wider until the end. Raises ValueError where
    there is no model, or names or shapes differ.
    """
    mean: dict[str, Tensor] = {}
    types: dict[str, torch.dtype] = {}
    count = 0
    for model in models:
        count += 1
        if count > 1:
            _check_names(mean, model)
        for name, tensor in model.items():
            if count == 1:
                mean[name], types[name] = _wide(tensor).clone(), tensor.dtype
            elif tensor.is_floating_point():
                _check_shape(name, mean[name], tensor)
                mean[name].lerp_(tensor.to(mean[name]), 1 / count)
            else:
                mean[name].copy_(tensor)
            del tensor  # before the next one is read; a loop would keep both
        del model  # likewise; enumerate would keep it
    if count == 0:
        raise ValueError("there are no weights to average; give one model or more")
    return {name: tensor.to(types[name]) for name, tensor in mean.items()}


@torch.no_grad()
def model_stock(anchor: Weights, models: Sequence[Weights]) -> dict[str, Tensor]:
    """Model Stock: move each tensor from `anchor` to the models' mean, the further the more the models agree.

        cos = mean over pairs of cos(theta_i - anchor, theta_j - anchor),  t = K cos / (1 + (K - 1) cos)
        theta = (1 - t) * anchor + t * mean_i theta_i

    per tensor, for K >= 2 models that differ by their seed. Jang et al., ECCV 2024 (arXiv:2403.19522), who published no
    code. Ours: a negative cos counts as 0, where t would be negative or infinite; a tensor that did not move has cos 0;
    one entry of the dict is one layer. Entries that are not floating point are those of the last model. Tensors are
    read one after the other and one model's at a time, so memory does not grow with K.
    """
    count = len(models)
    if count < 2:
        raise ValueError(f"model_stock got {count} models; give two or more, tuned with different seeds")
    for model in models:
        _check_names(anchor, model)
    return {name: _stocked(name, origin, models) for name, origin in anchor.items()}


@torch.no_grad()
def ema_(target: Weights, source: Weights, momentum: float) -> None:
    """target <- momentum * target + (1 - momentum) * source, in place; other entries are copied from `source`.

    One fused call for all tensors. Keep `target` in float32: in bfloat16 the small steps of a momentum near 1 are lost.
    Tied weights must stand in it once, as in `named_parameters`. Raises ValueError, before anything is written, for a
    momentum outside [0, 1] and for other names or shapes.
    """
    _check_share("momentum", momentum)
    _check_same(target, source)
    averaged = [name for name, tensor in target.items() if tensor.is_floating_point()]
    copied = [name for name, tensor in target.items() if not tensor.is_floating_point()]
    if averaged:
        followed = [source[name].to(target[name]) for name in averaged]  # the same tensor where type and device agree
        torch._foreach_lerp_([target[name] for name in averaged], followed, 1 - momentum)
    for name in copied:
        target[name].copy_(source[name])


def carot_momentum(
    step: int, *, total_steps: int, start: float = 0.05, end: float = 0.9, ramp_share: float = 0.2
) -> float:
    """CaRot's momentum after step `step`, counted from 0: from `start` linearly to `end` over the ramp, then `end`.

    Oh et al., NeurIPS 2024 (arXiv:2311.01723): the ramp takes the first fifth of the run. Their code updates the
    teacher only every 500 of 25,030 steps, step 0 included; at every step the same momenta would make it a copy of the
    student.
    """
    _check_share("ramp_share", ramp_share)
    if total_steps < 1:
        raise ValueError(f"total_steps is {total_steps}; give 1 or more")
    ramp = ramp_share * total_steps
    return start + (end - start) * step / ramp if step < ramp else end


def trajectory_momenta(total_steps: int, *, beta: float = 0.5) -> list[float]:
    """TRACER's teacher as momenta for `ema_`: entry t (0 to total_steps) is the one to use after step t.

    `ema_` after every step then keeps the mean of the whole trajectory, weighted by the kernel

        teacher_t = sum_i w(i) theta_i / sum_i w(i), i = 0..t,  w(i) = Beta(beta, beta) density at (i + 1/2) / (T + 1)

    with theta_0 the start (entry 0 is 0). Beta-moving average, arXiv:2605.29380; 0.5 is the authors': the first and the
    last steps weigh most, 1 weighs all alike, a large beta the middle. Any run of the same length, resumed or not, has
    the same momenta.
    """
    if total_steps < 1:
        raise ValueError(f"total_steps is {total_steps}; give 1 or more")
    if not beta > 0:
        raise ValueError(f"beta is {beta}; give a number above 0 (0.5 is the authors')")
    place = (torch.arange(total_steps + 1, dtype=torch.float64) + 0.5) / (total_steps + 1)
    log_kernel = (beta - 1) * (
        place.log() + (-place).log1p()
    )  # (T + 1); its constant factor cancels, and exp might not
    log_sum = log_kernel.logcumsumexp(0)
    later: list[float] = (log_sum[:-1] - log_sum[1:]).exp().tolist()
    return [0.0, *later]


def _blend(start: Weights, end: Weights, share: Callable[[str, Tensor], Tensor]) -> dict[str, Tensor]:
    """start + share * (end - start); `share` is asked for by name and a tensor of the shape and type it is to fit."""
    merged = {}
    for name, first, last in _pairs(start, end):
        if not last.is_floating_point():
            merged[name] = last.clone()
            continue
        wide = _wide(last)
        merged[name] = torch.lerp(first.to(wide), wide, share(name, wide)).to(last.dtype)
    return merged


def _pairs(start: Weights, end: Weights) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Name, tensor of `start` and tensor of `end`, each read once; ValueError where names or shapes differ."""
    _check_names(start, end)
    for name in end:
        first, last = start[name], end[name]
        _check_shape(name, first, last)
        yield name, first, last


def _stocked(name: str, origin: Tensor, models: Sequence[Weights]) -> Tensor:
    """One tensor of Model Stock, with six of its size in memory at most.

    The mean cosine over pairs comes from the sum s of the changes at unit length: |s|^2 = K + 2 * (sum over pairs).
    """
    if not origin.is_floating_point():
        return models[-1][name].clone()
    start, count = _wide(origin), len(models)
    changes, units = torch.zeros_like(start), torch.zeros_like(start)  # sums over the models
    moved = 0
    for model in models:
        tensor = model[name]
        _check_shape(name, origin, tensor)
        change = tensor.to(start) - start
        changes += change
        length = change.norm()
        if length > 0:
            moved += 1
            units += change.div_(length)
        del tensor, change  # before the next one is read
    cosine = ((units.norm().square() - moved) / (count * (count - 1))).clamp(0, 1)
    return changes.mul_(cosine / (1 + (count - 1) * cosine)).add_(start).to(origin.dtype)


def _wide(tensor: Tensor) -> Tensor:
    """At least float32; what is not floating point stays as it is."""
    if not tensor.is_floating_point():
        return tensor
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def _check_share(option: str, value: float) -> None:
    if not 0 <= value <= 1:  # also refuses NaN
        raise ValueError(f"{option} is {value}; give a number from 0 to 1")


def _check_same(first: Weights, second: Weights) -> None:
    _check_names(first, second)
    for name, tensor in first.items():
        _check_shape(name, tensor, second[name])


def _check_names(first: Weights, second: Weights) -> None:
    left, right = set(first), set(second)  # without reading the tensors, as `in` may do
    if left == right:
        return
    sides = {"first": sorted(left - right), "second": sorted(right - left)}
    told = "; ".join(f"only the {side} has {_listed(names)}" for side, names in sides.items() if names)
    raise ValueError(f"the weights are of different models: {told}. Give weights with the same names")


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(names[:5]) + more


def _check_shape(name: str, first: Tensor, second: Tensor) -> None:
    if first.shape != second.shape:
        raise ValueError(
            f"{name} has shape {tuple(first.shape)} in the first weights and {tuple(second.shape)} in the second; "
            "give weights of one architecture"
        )
