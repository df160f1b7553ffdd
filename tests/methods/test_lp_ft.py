from collections.abc import Iterator, Mapping

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from surefoot.backbones.base import load_backbone
from surefoot.checkpoint import TrainState
from surefoot.data.batch import Batch
from surefoot.data.prompts import Prompts
from surefoot.engine.train import EngineConfig, build_fabric, fit
from surefoot.methods.base import Stage
from surefoot.methods.linear_probe import LinearProbe
from surefoot.methods.lp_ft import LPFT

PROMPTS = Prompts(("red", "green", "blue"), ("a {}", "a picture of a {}"), ("a bright {}",))
ENGINE = EngineConfig(batch_size=6, epochs=6, lr=1e-3, precision="32", accelerator="cpu", clip_norm=1.0)
COUNT = 12
IMAGES = torch.randn(COUNT, 3, 16, 16, generator=torch.Generator().manual_seed(0))
TOWER = "backbone.image."


def batches(stage: Stage, *, start: int) -> Iterator[Batch]:
    while True:
        index = torch.arange(start * 6, start * 6 + 6) % COUNT
        none = torch.full_like(index, -1)
        yield Batch(IMAGES[index], index % 3, none, index, none if not stage.augment else 0 * none)
        start += 1


def make(**options: object) -> LPFT:
    return LPFT(LPFT.Config.model_validate(options), load_backbone("tiny"), PROMPTS)


def tensors(method: LPFT) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in method.state_dict().items()}


def moved(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> set[str]:
    return {name for name in one if not torch.equal(one[name], other[name])}


def train(method: LPFT) -> tuple[list[dict[str, Tensor]], list[int]]:
    """The weights at the end of each stage, and the stage of each step."""
    ends: list[dict[str, Tensor]] = []
    stages: list[int] = []

    def look(state: TrainState, steps: int, optimizer: torch.optim.Optimizer, terms: Mapping[str, Tensor]) -> None:
        stages.append(state.stage)
        if state.step == steps:
            ends.append(tensors(method))

    fit(build_fabric(ENGINE), method, batches, ENGINE, TrainState(), images=COUNT, seed=0, on_look=look)
    return ends, stages


def test_the_first_stage_moves_the_head_alone_and_the_second_tower_and_head() -> None:
    method = make()
    before = tensors(method)
    (first, second), _ = train(method)
    assert moved(before, first) == {"head.weight", "head.bias"}
    assert moved(first, second) == {name for name in first if name.startswith((TOWER, "head."))} - {"head.scale"}


def test_a_third_of_the_steps_goes_to_the_head_alone() -> None:
    _, stages = train(make())
    assert stages == [0] * 4 + [1] * 8


def test_the_share_and_the_rate_of_the_first_stage_can_be_set() -> None:
    first, second = make(probe_share=0.75, probe_lr_multiple=7).stages
    assert (first.share, first.lr, second.share, second.lr) == (0.75, 7.0, 0.25, 1.0)


def test_the_first_stage_looks_at_uncropped_images_and_the_second_at_crops() -> None:
    assert [stage.augment for stage in make().stages] == [False, True]


def test_the_first_stage_is_a_linear_probe_with_the_same_head() -> None:
    config = LinearProbe.Config(head="linear")
    probe = LinearProbe(config, load_backbone("tiny"), PROMPTS)
    engine = ENGINE.model_copy(update={"epochs": 2})
    fit(
        build_fabric(engine), probe, batches, engine, TrainState(), images=COUNT, seed=0,
        on_look=lambda *_: None,
    )  # fmt: skip
    (first, _), _ = train(make())
    assert torch.equal(first["head.weight"], probe.head.weight)
    assert torch.equal(first["head.bias"], probe.head.bias)


def test_in_the_first_stage_each_image_goes_through_the_tower_once() -> None:
    method = make()
    seen: list[int] = []
    method.frozen._teacher[0].tower.patches.register_forward_hook(lambda _, inputs, __: seen.append(len(inputs[0])))
    method.backbone.image.patches.register_forward_hook(lambda *_: seen.append(-1))
    _, stages = train(method)
    assert seen == [6, 6] + [-1] * stages.count(1)


def test_it_starts_from_a_random_linear_layer_on_raw_features() -> None:
    method = make()
    assert method.head.convention == "linear"
    with torch.no_grad():
        raw = method.backbone.image.raw(IMAGES)
        torch.testing.assert_close(method.classifier()(IMAGES), raw @ method.head.weight.T + method.head.bias)


def test_from_the_zero_shot_head_it_is_another_baseline_by_name() -> None:
    assert make(head="scaled").head.convention == "scaled"


@pytest.mark.parametrize("share", [0, 1, -0.5])
def test_a_share_that_leaves_a_stage_without_steps_is_refused(share: float) -> None:
    with pytest.raises(ValidationError):
        make(probe_share=share)
