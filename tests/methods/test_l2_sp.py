import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from surefoot.backbones.base import load_backbone
from surefoot.data.batch import Batch
from surefoot.data.prompts import Prompts
from surefoot.methods.base import Progress
from surefoot.methods.l2_sp import L2SP

PROMPTS = Prompts(("red", "green", "blue"), ("a {}", "a picture of a {}"), ("a bright {}",))
START = Progress(0, 10, 0, 2, lr=0.1)


def batch(count: int = 6) -> Batch:
    images = torch.randn(count, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    none = torch.full((count,), -1)
    return Batch(images, torch.arange(count) % 3, none, torch.arange(count), none)


def make(**options: object) -> L2SP:
    return L2SP(L2SP.Config.model_validate(options), load_backbone("tiny"), PROMPTS)


def pushed(method: L2SP) -> L2SP:
    """Every weight of the image tower, the head and the text tower 0.5 larger."""
    with torch.no_grad():
        for parameter in method.parameters():
            parameter += 0.5
    return method


def tower(method: L2SP) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in method.backbone.image.named_parameters()}


def test_the_distance_is_a_plain_sum_of_squares_over_the_image_tower() -> None:
    method = pushed(make(weight=0.2))
    count = sum(value.numel() for value in tower(method).values())
    assert method(batch(), START)["distance"].item() == pytest.approx(0.2 * 0.25 * count, rel=1e-4)


def test_before_training_the_distance_and_its_gradient_are_exactly_zero() -> None:
    method = make()
    method.train_only(method.stages[0].train)
    term = method(batch(), START)["distance"]
    assert term.item() == 0
    assert all((g == 0).all() for g in torch.autograd.grad(term, list(method.backbone.image.parameters())))


def test_the_decoupled_pull_goes_a_part_of_the_way_back_after_the_step() -> None:
    method, start = pushed(make(form="decoupled", weight=2.0)), tower(make())
    head = method.head.weight.detach().clone()
    before = tower(method)
    assert method(batch(), START).keys() == {"cross_entropy"}
    method.after_step(START)  # lr * weight = 0.2
    for name, value in tower(method).items():
        torch.testing.assert_close(value, before[name] - 0.2 * (before[name] - start[name]))
    assert torch.equal(method.head.weight, head)


def test_a_pull_beyond_the_start_ends_there() -> None:
    method, start = pushed(make(form="decoupled", weight=100.0)), tower(make())
    method.after_step(START)
    assert all(torch.equal(value, start[name]) for name, value in tower(method).items())


def test_in_the_loss_form_nothing_moves_outside_the_optimizer() -> None:
    method = pushed(make())
    before = tower(method)
    method.after_step(START)
    assert all(torch.equal(value, before[name]) for name, value in tower(method).items())


def test_the_start_is_not_saved_and_weights_are_not_decayed_besides() -> None:
    assert not any(name.startswith("start") for name in make().state_dict())
    assert L2SP.recommended == {"engine.weight_decay": 0.0, "engine.clip_norm": 1.0}


@pytest.mark.parametrize("options", [{"weight": -1}, {"form": "both"}])
def test_an_option_out_of_range_is_refused(options: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        make(**options)
