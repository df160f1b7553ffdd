"""SWAD's LossValley: which segments of a run are averaged, told by their validation losses, and their weights.

Cha et al., NeurIPS 2021 (arXiv:2102.08604). Segments are numbers from 0 in the order of training. The logic is that of
the authors' code, with what is odd in it. When a segment ends, and what its loss is, belongs to the method.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class LossValley:
    """`optimum` is N_s of the paper, `overfit` N_e, `tolerance` r."""

    optimum: int = 3
    overfit: int = 6
    tolerance: float = 0.3

    @property
    def kept(self) -> int:
        """How many of the last segments may still be asked for."""
        return max(self.optimum + 1, self.overfit)

    def during(self, losses: Sequence[float]) -> tuple[tuple[int, ...], bool]:
        """The segments to average so far, one after the other, and whether the valley is dead: no more will follow.

        A run has converged where the oldest of the last `optimum` losses is the smallest of them; their mean times
        (1 + tolerance) is then the bound. Averaged are the segments from there back to the last loss above the bound,
        at most overfit - optimum + 1, and then, with each new segment, the oldest of the last `overfit`, until the
        losses of all of these are above the bound. A longer list only adds to the answer.

        As in the authors' code the way back leaves out the segment that it ends at, and the one that it starts from
        counts twice. Where fewer than `overfit` segments are there, it takes the first ones, also later ones among
        them, which count again in their turn; and the first counts anew until there are `overfit`.
        """
        chosen: list[int] = []
        converged = self._converged(losses)
        for last in range(converged + self.optimum - 1, len(losses) if converged >= 0 else 0):
            window = range(max(0, last - self.overfit + 1), last + 1)
            if last == converged + self.optimum - 1:
                chosen += self._back(losses, window, converged)
            elif window[0] >= converged:
                if self._above(losses, window, converged):
                    return tuple(chosen), True
                chosen.append(window[0])
        return tuple(chosen), False

    def at_the_end(self, losses: Sequence[float]) -> tuple[int, ...]:
        """All segments to average when no more will follow: as `during`, then what is left of the last `overfit`.

        The oldest of these is left out, as in the authors' code. The last segment alone where the run never converged.
        """
        chosen, dead = self.during(losses)
        converged = self._converged(losses)
        if converged < 0:
            return (len(losses) - 1,)
        if not dead:
            window = range(max(0, len(losses) - self.overfit) + 1, len(losses))
            while window and not self._above(losses, window, converged):
                chosen, window = (*chosen, window[0]), window[1:]
        return chosen or (converged,)

    def _converged(self, losses: Sequence[float]) -> int:
        """The first segment whose loss none of the next optimum - 1 is below; -1 where there is none."""
        starts = range(len(losses) - self.optimum + 1)
        return next((s for s in starts if losses[s] <= min(losses[s : s + self.optimum])), -1)

    def _above(self, losses: Sequence[float], segments: Sequence[int], converged: int) -> bool:
        mean = fmean(losses[converged : converged + self.optimum])
        return min(losses[segment] for segment in segments) > mean * (1 + self.tolerance)

    def _back(self, losses: Sequence[float], window: Sequence[int], converged: int) -> Sequence[int]:
        if self.overfit <= self.optimum:
            return range(converged + 1, converged + 1 + self.optimum - self.overfit)
        way = window[: self.overfit - self.optimum + 1]
        above = [place for place, segment in enumerate(way) if self._above(losses, [segment], converged)]
        return way[max(above, default=-1) + 2 :]


class History(nn.Module):
    """The losses of a run's segments, the weights of the last ones, and the mean of those that were chosen.

    All of it stays in main memory and is in `state_dict()`; `.to()` and distributed training do not know it.
    """

    def __init__(self, valley: LossValley, weights: Sequence[Tensor], *, segments: int) -> None:
        super().__init__()
        self.valley = valley
        self.sizes = [tensor.numel() for tensor in weights]
        self.saved = {
            "losses": torch.full((segments,), math.inf, dtype=torch.float64),
            "weights": torch.zeros(valley.kept, sum(self.sizes)),
            "mean": torch.zeros(sum(self.sizes)),
        }

    @property
    def losses(self) -> list[float]:
        """Those of the segments so far."""
        return [loss for loss in self.saved["losses"].tolist() if math.isfinite(loss)]

    @property
    def dead(self) -> bool:
        """Whether the mean will not change any more."""
        return self.valley.during(self.losses)[1]

    def add(self, loss: float, weights: Sequence[Tensor]) -> None:
        """A segment has ended. ValueError where its loss is not finite."""
        if not math.isfinite(loss):
            raise ValueError(f"the validation loss is {loss}; lower engine.lr, or look at the validation images")
        number, (before, _) = len(self.losses), self.valley.during(self.losses)
        self.saved["losses"][number] = loss
        for place, tensor in zip(torch.split(self._row(number), self.sizes), weights, strict=True):
            place.copy_(tensor.flatten())
        self._average(self.valley.during(self.losses)[0], done=len(before))

    def end(self, weights: Sequence[Tensor]) -> None:
        """No more segments will come: put the mean into `weights`."""
        done = len(self.valley.during(self.losses)[0])
        self._average(self.valley.at_the_end(self.losses), done=done)
        for place, tensor in zip(torch.split(self.saved["mean"], self.sizes), weights, strict=True):
            tensor.copy_(place.view_as(tensor))

    def _average(self, chosen: Sequence[int], *, done: int) -> None:
        for count, number in enumerate(chosen[done:], start=done):
            self.saved["mean"].lerp_(self._row(number), 1 / (count + 1))

    def _row(self, number: int) -> Tensor:
        return self.saved["weights"][number % self.valley.kept]

    def _save_to_state_dict(self, destination: dict[str, Tensor], prefix: str, keep_vars: bool) -> None:  # noqa: ARG002
        destination |= {prefix + name: tensor for name, tensor in self.saved.items()}

    def _load_from_state_dict(self, state_dict: Mapping[str, Tensor], prefix: str, *_: object) -> None:
        for name, tensor in self.saved.items():
            tensor.copy_(state_dict[prefix + name])
