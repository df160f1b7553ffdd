"""Which images make a batch, and which crop of each: endless shuffled streams from any step, or each image once.

No image is read here; `batch` does that.
"""

from collections.abc import Iterator
from copy import copy
from typing import Literal, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler

from surefoot.data.draws import shuffled, shuffled_blocks
from surefoot.data.task import Split

Balance = Literal["none", "group", "class"]
ANYWHERE = np.empty(0, np.int64)  # the blocks of a split that has none


class Picks(NamedTuple):
    """Which images to read, and which view of each (-1 for the evaluation transform)."""

    index: NDArray[np.int64]  # type: ignore[assignment]  # hides tuple.index
    view: NDArray[np.int64]


def balanced(split: Split, balance: Balance) -> list[NDArray[np.int64]]:
    """The positions of each group, or class, that the split has; of all where nothing is balanced.

    Images without a group count as one more group. ValueError where no image has one.
    """
    if balance == "none":
        return [np.arange(len(split))]
    if balance == "group" and split.groups.max() < 0:
        raise ValueError(
            f"data.balance=group: no image of split {split.name!r} has a group; give data.balance=class or none"
        )
    kinds = split.groups if balance == "group" else split.labels
    return [np.flatnonzero(kinds == kind) for kind in np.unique(kinds)]


class TrainingPicks(Sampler[Picks]):
    """The endless stream of one rank, in which each of `members` takes its turn.

    `views` is -1 for the evaluation transform, 0 for a new view each epoch; `blocks` and `window` are the split's.
    """

    def __init__(
        self,
        members: list[NDArray[np.int64]],
        batch_size: int,
        seed: int,
        start_step: int,
        rank: int,
        world_size: int,
        views: int,
        blocks: NDArray[np.int64] = ANYWHERE,
        window: int = 1,
    ) -> None:
        self.members, self.batch_size, self.seed = members, batch_size, seed
        self.start_step, self.views, self.blocks, self.window = start_step, views, blocks, window
        share = batch_size // world_size
        self.offsets = np.arange(rank * share, (rank + 1) * share)

    def after(self, count: int) -> Self:
        """The same stream without its first `count` batches."""
        later = copy(self)
        later.start_step += count
        return later

    def __iter__(self) -> Iterator[Picks]:
        step = self.start_step
        counts = np.array([len(each) for each in self.members])
        orders: list[dict[int, NDArray[np.int64]]] = [{} for _ in self.members]  # of the epochs in use
        while True:
            turns, whose = np.divmod(step * self.batch_size + self.offsets, len(self.members))
            epochs, places = np.divmod(turns, counts[whose])
            index = np.empty_like(places)
            for one in np.unique(whose).tolist():
                known, mine = orders[one], whose == one
                orders[one] = {
                    e: known[e] if e in known else self._order(self.members[one], e)
                    for e in range(int(epochs[mine][0]), int(epochs[mine][-1]) + 1)
                }
                for epoch, order in orders[one].items():
                    index[mine & (epochs == epoch)] = order[places[mine & (epochs == epoch)]]
            yield Picks(index, self._view(epochs))
            step += 1

    def _order(self, members: NDArray[np.int64], epoch: int) -> NDArray[np.int64]:
        if len(self.blocks) == 0:
            return shuffled(members, seed=self.seed, epoch=epoch)
        return shuffled_blocks(members, self.blocks[members], window=self.window, seed=self.seed, epoch=epoch)

    def _view(self, epochs: NDArray[np.int64]) -> NDArray[np.int64]:
        if self.views < 0:
            return np.full_like(epochs, -1)
        return epochs % self.views if self.views else epochs


class EvaluationPicks(Sampler[Picks]):
    """The images at `indices`, `batch_size` at a time."""

    def __init__(self, indices: NDArray[np.int64], batch_size: int) -> None:
        self.indices, self.batch_size = indices, batch_size

    def after(self, count: int) -> "EvaluationPicks":
        """The same without the first `count` batches."""
        return EvaluationPicks(self.indices[count * self.batch_size :], self.batch_size)

    def __iter__(self) -> Iterator[Picks]:
        for start in range(0, len(self.indices), self.batch_size):
            index = self.indices[start : start + self.batch_size]
            yield Picks(index, np.full_like(index, -1))
