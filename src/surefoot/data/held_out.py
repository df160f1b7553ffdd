"""Held-out batches for a method that learns from them while it trains; read only when asked for.

Batches for training and evaluation are made in `batch`; when to look at held-out ones is the method's affair.
"""

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass

from surefoot.data.batch import Batch, Batches, DataConfig, evaluation_batches, training_batches
from surefoot.data.images import ImageSpec
from surefoot.data.task import Split

WORTH_WORKERS = 8  # batches: for fewer, processes that read images would cost more than they save


class HeldOut:
    """Held-out batches; of this one there are none. Its length is the number of images."""

    def __len__(self) -> int:
        return 0

    def once(self) -> Iterator[Batch]:
        """Every image once, in order."""
        return iter(())

    def shuffled(self, count: int, *, start: int) -> Iterator[Batch]:  # noqa: ARG002
        """`count` batches of an endless shuffled stream, from its batch `start` on: equal after a resume."""
        return iter(())


NOTHING = HeldOut()


@dataclass(frozen=True)
class HeldOutSplit(HeldOut):
    """A split through the evaluation transform, the same on every process; `place` puts a batch on the device."""

    split: Split
    spec: ImageSpec
    config: DataConfig
    batch_size: int
    seed: int
    place: Callable[[Batch], Batch]

    def __len__(self) -> int:
        return len(self.split)

    def once(self) -> Iterator[Batch]:
        with closing(evaluation_batches(self.split, self.spec, self.config)) as batches:
            yield from map(self.place, batches)

    def shuffled(self, count: int, *, start: int) -> Iterator[Batch]:
        with closing(self._endless(start, workers=self.config.workers if count >= WORTH_WORKERS else 0)) as batches:
            yield from (self.place(batch) for batch, _ in zip(batches, range(count), strict=False))

    def _endless(self, start: int, *, workers: int) -> Batches:
        config = self.config.model_copy(update={"workers": workers, "balance": "none"})  # images as they are
        size, seed = self.batch_size, self.seed
        return training_batches(
            self.split, self.spec, config, batch_size=size, seed=seed, start_step=start, augment=False
        )
