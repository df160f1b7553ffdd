import pytest
import torch
from torch import Tensor

from surefoot.backbones.base import load_backbone
from surefoot.classifier import Classifier, Convention
from surefoot.data.batch import Batch
from surefoot.data.prompts import Prompts
from surefoot.methods.base import Method, Progress
from surefoot.methods.fine_tune import FineTune
from surefoot.methods.wise_ft import WiSEFT

PROMPTS = Prompts(("red", "green", "blue"), ("a {}", "a picture of a {}"), ("a bright {}",))


def batch(count: int = 6) -> Batch:
    images = torch.randn(count, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    none = torch.full((count,), -1)
    return Batch(images, torch.arange(count) % 3, none, torch.arange(count), none)


def make(alpha: float, head: Convention = "scaled") -> WiSEFT:
    return WiSEFT(WiSEFT.Config(alpha=alpha, head=head), load_backbone("tiny"), PROMPTS)


def trained(method: Method) -> Method:
    optimizer = torch.optim.AdamW(method.train_only(method.stages[0].train).values(), lr=1e-2)
    for step in range(4):
        torch.stack(list(method(batch(), Progress(step, 4, 0, 1)).values())).sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    return method


def weights(method: Method) -> dict[str, Tensor]:
    """Those of the classifier."""
    return {name: value.clone() for name, value in method.classifier().state_dict().items()}


def fine_tuned(head: Convention = "scaled") -> Method:
    return trained(FineTune(FineTune.Config(head=head), load_backbone("tiny"), PROMPTS))


def zero_shot(head: Convention = "scaled") -> Classifier:
    return Classifier.zero_shot(load_backbone("tiny"), PROMPTS, convention=head)


@pytest.mark.parametrize("head", ["scaled", "unit"])
@pytest.mark.parametrize("alpha", [0.1, 0.5, 0.9])
def test_the_end_is_the_average_of_zero_shot_and_fine_tuned_weights(alpha: float, head: Convention) -> None:
    method = trained(make(alpha, head))
    method.finalize()
    start, end = zero_shot(head).state_dict(), weights(fine_tuned(head))
    for name, value in weights(method).items():
        wanted = ((1 - alpha) * start[name].double() + alpha * end[name].double()).float()
        torch.testing.assert_close(value, wanted, rtol=1e-6, atol=1e-7)
        if name.startswith("backbone.text.") or name == "backbone.log_scale":
            assert torch.equal(value, start[name])


def test_at_alpha_0_predictions_are_bit_for_bit_those_of_zero_shot() -> None:
    method = trained(make(0.0))
    method.finalize()
    with torch.no_grad():
        assert torch.equal(method.classifier()(batch().images), zero_shot()(batch().images))


def test_at_alpha_1_it_is_bit_for_bit_fine_tuning() -> None:
    method = trained(make(1.0))
    method.finalize()
    expected = weights(fine_tuned())
    assert all(torch.equal(value, expected[name]) for name, value in weights(method).items())


def test_training_is_that_of_fine_tuning_whatever_alpha_is() -> None:
    expected = weights(fine_tuned())
    assert all(torch.equal(value, expected[name]) for name, value in weights(trained(make(0.3))).items())


def test_the_start_is_kept_out_of_the_checkpoint_and_of_what_trains() -> None:
    wise, plain = make(0.5), FineTune(FineTune.Config(), load_backbone("tiny"), PROMPTS)
    assert wise.state_dict().keys() == plain.state_dict().keys()
    assert wise.train_only(wise.stages[0].train).keys() == plain.train_only(plain.stages[0].train).keys()


def test_a_linear_head_is_refused_before_anything_trains() -> None:
    with pytest.raises(ValueError, match=r"method\.head=linear has no zero-shot weights .*; choose scaled or unit"):
        make(0.5, "linear")
