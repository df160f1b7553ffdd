import numpy as np
import pytest
import torch
from torch import Tensor

from surefoot.backbones.base import Backbone, load_backbone
from surefoot.data.batch import Batch
from surefoot.data.prompts import Prompts
from surefoot.methods.base import Progress
from surefoot.methods.flyp import FLYP
from surefoot.methods.tracer import Tracer

PROMPTS = Prompts(("red", "green", "blue"), ("a {}", "a picture of a {}"), ("a bright {}",))
DISTILLED = ("relational", "features", "interactive", "cross")


def batch(count: int = 6) -> Batch:
    images = torch.randn(count, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    none = torch.full((count,), -1)
    return Batch(images, torch.arange(count) % 3, none, torch.arange(count), none)


def make(**options: object) -> Tracer:
    return Tracer(Tracer.Config.model_validate(options), load_backbone("tiny"), PROMPTS)


def progress(step: int) -> Progress:
    return Progress(step, 10, 0, 1)


def train(method: Tracer, steps: int) -> list[dict[str, Tensor]]:
    """Train, and give the weights of the backbone after each step, those before the first one first."""
    trajectory = [weights(method.backbone)]
    optimizer = torch.optim.SGD(method.train_only(method.stages[0].train).values(), lr=0.01)
    for step in range(steps):
        torch.stack(list(method(batch(), progress(step)).values())).sum().backward()
        optimizer.step()
        method.after_step(progress(step))
        optimizer.zero_grad()
        trajectory.append(weights(method.backbone))
    return trajectory


def weights(backbone: Backbone) -> dict[str, Tensor]:
    return {name: parameter.detach().clone() for name, parameter in backbone.named_parameters()}


def numbers(tensor: Tensor) -> np.ndarray:
    return tensor.detach().double().numpy()


def log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def kl(reference: np.ndarray, student: np.ndarray) -> float:
    log_p, log_q = log_softmax(reference), log_softmax(student)
    return float((np.exp(log_p) * (log_p - log_q)).sum(-1).mean())


def test_every_term_is_that_written_by_hand() -> None:
    method, given = make(orthogonality=0.05), batch()
    train(method, 3)
    captions = PROMPTS.captions(given)
    pairs = []
    for model in (method.backbone, method.term.average.module):
        pairs += [numbers(model.image(given.images)), numbers(model.encode_text(captions)), model.scale.item()]
    f, g, s, f0, g0, s0 = pairs
    soft, diagonal = s0 * f0 @ g0.T, np.arange(6)
    crd = (kl(soft, s * f @ g.T) + kl(soft.T, s * g @ f.T)) / 2
    fd = ((f - f0) ** 2).mean() + ((g - g0) ** 2).mean()
    icl = -(log_softmax(s * f @ g0.T)[diagonal, diagonal] + log_softmax(s * g @ f0.T)[diagonal, diagonal]).mean() / 2
    xkd = (kl(soft, s * f @ g0.T) + kl(soft.T, s * g @ f0.T)) / 2
    visual, textual = (numbers(tower.output_weight) for tower in (method.backbone.image, method.backbone.text))
    expected = {
        "relational": 0.9 * crd,
        "features": 0.9 * 2000 * fd,
        "interactive": 0.9 * icl,
        "cross": 0.9 * xkd,
        "cross_projection": 0.05 * np.linalg.norm(visual @ textual.T),
        "orthogonality": 0.05 * np.linalg.norm(visual.T @ visual - np.eye(32)),
    }
    assert min(expected.values()) > 1e-6
    found = method(given, progress(3))
    for name, value in expected.items():
        assert found[name].item() == pytest.approx(value, rel=2e-3), name
    assert found["contrastive"] == FLYP(FLYP.Config(), method.backbone, PROMPTS)(given, progress(3))["contrastive"]


def test_nothing_is_distilled_in_the_first_step() -> None:
    terms = make()(batch(), progress(0))
    assert all(terms[name] == 0 for name in DISTILLED)
    assert terms["cross_projection"] > 0


def test_before_the_weights_move_only_the_interactive_term_pulls() -> None:
    method = make()
    terms = method(batch(), progress(1))
    training = list(method.train_only(method.stages[0].train).values())
    for name in DISTILLED:
        gradients = torch.autograd.grad(terms[name], training, materialize_grads=True, retain_graph=True)
        still = max(gradient.abs().max().item() for gradient in gradients) < 1e-6
        assert still == (name != "interactive"), name


def test_the_teacher_is_the_mean_of_the_trajectory_under_the_beta_kernel() -> None:
    method = make()
    trajectory = train(method, 7)
    places = (np.arange(8) + 0.5) / 11
    kernel = (places * (1 - places)) ** -0.5  # Beta(0.5, 0.5) but for a factor
    for name, found in weights(method.term.average.module).items():
        expected = sum(k * numbers(step[name]) for k, step in zip(kernel, trajectory, strict=True)) / kernel.sum()
        np.testing.assert_allclose(numbers(found), expected, rtol=0, atol=1e-6)


def test_the_student_predicts_with_class_weights_from_its_own_texts() -> None:
    method = make()
    train(method, 3)
    expected = method.backbone.zero_shot_weights(PROMPTS.class_sentences()) * method.backbone.scale
    torch.testing.assert_close(method.classifier().head.weight, expected)
