from pathlib import Path

import torch

from surefoot.data.batch import Batch, DataConfig
from surefoot.data.held_out import NOTHING, HeldOutSplit
from surefoot.data.images import ImageSpec
from surefoot.run import load_task


def held_out(squares: Path) -> HeldOutSplit:
    split = load_task("folder", options={"root": str(squares)}).validation
    spec = ImageSpec(size=16, mean=(0.5,) * 3, std=(0.5,) * 3, resize=16)
    return HeldOutSplit(split, spec, DataConfig(workers=0, eval_batch_size=2), 4, 0, lambda batch: batch)


def test_once_gives_every_image_once_in_order_through_the_evaluation_transform(squares: Path) -> None:
    images = held_out(squares)
    seen = list(images.once())
    assert torch.cat([batch.index for batch in seen]).tolist() == list(range(len(images.split)))
    assert all((batch.view == -1).all() for batch in seen)


def test_shuffled_goes_on_where_it_is_told_to(squares: Path) -> None:
    images = held_out(squares)
    whole = list(images.shuffled(5, start=0))
    assert [len(batch.index) for batch in whole] == [4] * 5
    assert whole[0].index.tolist() != [0, 1, 2, 3]
    later = list(images.shuffled(2, start=3))
    assert all(same(one, other) for one, other in zip(whole[3:], later, strict=True))


def test_nothing_held_out_is_no_batch() -> None:
    assert list(NOTHING.once()) == list(NOTHING.shuffled(3, start=0)) == []


def same(one: Batch, other: Batch) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one[:5], other[:5], strict=True))
