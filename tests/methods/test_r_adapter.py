import copy
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from surefoot.backbones.base import Backbone, Frozen, load_backbone
from surefoot.classifier import Classifier
from surefoot.data.batch import Batch
from surefoot.data.prompts import Prompts
from surefoot.losses import mpm_nce
from surefoot.methods._adapters import Adapters, branches
from surefoot.methods.base import Progress
from surefoot.methods.r_adapter import RAdapter

PROMPTS = Prompts(("red", "green", "blue"), ("a {}", "a picture of a {}"), ("a bright {}",))
START = Progress(0, 10, 0, 1)


@pytest.fixture(params=["tiny", "transformers"])
def backbone(request: pytest.FixtureRequest, clip_folder: Path) -> Backbone:
    return load_backbone("tiny" if request.param == "tiny" else str(clip_folder))


def batch(count: int = 6, *, size: int = 16) -> Batch:
    images = torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(0))
    none = torch.full((count,), -1)
    return Batch(images, torch.arange(count) % 3, none, torch.arange(count), none)


def make(backbone: Backbone | None = None, **options: object) -> RAdapter:
    return RAdapter(RAdapter.Config.model_validate(options), backbone or load_backbone("tiny"), PROMPTS)


def train(method: RAdapter, steps: int = 3) -> RAdapter:
    optimizer = torch.optim.AdamW(method.train_only(method.stages[0].train).values(), lr=1e-2)
    method.train()
    for step in range(steps):
        torch.manual_seed(step)
        torch.stack(list(method(batch(), START._replace(step=step)).values())).sum().backward()
        optimizer.step()
        method.after_step(START._replace(step=step))
        optimizer.zero_grad()
    return method


def randomise(method: RAdapter) -> RAdapter:
    """Adapters as if trained, and their average equal to them."""
    with torch.no_grad():
        draw = torch.Generator().manual_seed(3)
        for parameter in method.adapters.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=draw)
    method.average.follow(method.adapters, 0.0)
    return method


def features(backbone: Backbone) -> tuple[Tensor, Tensor]:
    with torch.no_grad():
        return backbone.image(batch(size=backbone.image_spec.size).images), backbone.encode_text(PROMPTS.classes)


def same(one: tuple[Tensor, ...], other: tuple[Tensor, ...]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.filterwarnings("ignore:.*the rest of this and of other long texts is left out")
def test_before_training_it_is_the_zero_shot_model_bit_for_bit(backbone: Backbone) -> None:
    before, zero_shot = features(backbone), Classifier.zero_shot(backbone, PROMPTS).state_dict()
    method = make(backbone).train()
    assert same(features(method.backbone), before)
    found = method.classifier().state_dict()
    assert all(torch.equal(value, zero_shot[name]) for name, value in found.items())


@pytest.mark.filterwarnings("ignore:.*the rest of this and of other long texts is left out")
def test_merged_adapters_do_what_the_attached_ones_did(backbone: Backbone) -> None:
    before = features(backbone)
    method = randomise(make(backbone, alpha=1.0)).eval()
    attached = features(method.backbone)
    merged = features(method.classifier().backbone.eval())
    for ours, theirs, first in zip(merged, attached, before, strict=True):
        assert (ours - first).abs().max() > 1e-3
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)


def test_the_branch_is_adapted_as_the_formula_says() -> None:
    method = randomise(make()).eval()
    branch, plain = method.backbone.image.branches[0], load_backbone("tiny").image.branches[0]
    given = torch.randn(2, 5, 32, generator=torch.Generator().manual_seed(1))
    output = plain(given)
    expected = output + method.adapters.scales[0] * output @ method.adapters.weights[0].T
    torch.testing.assert_close(branch(given), expected)


def test_the_average_is_merged_at_alpha_of_its_strength() -> None:
    method, plain = train(make(alpha=0.3, momentum=0.5)), load_backbone("tiny")
    averaged = method.average.module
    assert not torch.equal(averaged.weights[0], method.adapters.weights[0])
    merged = branches(method.classifier().backbone)
    for number, (ours, theirs) in enumerate(zip(merged, branches(plain), strict=True)):
        change = torch.eye(32) + 0.3 * averaged.scales[number] * averaged.weights[number]
        torch.testing.assert_close(ours.weight, change @ theirs.weight)
        torch.testing.assert_close(ours.bias, change @ theirs.bias)


def test_only_the_branches_of_the_classifier_differ_from_the_pre_trained_model() -> None:
    start, found = load_backbone("tiny").state_dict(), train(make()).classifier().backbone.state_dict()
    moved = {name for name in start if not torch.equal(start[name], found[name])}
    assert moved == {f"{tower}.block.out.{part}" for tower in ("image", "text") for part in ("weight", "bias")}


def test_at_alpha_0_it_is_the_zero_shot_model() -> None:
    expected = Classifier.zero_shot(load_backbone("tiny"), PROMPTS).state_dict()
    found = train(make(alpha=0.0)).classifier().state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in found.items())


def test_a_branch_without_bias_is_merged_too() -> None:
    adapters = Adapters([4], drop=0, drop_by="token")
    nn.init.ones_(adapters.weights[0])
    branch = nn.Linear(3, 4, bias=False)
    given = torch.randn(1, 2, 3)
    expected = adapters(0, branch(given), dropping=False)
    adapters.merge(0, branch, alpha=1.0)
    torch.testing.assert_close(branch(given), expected)


def test_the_average_follows_every_step() -> None:
    method = make(momentum=0.9)
    seen = [method.adapters.weights[0].detach().clone()]
    for _ in range(3):
        train(method, 1)
        seen.append(method.adapters.weights[0].detach().clone())
    expected = 0.9**3 * seen[0] + 0.1 * (0.9**2 * seen[1] + 0.9 * seen[2] + seen[3])
    torch.testing.assert_close(method.average.module.weights[0].detach(), expected)


def test_the_loss_takes_all_pairs_of_a_class_as_positives() -> None:
    method, given = make(epsilon=0.1, margin=0.2), batch()
    images, texts = method.backbone.image(given.images), method.backbone.encode_text(PROMPTS.captions(given))
    expected = mpm_nce(images, texts, method.backbone.scale, given.labels, epsilon=0.1, margin=0.2)
    assert torch.equal(method(given, START)["multi_positive"], expected)


def dropped(by: str, *, share: float = 0.5) -> Tensor:
    """Where (N, L, d) what an adapter gives is kept, as a multiple of what it gives without dropping."""
    adapters = Adapters([4], drop=share, drop_by=by)  # type: ignore[arg-type]
    nn.init.eye_(adapters.weights[0])
    torch.manual_seed(0)
    ones = torch.ones(40, 50, 4)
    kept: Tensor = (adapters(0, ones, dropping=True) - ones) / adapters.scales[0]
    assert torch.equal(adapters(0, ones, dropping=False), ones + adapters.scales[0])
    return kept.detach()


def test_tokens_are_dropped_for_the_whole_batch_and_the_rest_is_scaled_up() -> None:
    kept = dropped("token", share=0.2)
    assert {round(value, 3) for value in kept.unique().tolist()} == {0.0, 1.25}
    assert torch.equal(kept, kept[:1, :, :1].expand_as(kept))
    assert 0.6 < (kept > 0).float().mean() < 0.95


def test_samples_or_the_whole_adapter_can_be_dropped_instead() -> None:
    kept = dropped("sample")
    assert torch.equal(kept, kept[:, :1, :1].expand_as(kept))
    assert 0.2 < (kept > 0).float().mean() < 0.8
    assert len(dropped("module").unique()) == 1


def test_nothing_is_dropped_in_eval_mode_and_equal_seeds_drop_the_same() -> None:
    method = randomise(make(drop=0.5))
    for mode, equal in ((False, True), (True, False)):
        method.train(mode)
        torch.manual_seed(0)
        first = features(method.backbone)
        assert same(first, features(method.backbone)) == equal
        torch.manual_seed(0)
        assert same(first, features(method.backbone))


def test_a_copy_of_the_backbone_is_not_adapted() -> None:
    method, plain = randomise(make()), features(load_backbone("tiny"))
    for copied in (copy.deepcopy(method.backbone), Frozen(method.backbone).module):
        assert same(features(copied.eval()), plain)
    assert not same(features(method.backbone.eval()), plain)


def test_a_copy_of_the_method_has_adapters_of_its_own() -> None:
    method = randomise(make()).eval()
    expected = features(method.backbone)
    copied = copy.deepcopy(method)
    assert same(features(copied.backbone), expected)
    with torch.no_grad():
        copied.adapters.scales.zero_()
    assert same(features(copied.backbone), features(load_backbone("tiny")))
    assert same(features(method.backbone), expected)


def test_without_its_method_the_backbone_is_as_it_was() -> None:
    backbone = load_backbone("tiny")
    before, method = features(backbone), randomise(make(backbone).eval())
    assert not same(features(backbone), before)
    del method
    assert same(features(backbone), before)


def test_the_classifier_has_no_hooks_and_asking_for_it_changes_nothing() -> None:
    asked, plain = make(), make()
    for _ in range(2):
        train(asked)
        classifier = asked.classifier()
        assert not any(module._forward_hooks for module in classifier.modules())
        train(plain)
    expected = plain.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in asked.state_dict().items())
    assert len(asked.hooks) == len(branches(asked.backbone)) == 2


def test_everything_but_the_adapters_is_frozen_and_their_average_is_saved() -> None:
    method = make()
    training = method.train_only(method.stages[0].train)
    assert training.keys() == {"adapters.weights.0", "adapters.weights.1", "adapters.scales"}
    assert {f"average.{name.removeprefix('adapters.')}" for name in training} <= method.state_dict().keys()
    assert method.stages[0].lr * 1e-5 == pytest.approx(5e-4)  # the paper's, on the engine's default


def test_a_tower_that_does_not_name_its_branches_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = load_backbone("tiny")
    monkeypatch.setattr(type(backbone.text), "branches", ())
    with pytest.raises(ValueError, match=r"method=r_adapter .* the text tower of backbone 'tiny' names none; choose"):
        make(backbone)


@pytest.mark.parametrize(
    "options",
    [
        {"epsilon": 1},
        {"margin": -0.1},
        {"drop": 1},
        {"drop": -0.1},
        {"drop_by": "row"},
        {"momentum": 1.1},
        {"alpha": -1},
        {"lr_multiple": 0},
    ],
)
def test_an_option_out_of_range_is_refused(options: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match=next(iter(options))):
        make(**options)
