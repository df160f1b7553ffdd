from pathlib import Path

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
from surefoot.methods.star_ft import StarFT

PROMPTS = Prompts(("red", "green", "blue"), ("a {}", "a picture of a {}"), ("a bright {}",))
START = Progress(0, 10, 0, 10)


def batch(labels: list[int] | None = None) -> Batch:
    labels = labels or [0, 1, 2, 0, 1, 2]
    images = torch.randn(len(labels), 3, 16, 16, generator=torch.Generator().manual_seed(0))
    none, index = torch.full((len(labels),), -1), torch.arange(len(labels))
    return Batch(images, torch.tensor(labels), none, index, torch.zeros_like(index))


def make(**options: object) -> StarFT:
    return StarFT(StarFT.Config.model_validate(options), load_backbone("tiny"), PROMPTS)


def train(method: Method, steps: int = 2) -> None:
    """On the first term alone, so that the other one grows."""
    optimizer = torch.optim.SGD(method.train_only(method.stages[0].train).values(), lr=1.0)
    for _ in range(steps):
        next(iter(method(batch(), START).values())).backward()
        optimizer.step()
        optimizer.zero_grad()


def numbers(tensor: Tensor) -> np.ndarray:
    return tensor.detach().double().numpy()


def log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def logits_of(backbone: Backbone, captions: list[str]) -> np.ndarray:
    """With the zero-shot model's scale, 10 for the tiny one."""
    return 10.0 * numbers(backbone.image(batch().images)) @ numbers(backbone.encode_text(captions)).T


@pytest.mark.parametrize("variant", ["star", "kl"])
def test_the_spurious_term_is_the_kl_written_by_hand(variant: str) -> None:
    method = make(variant=variant, weight=0.5)
    train(method)
    captions = method.captions.spurious_captions(method.term.pool, batch())
    teacher, student = logits_of(load_backbone("tiny"), captions), logits_of(method.backbone, captions)
    if variant == "star":
        same = np.equal.outer(batch().labels.numpy(), batch().labels.numpy())
        teacher, student = np.where(same, -1e8, teacher), np.where(same, -1e8, student)
    log_p, log_q = log_softmax(teacher), log_softmax(student)
    expected = 0.45 * (np.exp(log_p) * (log_p - log_q)).sum(-1).mean()  # 0.5 less the first tenth
    assert expected > 1e-6
    assert method(batch(), START)["spurious"].item() == pytest.approx(expected, rel=1e-4)
    assert method.backbone.scale != method.term.scale


@pytest.mark.parametrize("base", ["flyp", "ce"])
@pytest.mark.parametrize("variant", ["star", "kl"])
def test_before_training_the_term_and_its_gradient_are_exactly_zero(variant: str, base: str) -> None:
    method = make(variant=variant, base=base)
    training = method.train_only(method.stages[0].train)
    term = method(batch(), START)["spurious"]
    assert term.item() == 0
    found = torch.autograd.grad(term, list(training.values()), materialize_grads=True)
    assert all((gradient == 0).all() for gradient in found)


def test_afterwards_both_towers_are_pulled_back() -> None:
    method = make()
    train(method)
    training = method.train_only(method.stages[0].train)
    term = method(batch(), START)["spurious"]
    found = dict(zip(training, torch.autograd.grad(term, list(training.values()), materialize_grads=True), strict=True))
    for tower in ("backbone.image.", "backbone.text."):
        assert any(gradient.abs().sum() > 0 for name, gradient in found.items() if name.startswith(tower))
    assert found["backbone.log_scale"] == 0


def test_a_batch_of_one_class_is_left_alone_by_the_mask_only() -> None:
    one_class = batch([1, 1, 1, 1])
    for variant, pulled in (("star", False), ("kl", True)):
        method = make(variant=variant)
        train(method)
        assert (method(one_class, START)["spurious"] != 0) == pulled


@pytest.mark.parametrize(
    ("decay", "weights"),
    [
        ("epoch", [0.45, 0.40, 0.35, 0.30, 0.25, 0.20, 0.15, 0.10, 0.05, 0.0]),
        ("step", [0.5, 0.45, 0.40, 0.35, 0.30, 0.25, 0.20, 0.15, 0.10, 0.05]),
        ("none", [0.5] * 10),
    ],
)
def test_the_weight_falls_linearly(decay: str, weights: list[float]) -> None:
    method = make(decay=decay)
    assert [0.5 * method.term.remaining(Progress(e, 10, e, 10)) for e in range(10)] == pytest.approx(weights)


def test_a_spurious_caption_is_the_caption_in_a_phrase_of_the_pool() -> None:
    method = make(pools=("colour",), template="an icon of a {}.")
    assert method.captions.captions(batch())[0] == "an icon of a red."
    assert method.captions.spurious_captions(["an icon of a {} in gold"], batch())[1] == "an icon of a green in gold"
    assert "an icon of a {} in gold" in method.term.pool
    drawn = {caption for view in range(9) for caption in captions(method, view)}
    assert len(drawn) > 30
    assert captions(method, 1) == captions(method, 1) != captions(method, 2)


def captions(method: StarFT, view: int) -> list[str]:
    given = batch()
    return method.captions.spurious_captions(method.term.pool, given._replace(view=torch.full_like(given.view, view)))


def test_several_pools_are_one_and_a_file_of_your_own_is_one_too(tmp_path: Path) -> None:
    own = tmp_path / "mine.txt"
    own.write_text("# mine\n{} on the moon\n\n{} under water\n", encoding="utf-8")
    assert len(make(pools=("style", str(own))).term.pool) == len(make(pools=("style",)).term.pool) + 2
    assert make(pools=(str(own),), template="{}").term.pool == ("{} on the moon", "{} under water")


def test_with_cross_entropy_the_head_that_was_trained_predicts() -> None:
    method = make(base="ce")
    terms = method(batch(), START)
    assert terms.keys() == {"cross_entropy", "spurious"}
    train(method)
    assert torch.equal(method.classifier().head.weight, method.head.weight)
    training = method.train_only(method.stages[0].train)
    torch.stack(list(method(batch(), START).values())).sum().backward()
    assert all(parameter.grad is not None for parameter in training.values())


def test_with_the_contrastive_loss_class_weights_are_made_anew() -> None:
    method = make()
    train(method)
    assert torch.equal(method.classifier().head.weight, Classifier.zero_shot(method.backbone, PROMPTS).head.weight)


def test_a_pool_of_one_phrase_and_an_unknown_pool_are_refused(tmp_path: Path) -> None:
    own = tmp_path / "mine.txt"
    own.write_text("{} on the moon\n{} on the moon\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"method\.pools=.* give 1 phrases; two or more"):
        make(pools=(str(own),))
    with pytest.raises(ValueError, match=r"method\.pools has 'textures'.* did you mean texture\?"):
        make(pools=("textures",))


def test_a_template_without_the_class_slot_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'a photo' must hold '\{\}' exactly once"):
        make(template="a photo")


@pytest.mark.parametrize(
    "options", [{"weight": -1}, {"variant": "nce"}, {"base": "lp"}, {"pools": ()}, {"decay": "no"}]
)
def test_an_option_out_of_range_is_refused(options: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        make(**options)
