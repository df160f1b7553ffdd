from collections.abc import Sequence

import numpy as np
import pytest
import torch

from surefoot.backbones.base import load_backbone
from surefoot.classifier import Classifier
from surefoot.data.batch import Batch
from surefoot.data.prompts import Prompts
from surefoot.methods.base import Method, Progress
from surefoot.methods.flyp import FLYP

PROMPTS = Prompts(("red", "green", "blue"), ("a {}", "a picture of a {}", "one {}", "the {}"), ("a bright {}",), seed=3)
START = Progress(0, 10, 0, 1)


def batch(index: Sequence[int] = range(6), *, view: int = 0) -> Batch:
    images = torch.randn(40, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    at = torch.tensor(list(index))
    return Batch(images[at], at % 3, torch.full_like(at, -1), at, torch.full_like(at, view))


def make() -> FLYP:
    return FLYP(Method.Config(), load_backbone("tiny"), PROMPTS)


def cross_entropy(logits: np.ndarray) -> float:
    """Of rows whose own column is the right one."""
    shifted = logits - logits.max(-1, keepdims=True)
    return float(np.mean(np.log(np.exp(shifted).sum(-1)) - np.diag(shifted)))


def test_the_loss_is_the_contrastive_loss_written_by_hand() -> None:
    method, given = make(), batch()
    with torch.no_grad():
        images = method.backbone.image(given.images).double().numpy()
        captions = PROMPTS.captions(given)
        texts = method.backbone.text(method.backbone.tokenize(captions)).double().numpy()
    logits = 10.0 * images @ texts.T  # 10 is the tiny one's scale
    expected = (cross_entropy(logits) + cross_entropy(logits.T)) / 2
    assert method(given, START)["contrastive"].item() == pytest.approx(expected, rel=1e-5)


def test_images_of_one_class_are_each_others_negatives() -> None:
    one_class = batch((0, 3, 6, 9))
    assert set(one_class.labels.tolist()) == {0}
    assert make()(one_class, START)["contrastive"].item() > 0.5  # about log 4 where nothing tells them apart


def test_of_a_single_image_there_is_nothing_to_tell_apart() -> None:
    assert make()(batch((0,)), START)["contrastive"].item() == 0


def test_a_caption_is_the_images_class_in_one_of_the_templates() -> None:
    given = batch(range(40))
    for caption, label in zip(PROMPTS.captions(given), given.labels.tolist(), strict=True):
        assert caption in {template.replace("{}", PROMPTS.classes[label]) for template in PROMPTS.templates}


def test_captions_are_equal_for_equal_seed_image_and_view_in_any_batch() -> None:
    together = PROMPTS.captions(batch(range(40), view=2))
    apart = [PROMPTS.captions(batch((i,), view=2))[0] for i in reversed(range(40))]
    torch.rand(100)  # no draw elsewhere matters
    assert together == apart[::-1] == PROMPTS.captions(batch(range(40), view=2))


def test_captions_differ_between_views_and_between_seeds() -> None:
    given = batch(range(40))
    other_seed = Prompts(PROMPTS.classes, PROMPTS.templates, PROMPTS.contexts, seed=4)
    assert PROMPTS.captions(given) != PROMPTS.captions(batch(range(40), view=1))
    assert PROMPTS.captions(given) != other_seed.captions(given)


def test_both_towers_and_the_scale_train() -> None:
    method = make()
    training = method.train_only(method.stages[0].train)
    method(batch(), START)["contrastive"].backward()
    assert training.keys() == dict(method.named_parameters()).keys()
    for part in ("backbone.image.", "backbone.text.", "backbone.log_scale"):
        assert any(
            name.startswith(part) and p.grad.abs().sum() > 0 for name, p in training.items() if p.grad is not None
        )


def test_the_class_weights_are_made_anew_by_the_fine_tuned_text_tower() -> None:
    method = make()
    optimizer = torch.optim.AdamW(method.parameters(), lr=1e-2)
    before = method.classifier().head.weight.clone()
    for _ in range(3):
        method(batch(), START)["contrastive"].backward()
        optimizer.step()
        optimizer.zero_grad()
    head = method.classifier().head
    assert not torch.equal(head.weight, before)
    assert torch.equal(head.weight, Classifier.zero_shot(method.backbone, PROMPTS).head.weight)
    torch.testing.assert_close(head.weight.norm(dim=-1), method.backbone.scale.detach().expand(3))


def test_the_gradient_is_not_clipped_unless_the_user_says_so() -> None:
    assert FLYP.recommended == {}
