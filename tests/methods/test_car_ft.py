import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from surefoot.backbones.base import load_backbone
from surefoot.data.batch import Batch
from surefoot.data.prompts import Prompts
from surefoot.methods.base import Progress
from surefoot.methods.car_ft import CARFT

CONTEXTS = ("a bright {}", "a dark {}", "a {} on grass")
PROMPTS = Prompts(("red", "green", "blue"), ("a {}", "a picture of a {}"), CONTEXTS)
START = Progress(0, 10, 0, 2)


def batch(count: int = 6) -> Batch:
    images = torch.randn(count, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    none = torch.full((count,), -1)
    return Batch(images, torch.arange(count) % 3, none, torch.arange(count), none)


def make(prompts: Prompts = PROMPTS, **options: object) -> CARFT:
    return CARFT(CARFT.Config.model_validate(options), load_backbone("tiny"), prompts)


def moved(method: CARFT) -> CARFT:
    """The method after a step on the cross-entropy alone."""
    optimizer = torch.optim.SGD(method.train_only(method.stages[0].train).values(), lr=1.0)
    method(batch(), START)["cross_entropy"].backward()
    optimizer.step()
    optimizer.zero_grad()
    return method


def softmax(logits: np.ndarray) -> np.ndarray:
    shifted = np.exp(logits - logits.max(-1, keepdims=True))
    return shifted / shifted.sum(-1, keepdims=True)


def numbers(tensor: Tensor) -> np.ndarray:
    return tensor.detach().double().numpy()


@pytest.mark.parametrize("scale", [0, 25.0])
def test_the_context_term_is_the_kl_written_by_hand(scale: float) -> None:
    method, given = moved(make(weight=0.5, ctx_scale=scale)), batch()
    start = load_backbone("tiny")
    rows = []
    for context in CONTEXTS:
        texts = numbers(start.encode_text([context.replace("{}", name) for name in PROMPTS.classes])).mean(0)
        rows.append(texts / np.linalg.norm(texts))
    factor = scale or 10.0  # the tiny one's own
    p = softmax(factor * numbers(start.image(given.images)) @ np.array(rows).T)
    q = softmax(factor * numbers(method.backbone.image(given.images)) @ np.array(rows).T)
    expected = 0.5 * (p * (np.log(p) - np.log(q))).sum(-1).mean()
    assert expected > 1e-6
    assert method(given, START)["context_kl"].item() == pytest.approx(expected, rel=1e-4)


def test_before_training_the_context_term_and_its_gradient_are_exactly_zero() -> None:
    method = make()
    method.train_only(method.stages[0].train)
    term = method(batch(), START)["context_kl"]
    assert term.item() == 0
    gradients = torch.autograd.grad(term, list(method.backbone.image.parameters()))
    assert all((gradient == 0).all() for gradient in gradients)


def test_the_context_term_does_not_know_the_head() -> None:
    method = moved(make())
    before = method(batch(), START)
    torch.nn.init.normal_(method.head.weight)
    after = method(batch(), START)
    assert after["context_kl"] == before["context_kl"]
    assert after["cross_entropy"] != before["cross_entropy"]


def test_contexts_are_the_tasks_or_its_templates_or_your_own() -> None:
    own = ("a wet {}", "a dry {}", "a wet {}")
    assert len(make().term.contexts) == 3
    assert len(make(context_source="templates").term.contexts) == 2
    assert len(make(contexts=own).term.contexts) == 2  # each once
    same = make(Prompts(PROMPTS.classes, PROMPTS.templates, own[:2]))
    assert torch.equal(make(contexts=own).term.contexts, same.term.contexts)


def test_with_one_class_the_context_weights_are_the_features_of_the_sentences() -> None:
    one = Prompts(("red",), ("a {}",), CONTEXTS)
    expected = load_backbone("tiny").embed_texts([context.replace("{}", "red") for context in CONTEXTS])
    torch.testing.assert_close(make(one).term.contexts, expected)


def test_a_single_context_is_refused() -> None:
    with pytest.raises(ValueError, match=r"method\.contexts: there is one context only, 'a bright \{\}'.* two or more"):
        make(contexts=("a bright {}", "a bright {}"))


def test_a_context_without_the_class_slot_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'bright' must hold '\{\}' exactly once"):
        make(contexts=("a {}", "bright"))


@pytest.mark.parametrize("options", [{"weight": -1}, {"ctx_scale": -1}, {"context_source": "domains"}])
def test_an_option_out_of_range_is_refused(options: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        make(**options)
