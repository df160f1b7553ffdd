"""How towers go through a batch: in parts that are computed twice, and compiled."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from surefoot.backbones.base import Backbone, ImageTower, load_backbone
from surefoot.checkpoint import TrainState
from surefoot.config import resolve
from surefoot.data.batch import Batch
from surefoot.data.prompts import Prompts
from surefoot.engine.towers import towers_told
from surefoot.engine.train import EngineConfig, build_fabric, fit
from surefoot.methods.base import Method, Progress, Stage

PROMPTS = Prompts(("red", "blue"), ("{}", "a {}"), ("a bright {}", "a dark {}"))


class Forgetful(ImageTower):
    """A linear map of pixels, half of which are dropped; remembers how many rows it saw at a time."""

    dim = 4

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.drop = nn.Linear(12, 4), nn.Dropout()
        self.rows: list[int] = []

    @property
    def output_weight(self) -> Tensor:
        return self.linear.weight.T

    def raw(self, images: Tensor) -> Tensor:
        self.rows.append(len(images))
        features: Tensor = self.linear(self.drop(images.flatten(1)))
        return features


def gradient(tower: Forgetful, features: Tensor) -> Tensor:
    tower.zero_grad()
    features.square().sum().backward()
    assert tower.linear.weight.grad is not None
    return tower.linear.weight.grad.clone()


def test_what_was_dropped_the_first_time_is_dropped_the_second_time() -> None:
    tower, images = Forgetful(), torch.randn(5, 3, 2, 2)
    torch.manual_seed(1)
    kept = torch.cat([tower.raw(part) for part in images.split(2)])
    expected = gradient(tower, kept)
    torch.manual_seed(1)
    with towers_told(tower, micro_batch=2, compiled=False):
        cached = tower.raw(images)
        torch.rand(7)  # the loss draws too
        found = gradient(tower, cached)
    assert torch.equal(cached, kept)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=0)


def test_each_part_is_computed_once_more_on_the_way_back_and_never_two_at_a_time() -> None:
    tower, images = Forgetful(), torch.randn(5, 3, 2, 2)
    with towers_told(tower, micro_batch=2, compiled=False):
        features = tower.raw(images)
        assert tower.rows == [2, 2, 1]
        gradient(tower, features)
    assert sorted(tower.rows) == [1, 1, 2, 2, 2, 2]


def test_without_a_gradient_nothing_is_computed_twice() -> None:
    tower = Forgetful()
    with towers_told(tower, micro_batch=2, compiled=False), torch.no_grad():
        tower.raw(torch.randn(4, 3, 2, 2))
    assert tower.rows == [2, 2]


def test_afterwards_the_towers_are_as_they_were() -> None:
    tower = Forgetful()
    with pytest.raises(ZeroDivisionError), towers_told(tower, micro_batch=2, compiled=True):
        raise ZeroDivisionError
    tower.raw(torch.randn(4, 3, 2, 2))
    assert tower.rows == [4]


def make(name: str, backbone: Backbone) -> Method:
    choice: Any = resolve({"method": name}).method
    method: Method = choice.plugin(choice.options, backbone, PROMPTS)
    method.train_only(method.stages[0].train)
    return method


def batch(count: int) -> Batch:
    draw = torch.Generator().manual_seed(0)
    labels, index = torch.arange(count) % 2, torch.arange(count)
    images = torch.randn(count, 3, 16, 16, generator=draw)
    return Batch(images, labels, torch.full((count,), -1), index, torch.zeros_like(index))


def test_blocks_may_be_computed_again_inside_the_parts(clip_folder: Any) -> None:
    plain, parted = (make("flyp", load_backbone(str(clip_folder))) for _ in range(2))
    parted.backbone.image.checkpoint_gradients()
    parted.backbone.text.checkpoint_gradients()
    size = plain.backbone.image_spec.size
    given = batch(6)._replace(images=torch.randn(6, 3, size, size))
    for method, micro_batch in ((plain, 0), (parted, 4)):
        with towers_told(method, micro_batch=micro_batch, compiled=False):
            torch.stack(list(method(given, Progress(0, 10, 0, 2)).values())).sum().backward()
    for one, other in zip(plain.parameters(), parted.parameters(), strict=True):
        assert one.grad is not None
        assert other.grad is not None
        assert (one.grad - other.grad).norm() <= 1e-4 * one.grad.norm() + 1e-6


def losses(name: str, **options: Any) -> list[float]:
    """Those of a few steps of the engine."""
    config = EngineConfig(batch_size=6, steps=4, lr=1e-3, precision="32", accelerator="cpu", **options)
    method, found = make(name, load_backbone("tiny")), list[float]()

    def stream(stage: Stage, *, start: int) -> Iterator[Batch]:
        while True:
            yield batch(6)

    fit(
        build_fabric(config),
        method,
        stream,
        config,
        TrainState(),
        images=6,
        seed=0,
        on_look=lambda *given: found.append(float(sum(given[3].values()))),
    )
    return found


@pytest.mark.parametrize("name", ["flyp", "star_ft", "carot", "tracer", "miro"])
def test_a_run_in_parts_has_the_losses_of_a_run_with_whole_batches(name: str) -> None:
    assert losses(name, micro_batch=2) == pytest.approx(losses(name), rel=1e-4)


@pytest.mark.parametrize("name", ["miro", "r_adapter"])
def test_methods_that_look_into_towers_are_not_compiled(name: str) -> None:
    with pytest.raises(ValueError, match=r"engine\.compile=true: .* set engine\.compile=false"):
        losses(name, compile=True)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "micro_batch"), [("fine_tune", 0), ("flyp", 4), ("carot", 0)])
def test_a_compiled_run_has_the_losses_of_one_that_is_not(name: str, micro_batch: int) -> None:
    found = losses(name, compile=True, micro_batch=micro_batch)
    assert found == pytest.approx(losses(name), rel=1e-4)
