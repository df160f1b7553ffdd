import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor
from torch.nn import functional as F

import surefoot
from surefoot.backbones.base import load_backbone
from surefoot.data.batch import Batch
from surefoot.data.held_out import NOTHING, HeldOut
from surefoot.data.prompts import Prompts
from surefoot.methods._projection import change_of, project_all
from surefoot.methods.base import Method, Progress
from surefoot.methods.fine_tune import FineTune
from surefoot.methods.tpgm import TPGM, loss_slope

PROMPTS = Prompts(("red", "green", "blue"), ("a {}", "a picture of a {}"), ("a bright {}",))
STEPS = 6


def batch(count: int = 6, *, seed: int = 0) -> Batch:
    images = torch.randn(count, 3, 16, 16, generator=torch.Generator().manual_seed(seed))
    none = torch.full((count,), -1)
    return Batch(images, torch.arange(count) % 3, none, torch.arange(count), none)


class Stream(HeldOut):
    """Batch k is drawn from seed 100 + k; notes which were read."""

    def __init__(self) -> None:
        self.read: list[int] = []

    def __len__(self) -> int:
        return 5

    def shuffled(self, count: int, *, start: int) -> Iterator[Batch]:
        for number in range(start, start + count):
            self.read.append(number)
            yield batch(5, seed=100 + number)


def make(**options: object) -> TPGM:
    return TPGM(TPGM.Config.model_validate(options), load_backbone("tiny"), PROMPTS)


def train(method: Method, held_out: HeldOut, *, begin: int = 0, end: int = STEPS) -> None:
    optimizer = torch.optim.SGD(method.train_only(method.stages[0].train).values(), lr=0.05)
    method.train()
    for step in range(begin, end):
        progress = Progress(step, STEPS, 0, 1)
        torch.stack(list(method(batch(seed=step), progress).values())).sum().backward()
        optimizer.step()
        method.after_step(progress)
        method.consult(held_out, progress)
        optimizer.zero_grad()


def tower(method: Method) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in method.backbone.image.named_parameters()}


def length_by_hand(change: Tensor, norm: str) -> Tensor:
    if norm == "l2":
        return change.norm()
    if change.dim() == 4:
        return change.abs().sum((1, 2, 3), keepdim=True)
    return change.abs().sum(1, keepdim=True) if change.dim() == 2 else change.abs()


@pytest.mark.parametrize("norm", ["l2", "mars"])
@pytest.mark.parametrize("shape", [(3, 4), (2, 3, 2, 2), (5,), ()])
def test_a_tensor_is_projected_as_written_by_hand(norm: str, shape: tuple[int, ...]) -> None:
    draw = torch.Generator().manual_seed(0)
    start, weight = torch.randn(shape, generator=draw), torch.randn(shape, generator=draw)
    length = length_by_hand(weight - start, norm)
    radius = 0.7 * length.max()
    expected = start + (radius / length).clamp(max=1) * (weight - start)
    found = project_all({"weight": change_of(weight, start, norm)}, radius.reshape(1))["weight"]
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("norm", ["l2", "mars"])
def test_a_lesson_is_adam_on_the_loss_of_the_projected_model(norm: str) -> None:
    method = make(norm=norm, iterations=3)
    plain = FineTune(FineTune.Config(), load_backbone("tiny"), PROMPTS)
    train(method, Stream())
    train(plain, NOTHING)
    starts, ends = tower(make()), tower(plain)
    lengths = {name: length_by_hand(ends[name] - starts[name], norm) for name in ends}
    radii = {name: (length.min() / 2).clamp(min=1e-8).requires_grad_() for name, length in lengths.items()}
    optimizer = torch.optim.Adam(radii.values(), lr=1e-2)

    def project(model: Method) -> dict[str, Tensor]:
        for name, radius in radii.items():
            radius.data.clamp_(max=lengths[name].max()).clamp_(min=1e-8)
        ratios = {name: (radius / (lengths[name] + 1e-8)).clamp(max=1) for name, radius in radii.items()}
        return {name: starts[name] + ratio * (ends[name] - starts[name]) for name, ratio in ratios.items()}

    for number in range(3):
        given = batch(5, seed=100 + number)
        model = copy.deepcopy(plain).eval()
        changed = project(model)
        for name, tensor in changed.items():
            module, _, leaf = name.rpartition(".")
            part = model.backbone.image.get_submodule(module)
            delattr(part, leaf)
            setattr(part, leaf, tensor)
        optimizer.zero_grad()
        F.cross_entropy(model.head(model.backbone.image.raw(given.images)), given.labels).backward()
        optimizer.step()
    for name, tensor in project(plain).items():
        torch.testing.assert_close(tower(method)[name], tensor.detach(), rtol=1e-4, atol=1e-6)
    assert torch.equal(method.head.weight, plain.head.weight)


def test_before_anything_is_learned_the_radii_are_half_and_the_tower_is_wise_ft() -> None:
    method, plain = make(iterations=1, radius_lr=1e-12), FineTune(FineTune.Config(), load_backbone("tiny"), PROMPTS)
    train(method, Stream())
    train(plain, NOTHING)
    starts, ends = tower(make()), tower(plain)
    for name, value in tower(method).items():
        torch.testing.assert_close(value, (starts[name] + ends[name]) / 2, rtol=1e-4, atol=1e-6)


def test_until_the_first_lesson_training_is_that_of_fine_tuning() -> None:
    method, plain = make(iterations=1), FineTune(FineTune.Config(), load_backbone("tiny"), PROMPTS)
    train(method, Stream(), end=STEPS - 1)
    train(plain, NOTHING, end=STEPS - 1)
    assert all(torch.equal(value, tower(plain)[name]) for name, value in tower(method).items())


def test_with_every_share_0_each_step_learns_from_the_next_batches() -> None:
    held_out = Stream()
    train(make(every_share=0, iterations=2), held_out)
    assert held_out.read == list(range(2 * STEPS))


def test_lessons_come_at_their_share_of_the_steps_and_at_the_end() -> None:
    held_out, method = Stream(), make(every_share=0.6, iterations=3)  # after steps 4 and 6
    train(method, held_out, end=4)
    assert held_out.read == [0, 1, 2]
    before = method.learned.clone()
    train(method, held_out, begin=4, end=5)
    assert torch.equal(method.learned, before)
    train(method, held_out, begin=5)
    assert held_out.read == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("norm", ["l2", "mars"])
def test_after_the_first_lesson_no_step_leaves_the_radii(norm: str) -> None:
    method = make(norm=norm, every_share=0.5, iterations=1)
    starts = tower(method)
    for step in range(STEPS):
        train(method, Stream(), begin=step, end=step + 1)
        for (name, value), radius in zip(tower(method).items(), method.learned[0], strict=True):
            if step >= 2:
                assert length_by_hand(value - starts[name], norm).max() <= radius * 1.001 + 1e-5, name


def test_it_goes_on_between_two_lessons_where_it_was_stopped() -> None:
    options = {"every_share": 0.34, "iterations": 2}
    whole, stopped, resumed = make(**options), make(**options), make(**options)
    train(whole, Stream())
    train(stopped, Stream(), end=3)
    resumed.load_state_dict(copy.deepcopy(stopped.state_dict()))
    train(resumed, Stream(), begin=3)
    expected = whole.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in resumed.state_dict().items())


def test_a_large_batch_goes_through_in_parts_with_the_same_slope() -> None:
    method = make(iterations=1)
    train(method, Stream(), end=STEPS - 1)
    changes, model, given = method.changes(), method.model().eval(), batch(150, seed=9)
    radii = torch.stack([length.max() / 3 for _, _, length in changes.values()])
    asked = radii.clone().requires_grad_()
    logits = torch.func.functional_call(model, project_all(changes, asked), (given.images,))
    (expected,) = torch.autograd.grad(F.cross_entropy(logits, given.labels), asked)
    torch.testing.assert_close(loss_slope(model, changes, radii, given), expected, rtol=1e-4, atol=1e-6)


def test_a_lesson_leaves_gradients_modes_and_the_stream_of_random_numbers_alone() -> None:
    method = make(iterations=1)
    train(method, Stream(), end=STEPS - 1)
    before = torch.get_rng_state()
    method.consult(Stream(), Progress(STEPS - 1, STEPS, 0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    assert method.backbone.image.training
    assert all(parameter.grad is None for parameter in method.parameters())


def test_the_head_is_projected_too_if_asked() -> None:
    alone, both = make(iterations=1, radius_lr=1e-12), make(iterations=1, radius_lr=1e-12, projects="tower_and_head")
    for method in (alone, both):
        train(method, Stream())
    torch.testing.assert_close(both.head.weight, (alone.head.weight + make().head.weight) / 2, rtol=1e-4, atol=1e-6)


def test_without_validation_images_it_says_so_at_the_first_step() -> None:
    with pytest.raises(ValueError, match=r"method=tpgm learns from validation images, but there are none; give the"):
        train(make(), NOTHING, end=1)


def test_a_run_says_that_validation_chose(squares: Path, quick: dict[str, Any], tmp_path: Path) -> None:
    run = surefoot.train(tmp_path, {**quick, "method": "tpgm", "method.iterations": 2})
    assert run.results["selected_on"] == "validation"


def test_the_start_is_not_saved_and_the_radii_are() -> None:
    names = make().state_dict().keys()
    assert "learned" in names
    assert not any(name.startswith("start") for name in names)


@pytest.mark.parametrize(
    "options",
    [
        {"norm": "l1"},
        {"iterations": 0},
        {"every_share": -0.1},
        {"every_share": 1.1},
        {"radius_lr": 0},
        {"projects": "head"},
    ],
)
def test_an_option_out_of_range_is_refused(options: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match=next(iter(options))):
        make(**options)


def test_a_random_head_cannot_be_projected() -> None:
    with pytest.raises(
        ValueError, match=r"method\.head=linear has no pre-trained start .*; set method\.projects=tower"
    ):
        make(head="linear", projects="tower_and_head")
    assert make(head="linear")
