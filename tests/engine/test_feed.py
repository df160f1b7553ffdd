"""Batches on their way to the device, and that a step fetches nothing back from it."""

from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
import torch

from surefoot import plugins
from surefoot.backbones.base import load_backbone
from surefoot.config import resolve
from surefoot.data.batch import Batch
from surefoot.data.prompts import Prompts
from surefoot.engine.feed import Feed
from surefoot.engine.train import EngineConfig, build_fabric
from surefoot.methods.base import Method, Progress

PROMPTS = Prompts(("red", "green", "blue"), ("a {}", "one {}"), ("a bright {}", "a dark {}"))


def batch(count: int = 6) -> Batch:
    draw = torch.Generator().manual_seed(0)
    labels, index = torch.arange(count) % 3, torch.arange(count)
    images = torch.randn(count, 3, 16, 16, generator=draw)
    return Batch(images, labels, torch.full((count,), -1), index, torch.zeros_like(index))


def nowhere(given: Batch) -> Batch:
    """On the meta device, which keeps no numbers: reading one is an error, as it is a wait on a GPU."""
    return Batch(*(tensor.to("meta") for tensor in given[:5]))


def make(name: str) -> Method:
    choice: Any = resolve({"method": name}).method
    method: Method = choice.plugin(choice.options, load_backbone("tiny"), PROMPTS)
    return method


def test_what_is_looked_up_by_a_batch_stays_on_the_host() -> None:
    given = batch()
    moved = given.placed(nowhere)
    assert {tensor.device.type for tensor in moved[:5]} == {"meta"}
    for found, expected in zip(moved.on_host(), (given.labels, given.index, given.view), strict=True):
        np.testing.assert_array_equal(found, expected.numpy())
    again = moved.placed(nowhere)
    assert all(one is other for one, other in zip(again.host, moved.host, strict=True))


def test_a_feed_gives_the_batches_in_order_and_reads_none_ahead() -> None:
    read = []

    def stream() -> Any:
        for number in range(3):
            read.append(number)
            yield batch(number + 1)

    feed = Feed.to(build_fabric(EngineConfig(accelerator="cpu")), stream())
    for number in range(3):
        assert len(next(feed).labels) == number + 1
        assert read == list(range(number + 1))
    with pytest.raises(StopIteration):
        next(feed)


@pytest.mark.parametrize("name", plugins.names("methods"))
def test_no_method_fetches_anything_from_the_device_in_a_step(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # which does not know the meta device
    method = make(name)
    for number, stage in enumerate(method.stages):
        given = batch()._replace(view=torch.full((6,), 0 if stage.augment else -1))
        method.to_empty(device="cpu")
        method(given, Progress(1, 10, 0, 2, number))  # fills the memory of teachers that always have one
        method.to("meta")
        training = method.train_only(stage.train)
        terms = method(given.placed(nowhere), Progress(1, 10, 0, 2, number))
        torch.stack(list(terms.values())).sum().backward()
        assert all(parameter.grad is not None for parameter in training.values())
        method.after_step(Progress(1, 10, 0, 2, number))


def test_a_batch_that_was_not_placed_would_be_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())
    with pytest.raises((NotImplementedError, RuntimeError)):
        make("flyp").to("meta")(nowhere(batch()), Progress(1, 10, 0, 2))
