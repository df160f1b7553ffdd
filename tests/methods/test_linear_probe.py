from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from surefoot.backbones.base import Frozen, RawFeatures, load_backbone
from surefoot.checkpoint import TrainState
from surefoot.classifier import Classifier, Convention
from surefoot.config import resolve
from surefoot.data.batch import Batch
from surefoot.data.prompts import Prompts
from surefoot.engine.train import EngineConfig, build_fabric, fit
from surefoot.methods.base import Progress, Stage
from surefoot.methods.linear_probe import LinearProbe

PROMPTS = Prompts(("red", "green", "blue"), ("a {}", "a picture of a {}"), ("a bright {}",))
ENGINE = EngineConfig(batch_size=6, epochs=4, lr=1e-3, precision="32", accelerator="cpu")
COUNT = 15
IMAGES = torch.randn(COUNT, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def batches(stage: Stage, *, start: int) -> Iterator[Batch]:
    while True:
        index = torch.arange(start * 6, start * 6 + 6) % COUNT
        none = torch.full_like(index, -1)
        yield Batch(IMAGES[index], index % 3, none, index, none)
        start += 1


def make(head: Convention = "scaled") -> LinearProbe:
    return LinearProbe(LinearProbe.Config(head=head), load_backbone("tiny"), PROMPTS)


def train(method: LinearProbe) -> list[float]:
    losses: list[float] = []
    fit(
        build_fabric(ENGINE), method, batches, ENGINE, TrainState(), images=COUNT, seed=0,
        on_look=lambda state, steps, optimizer, terms: losses.append(float(terms["cross_entropy"])),
    )  # fmt: skip
    return losses


def tensors(method: LinearProbe) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in method.state_dict().items()}


@pytest.mark.parametrize("head", ["scaled", "unit", "linear"])
def test_only_the_head_moves(head: Convention) -> None:
    method = make(head)
    before = tensors(method)
    train(method)
    moved = {name for name, value in tensors(method).items() if not torch.equal(value, before[name])}
    assert moved == ({"head.weight"} if head == "unit" else {"head.weight", "head.bias"})


def test_remembered_features_give_bit_for_bit_the_run_that_computes_them_each_time() -> None:
    remembering, computing = make(), make()
    computing.features = Frozen(RawFeatures(computing.backbone.image), views=0)
    assert train(remembering) == train(computing)
    expected = tensors(computing)
    assert all(torch.equal(value, expected[name]) for name, value in tensors(remembering).items())


def test_each_image_goes_through_the_tower_once() -> None:
    method = make()
    seen: list[int] = []
    method.features._teacher[0].tower.patches.register_forward_hook(lambda _, inputs, __: seen.append(len(inputs[0])))
    assert len(train(method)) == 12
    assert sum(seen) == 18  # three batches of six: then all fifteen are known


def test_images_come_through_the_evaluation_transform_at_thirty_times_the_rate() -> None:
    (stage,) = make().stages
    assert (stage.augment, stage.lr, stage.share) == (False, 30.0, 1.0)


def test_it_starts_from_the_zero_shot_model() -> None:
    with torch.no_grad():
        logits = Classifier.zero_shot(load_backbone("tiny"), PROMPTS)(IMAGES[:6])
        expected = torch.nn.functional.cross_entropy(logits, torch.arange(6) % 3)
        loss = make()(next(batches(make().stages[0], start=0)), Progress(0, 1, 0, 1))["cross_entropy"]
    torch.testing.assert_close(loss, expected)


def test_its_classifier_is_the_untouched_tower_with_the_trained_head() -> None:
    method = make()
    train(method)
    classifier = method.classifier()
    with torch.no_grad():
        features = load_backbone("tiny").image.raw(IMAGES)
        assert torch.equal(classifier(IMAGES), method.head(features))


def test_the_gradient_is_clipped_as_in_the_authors_code() -> None:
    assert resolve({"method": "linear_probe"}).engine.clip_norm == 1
