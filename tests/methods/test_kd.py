import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from surefoot.backbones.base import load_backbone
from surefoot.classifier import Classifier
from surefoot.data.batch import Batch
from surefoot.data.prompts import Prompts
from surefoot.methods.base import Progress
from surefoot.methods.kd import KD

PROMPTS = Prompts(("red", "green", "blue"), ("a {}", "a picture of a {}"), ("a bright {}",))
START = Progress(0, 10, 0, 2)


def batch(count: int = 6) -> Batch:
    images = torch.randn(count, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    none = torch.full((count,), -1)
    return Batch(images, torch.arange(count) % 3, none, torch.arange(count), none)


def make(**options: object) -> KD:
    return KD(KD.Config.model_validate(options), load_backbone("tiny"), PROMPTS)


def moved(method: KD) -> KD:
    """The method after a step on the cross-entropy alone."""
    optimizer = torch.optim.SGD(method.train_only(method.stages[0].train).values(), lr=1.0)
    method(batch(), START)["cross_entropy"].backward()
    optimizer.step()
    optimizer.zero_grad()
    return method


def numbers(tensor: Tensor) -> np.ndarray:
    return tensor.detach().double().numpy()


def log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


@pytest.mark.parametrize("temperature", [1.0, 4.0])
@pytest.mark.parametrize("head", ["scaled", "unit"])
def test_the_logit_term_is_the_kl_written_by_hand(head: str, temperature: float) -> None:
    method, given = moved(make(weight=0.5, temperature=temperature, head=head)), batch()
    zero_shot = Classifier.zero_shot(load_backbone("tiny"), PROMPTS)
    log_p = log_softmax(numbers(zero_shot(given.images)) / temperature)
    log_q = log_softmax(numbers(method.classifier()(given.images)) / temperature)
    expected = 0.5 * temperature**2 * (np.exp(log_p) * (log_p - log_q)).sum(-1).mean()
    assert expected > 1e-6
    assert method(given, START)["distillation"].item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("form", ["features", "raw_features"])
def test_the_feature_term_is_the_squared_distance_written_by_hand(form: str) -> None:
    method, given = moved(make(weight=0.5, form=form)), batch()
    student, teacher = (
        numbers(backbone.image.raw(given.images)) for backbone in (method.backbone, load_backbone("tiny"))
    )
    if form == "features":
        student, teacher = (rows / np.linalg.norm(rows, axis=-1, keepdims=True) for rows in (student, teacher))
    expected = 0.5 * ((student - teacher) ** 2).sum(-1).mean()
    assert expected > 1e-6
    assert method(given, START)["distillation"].item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("form", ["logits", "features", "raw_features"])
@pytest.mark.parametrize("head", ["scaled", "unit"])
def test_before_training_the_term_and_its_gradient_are_exactly_zero(form: str, head: str) -> None:
    method = make(form=form, head=head)
    training = method.train_only(method.stages[0].train)
    term = method(batch(), START)["distillation"]
    assert term.item() == 0
    found = torch.autograd.grad(term, list(training.values()), materialize_grads=True)
    assert all((gradient == 0).all() for gradient in found)


def test_the_teacher_is_zero_shot_also_where_the_head_starts_at_random() -> None:
    method = make(head="linear")
    assert method.term.teacher_head.convention == "scaled"
    assert method(batch(), START)["distillation"] > 0


@pytest.mark.parametrize("options", [{"weight": -1}, {"temperature": 0}, {"form": "layers"}])
def test_an_option_out_of_range_is_refused(options: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        make(**options)
