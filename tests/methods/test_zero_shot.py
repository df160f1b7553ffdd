import numpy as np
import torch

from surefoot.backbones.base import load_backbone
from surefoot.data.batch import Batch
from surefoot.data.prompts import Prompts
from surefoot.methods.base import Method, Progress
from surefoot.methods.zero_shot import ZeroShot

PROMPTS = Prompts(("red", "green", "blue"), ("a {}", "a picture of a {}", "one {}"), ("a bright {}",))


def images(count: int = 6) -> torch.Tensor:
    return torch.randn(count, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def make() -> ZeroShot:
    return ZeroShot(Method.Config(), load_backbone("tiny"), PROMPTS)


def test_logits_are_scaled_cosines_with_the_normalised_mean_of_the_templates() -> None:
    method = make()
    backbone = load_backbone("tiny")
    with torch.no_grad():
        sentences = [template.replace("{}", name) for name in PROMPTS.classes for template in PROMPTS.templates]
        texts = backbone.text(backbone.tokenize(sentences)).numpy().reshape(3, 3, -1)  # (C, T, D)
        features = backbone.image.raw(images()).numpy()
        logits = method.classifier()(images()).numpy()
    texts = texts / np.linalg.norm(texts, axis=-1, keepdims=True)
    weights = texts.mean(1)
    weights /= np.linalg.norm(weights, axis=-1, keepdims=True)
    features /= np.linalg.norm(features, axis=-1, keepdims=True)
    np.testing.assert_allclose(logits, 10 * features @ weights.T, rtol=1e-4, atol=1e-4)  # 10 is the tiny one's scale


def test_nothing_trains() -> None:
    assert make().stages == ()


def test_its_loss_is_the_cross_entropy_of_its_classifier() -> None:
    method = make()
    labels = torch.tensor([0, 1, 2, 0, 1, 2])
    none = torch.full((6,), -1)
    loss = method(Batch(images(), labels, none, torch.arange(6), none), Progress(0, 1, 0, 1))["cross_entropy"]
    with torch.no_grad():
        expected = -method.classifier()(images()).log_softmax(-1)[torch.arange(6), labels].mean()
    torch.testing.assert_close(loss.detach(), expected)
