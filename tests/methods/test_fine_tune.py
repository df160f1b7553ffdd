import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from surefoot.backbones.base import load_backbone
from surefoot.classifier import Classifier, Convention
from surefoot.data.batch import Batch
from surefoot.data.prompts import Prompts
from surefoot.methods.base import Progress
from surefoot.methods.fine_tune import FineTune

PROMPTS = Prompts(("red", "green", "blue"), ("a {}", "a picture of a {}"), ("a bright {}",))
START = Progress(0, 10, 0, 1)


def batch(count: int = 6) -> Batch:
    images = torch.randn(count, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    none = torch.full((count,), -1)
    return Batch(images, torch.arange(count) % 3, none, torch.arange(count), none)


def make(head: Convention = "scaled", *, label_smoothing: float = 0.0) -> FineTune:
    config = FineTune.Config(head=head, label_smoothing=label_smoothing)
    return FineTune(config, load_backbone("tiny"), PROMPTS)


def log_probabilities() -> np.ndarray:
    """Of the zero-shot model, (6, C)."""
    with torch.no_grad():
        logits = Classifier.zero_shot(load_backbone("tiny"), PROMPTS)(batch().images).double().numpy()
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def train(method: FineTune, *, steps: int = 5) -> None:
    optimizer = torch.optim.AdamW(method.train_only(method.stages[0].train).values(), lr=1e-2)
    for _ in range(steps):
        method(batch(), START)["cross_entropy"].backward()
        optimizer.step()
        optimizer.zero_grad()


@pytest.mark.parametrize("head", ["scaled", "unit"])
def test_the_loss_before_the_first_step_is_the_cross_entropy_of_the_zero_shot_model(head: Convention) -> None:
    loss = make(head)(batch(), START)["cross_entropy"].item()
    expected = -log_probabilities()[np.arange(6), batch().labels.numpy()].mean()
    assert loss == pytest.approx(expected, rel=1e-5)


def test_label_smoothing_spreads_its_share_over_all_classes() -> None:
    loss = make(label_smoothing=0.1)(batch(), START)["cross_entropy"].item()
    found = log_probabilities()
    expected = -(0.9 * found[np.arange(6), batch().labels.numpy()] + 0.1 * found.mean(-1)).mean()
    assert loss == pytest.approx(expected, rel=1e-5)


def test_image_tower_and_head_train_and_the_text_tower_and_the_scale_do_not() -> None:
    method = make()
    before = {name: value.clone() for name, value in method.state_dict().items()}
    train(method)
    moved = {name for name, value in method.state_dict().items() if not torch.equal(value, before[name])}
    assert moved == {name for name in before if name.startswith(("backbone.image.", "head."))} - {"head.scale"}


def test_the_two_conventions_start_alike_and_train_apart() -> None:
    scaled, unit = make("scaled"), make("unit")
    first = [method(batch(), START)["cross_entropy"].item() for method in (scaled, unit)]
    assert first[0] == pytest.approx(first[1], rel=1e-5)
    train(scaled)
    train(unit)
    later = [method(batch(), START)["cross_entropy"].item() for method in (scaled, unit)]
    assert abs(later[0] - later[1]) > 0.01


def test_a_linear_head_starts_at_random_the_same_for_the_same_seed() -> None:
    def weight(seed: int) -> Tensor:
        prompts = Prompts(PROMPTS.classes, PROMPTS.templates, PROMPTS.contexts, seed)
        return FineTune(FineTune.Config(head="linear"), load_backbone("tiny"), prompts).head.weight

    assert torch.equal(weight(1), weight(1))
    assert not torch.equal(weight(1), weight(2))


def test_its_classifier_is_the_tower_with_the_trained_head() -> None:
    method = make()
    train(method)
    with torch.no_grad():
        loss = torch.nn.functional.cross_entropy(method.classifier()(batch().images), batch().labels)
        assert torch.equal(loss, method(batch(), START)["cross_entropy"])


def test_the_gradient_is_clipped_to_one_unless_the_user_says_otherwise() -> None:
    assert FineTune.recommended == {"engine.clip_norm": 1.0}


@pytest.mark.parametrize("wrong", [{"label_smoothing": 1.0}, {"head": "big"}, {"smoothing": 0.1}])
def test_wrong_options_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        FineTune.Config.model_validate(wrong)
