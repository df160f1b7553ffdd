import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from surefoot.backbones.base import load_backbone
from surefoot.classifier import Classifier
from surefoot.data.batch import Batch
from surefoot.data.prompts import Prompts
from surefoot.methods.base import Method, Progress
from surefoot.methods.ema import EMA
from surefoot.methods.fine_tune import FineTune

PROMPTS = Prompts(("red", "green", "blue"), ("a {}", "a picture of a {}"), ("a bright {}",))
STEPS = 4


def batch(count: int = 6) -> Batch:
    images = torch.randn(count, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    none = torch.full((count,), -1)
    return Batch(images, torch.arange(count) % 3, none, torch.arange(count), none)


def make(momentum: float) -> EMA:
    return EMA(EMA.Config(momentum=momentum), load_backbone("tiny"), PROMPTS)


def trained(method: Method) -> list[dict[str, Tensor]]:
    """Trains a method to its end; the classifier's weights before and after each step."""
    optimizer = torch.optim.AdamW(method.train_only(method.stages[0].train).values(), lr=1e-2)
    seen = [weights(method)]
    for step in range(STEPS):
        torch.stack(list(method(batch(), Progress(step, STEPS, 0, 1)).values())).sum().backward()
        optimizer.step()
        method.after_step(Progress(step, STEPS, 0, 1))
        optimizer.zero_grad()
        seen.append(weights(method))
    method.finalize()
    return seen


def weights(method: Method) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in method.classifier().state_dict().items()}


def test_the_end_is_the_average_of_all_steps_from_the_zero_shot_model_on() -> None:
    method = make(0.7)
    seen = trained(method)
    shares = [0.7**STEPS, *(0.3 * 0.7 ** (STEPS - step) for step in range(1, STEPS + 1))]
    assert sum(shares) == pytest.approx(1)
    for name, value in weights(method).items():
        wanted = sum(share * at[name].double() for share, at in zip(shares, seen, strict=True))
        torch.testing.assert_close(value.double(), wanted, rtol=1e-5, atol=1e-6)


def test_training_is_that_of_fine_tuning_and_momentum_0_is_fine_tuning() -> None:
    plain = FineTune(FineTune.Config(), load_backbone("tiny"), PROMPTS)
    expected = trained(plain)
    for momentum in (0.0, 0.7):
        for ours, theirs in zip(trained(make(momentum)), expected, strict=True):
            assert all(torch.equal(value, theirs[name]) for name, value in ours.items())
    method = make(0.0)
    trained(method)
    assert all(torch.equal(value, expected[-1][name]) for name, value in weights(method).items())


def test_momentum_1_is_the_zero_shot_model_bit_for_bit() -> None:
    method = make(1.0)
    trained(method)
    with torch.no_grad():
        expected = Classifier.zero_shot(load_backbone("tiny"), PROMPTS)(batch().images)
        assert torch.equal(method.classifier()(batch().images), expected)


def test_the_average_is_saved_and_never_trains() -> None:
    method = make(0.9)
    assert {"average_head.weight", "average_image.projection.weight"} <= method.state_dict().keys()
    assert not any(name.startswith("average") for name in method.train_only(("",)))


@pytest.mark.parametrize("momentum", [-0.1, 1.1])
def test_a_momentum_out_of_range_is_refused(momentum: float) -> None:
    with pytest.raises(ValidationError):
        make(momentum)
