"""Linear adapters behind a backbone's residual branches: hooked on while training, merged into the weights at the end.

How they train, and at what strength they are merged, is the method's affair (`r_adapter`).
"""

import weakref
from collections.abc import Sequence
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from surefoot.backbones.base import Backbone

DropBy = Literal["token", "sample", "module"]


class Adapters(nn.Module):
    """For each width d a linear map (d, d) without bias, 0 at first, and its scale."""

    def __init__(self, widths: Sequence[int], *, drop: float, drop_by: DropBy) -> None:
        super().__init__()
        self.weights = nn.ParameterList([torch.zeros(width, width) for width in widths])
        self.scales = nn.Parameter(torch.full((len(widths),), 0.1))
        self.drop, self.drop_by = drop, drop_by

    def forward(self, number: int, output: Tensor, *, dropping: bool) -> Tensor:
        """A branch's output (N, L, d) and what its adapter makes of it."""
        change = F.linear(output, self.weights[number])
        if dropping and self.drop:
            change = change * self._kept(change) / (1 - self.drop)
        return output + self.scales[number] * change

    @torch.no_grad()
    def merge(self, number: int, branch: nn.Linear, *, alpha: float) -> None:
        """W <- (I + alpha s A) W and b <- (I + alpha s A) b: the branch then does what its adapter did behind it."""
        change = alpha * self.scales[number] * self.weights[number]  # (d, d)
        branch.weight.add_(change @ branch.weight)
        if branch.bias is not None:
            branch.bias.add_(change @ branch.bias)

    def _kept(self, change: Tensor) -> Tensor:
        """1 for what is kept, 0 for what is dropped, of the same number of dimensions."""
        samples, tokens, _ = change.shape
        shape = {"token": (1, tokens, 1), "sample": (samples, 1, 1), "module": (1, 1, 1)}[self.drop_by]
        return change.new_empty(shape).bernoulli_(1 - self.drop)


class Adapted(Protocol):
    """Whose adapters they are."""

    adapters: Adapters


class Hook:
    """Adapts a branch for as long as its owner lives.

    In a copy of the backbone alone it does nothing, so that teachers and classifiers are free of it; in a copy of the
    owner it belongs to that copy.
    """

    def __init__(self, owner: Adapted, number: int) -> None:
        self.owner, self.number = weakref.ref(owner), number

    def __call__(self, branch: nn.Module, _: Any, output: Tensor) -> Tensor:
        owner = self.owner()
        return output if owner is None else owner.adapters(self.number, output, dropping=branch.training)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        owner = memo.get(id(self.owner()))  # a copied module is noted before its parts are copied
        return _unchanged if owner is None else Hook(owner, self.number)


def _unchanged(_branch: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
    return output


def branches(backbone: Backbone) -> list[nn.Linear]:
    """The last linear map of every residual branch of both towers. ValueError where a tower does not name them."""
    for name, tower in (("image", backbone.image), ("text", backbone.text)):
        if not tower.branches:
            raise ValueError(
                f"method=r_adapter adapts the residual branches of both towers, but the {name} tower of backbone "
                f"{backbone.name!r} names none; choose a CLIP model in transformers' format, or another method"
            )
    return [*backbone.image.branches, *backbone.text.branches]
