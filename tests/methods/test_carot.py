import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from surefoot.backbones.base import Backbone, load_backbone
from surefoot.classifier import Classifier
from surefoot.data.batch import Batch
from surefoot.data.prompts import Prompts
from surefoot.methods.base import Method, Progress
from surefoot.methods.carot import CaRot
from surefoot.methods.flyp import FLYP

PROMPTS = Prompts(("red", "green", "blue"), ("a {}", "a picture of a {}"), ("a bright {}",))
RAMP = (0.05, 0.135, 0.220, 0.305, 0.390, 0.474, 0.559, 0.644, 0.729, 0.814, 0.899, 0.9)  # at 0, 500, ... of 25,030


def batch(count: int = 6) -> Batch:
    images = torch.randn(count, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    none = torch.full((count,), -1)
    return Batch(images, torch.arange(count) % 3, none, torch.arange(count), none)


def make(**options: object) -> CaRot:
    return CaRot(CaRot.Config.model_validate(options), load_backbone("tiny"), PROMPTS)


def progress(step: int, steps: int = 10) -> Progress:
    return Progress(step, steps, 0, 1)


def train(method: Method, steps: int, *, of: int = 10) -> Method:
    optimizer = torch.optim.SGD(method.train_only(method.stages[0].train).values(), lr=0.1)
    for step in range(steps):
        torch.stack(list(method(batch(), progress(step, of)).values())).sum().backward()
        optimizer.step()
        method.after_step(progress(step, of))
        optimizer.zero_grad()
    return method


def numbers(tensor: Tensor) -> np.ndarray:
    return tensor.detach().double().numpy()


def log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def logits_of(backbone: Backbone) -> np.ndarray:
    given = batch()
    texts = numbers(backbone.encode_text(PROMPTS.captions(given)))
    return backbone.scale.item() * numbers(backbone.image(given.images)) @ texts.T


def test_every_term_is_that_written_by_hand() -> None:
    method = make()
    train(method, 3)
    terms = {name: term.item() for name, term in method(batch(), progress(3)).items()}
    student, teacher = logits_of(method.backbone), logits_of(method.term.average.module)
    assert np.abs(student - teacher).max() > 1e-3
    assert method.backbone.scale != method.term.average.module.scale  # each side has its own
    contrastive = -sum(np.diag(log_softmax(z)).mean() for z in (student, student.T)) / 2
    pairs = ((student, teacher), (student.T, teacher.T))
    distillation = -sum((np.exp(log_softmax(soft)) * log_softmax(z)).sum(-1).mean() for z, soft in pairs)
    visual, textual = numbers(method.backbone.image.output_weight), numbers(method.backbone.text.output_weight)
    assert visual.shape[1] == textual.shape[1] == 32
    assert terms == pytest.approx(
        {
            "contrastive": contrastive,
            "distillation": 1.5 * distillation,
            "orthogonality": 0.2 * np.linalg.norm(visual.T @ visual - np.eye(32)),
            "cross_projection": 0.05 * np.linalg.norm(visual @ textual.T),
        },
        rel=1e-5,
    )


def test_before_training_the_distillation_has_no_gradient() -> None:
    method = make()
    training = method.train_only(method.stages[0].train)
    term = method(batch(), progress(0))["distillation"]
    found = torch.autograd.grad(term, list(training.values()), materialize_grads=True)
    assert all((gradient == 0).all() for gradient in found)


def test_without_its_terms_it_is_flyp() -> None:
    method = make(variant="v1", distillation=0)
    plain = FLYP(Method.Config(), load_backbone("tiny"), PROMPTS)
    train(method, 3)
    train(plain, 3)
    expected = plain.state_dict()
    assert all(torch.equal(value, expected[f"backbone.{key}"]) for key, value in method.backbone.state_dict().items())


def test_the_first_preprint_has_no_projection_terms() -> None:
    assert make(variant="v1")(batch(), progress(0)).keys() == {"contrastive", "distillation"}
    with pytest.raises(ValidationError, match=r"method\.variant=v1 .*method\.orthogonality=0\.3"):
        make(variant="v1", orthogonality=0.3)


def momenta(method: CaRot, steps: int) -> dict[int, float]:
    """Step -> momentum, seen from an average of 1 that follows a student of 0."""
    found = {}
    for step in range(steps):
        with torch.no_grad():
            method.term.average.module.log_scale.fill_(1.0)
            method.backbone.log_scale.fill_(0.0)
        method.after_step(progress(step, steps))
        if (value := float(method.term.average.module.log_scale.detach())) < 1:
            found[step] = value
    return found


def test_the_papers_run_has_its_51_updates_and_momenta() -> None:
    found = momenta(make(), 25_030)
    assert list(found) == list(range(0, 25_001, 500))
    assert list(found.values()) == pytest.approx([*RAMP, *[0.9] * 39], abs=6e-4)


def test_a_shorter_run_has_as_many_updates() -> None:
    found = momenta(make(), 2_503)
    assert len(found) == 51
    assert list(found.values()) == pytest.approx([*RAMP, *[0.9] * 39], abs=6e-4)


def test_updates_can_be_counted_in_steps_and_come_at_every_step_of_a_very_short_run() -> None:
    assert list(momenta(make(update_steps=4), 10)) == [0, 4, 8]
    assert list(momenta(make(), 10)) == list(range(10))


def test_the_average_is_saved_follows_to_and_never_trains() -> None:
    method = make()
    assert {f"term.average.{name}" for name in method.backbone.state_dict()} <= method.state_dict().keys()
    training = method.train_only(("",))
    assert not any(name.startswith("term.") for name in training)
    assert not any(parameter.requires_grad for parameter in method.term.average.module.parameters())
    method.train()
    assert not method.term.average.module.training
    other = make()
    train(method, 2)
    other.load_state_dict(method.state_dict())
    wanted = method.term.average.module.state_dict()
    assert all(torch.equal(value, wanted[name]) for name, value in other.term.average.module.state_dict().items())
    assert method.to(torch.float64).term.average.module.log_scale.dtype == torch.float64


def test_the_student_predicts_with_class_weights_made_anew() -> None:
    method = make()
    train(method, 3)
    assert torch.equal(method.classifier().head.weight, Classifier.zero_shot(method.backbone, PROMPTS).head.weight)


def test_the_defaults_are_the_papers() -> None:
    config = CaRot.Config()
    assert (config.distillation, config.orthogonality, config.cross_projection) == (1.5, 0.2, 0.05)
    assert (config.momentum_start, config.momentum_end, config.ramp_share) == (0.05, 0.9, 0.2)
    assert CaRot.recommended == {}


@pytest.mark.parametrize(
    "options",
    [
        {"variant": "v2"},
        {"distillation": -1},
        {"orthogonality": -0.1},
        {"momentum_start": -0.1},
        {"momentum_end": 1.1},
        {"ramp_share": 2},
        {"update_share": 0},
        {"update_steps": -1},
    ],
)
def test_an_option_out_of_range_is_refused(options: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        make(**options)
