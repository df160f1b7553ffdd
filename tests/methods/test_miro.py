from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from surefoot import plugins
from surefoot.backbones._clip import ClipImageTower
from surefoot.backbones.base import Backbone, ImageTower, load_backbone
from surefoot.backbones.tiny import TinyImageTower
from surefoot.data.batch import Batch
from surefoot.data.prompts import Prompts
from surefoot.methods.base import Method, Progress, Seen
from surefoot.methods.miro import MIRO, taps

PROMPTS = Prompts(("red", "green", "blue"), ("a {}",), ("a dim {}", "a wet {}"))
START = Progress(0, 10, 0, 2)


def batch(size: int = 16, count: int = 6) -> Batch:
    images = torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(0))
    none = torch.full((count,), -1)
    return Batch(images, torch.arange(count) % 3, none, torch.arange(count), torch.zeros(count, dtype=torch.int64))


def make(backbone: Backbone | None = None, **options: object) -> MIRO:
    return MIRO(MIRO.Config.model_validate(options), backbone or load_backbone("tiny"), PROMPTS)


def moved(method: MIRO, given: Batch) -> MIRO:
    """The method after a step on the cross-entropy alone, with other variances in each channel."""
    optimizer = torch.optim.SGD(method.train_only(("backbone.image.", "head.")).values(), lr=1.0)
    method(given, START)["cross_entropy"].backward()
    optimizer.step()
    optimizer.zero_grad()
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for raw in method.term.variances:
            raw += torch.randn(raw.shape, generator=draw)
    return method


def numbers(tensor: Tensor) -> np.ndarray:
    return tensor.detach().double().numpy()


def by_hand(ours: list[np.ndarray], theirs: list[np.ndarray], method: MIRO) -> float:
    """The sum over outputs (B, positions, C) of half the mean negative log-likelihood, without its constant."""
    total = 0.0
    for student, teacher, raw in zip(ours, theirs, method.term.variances, strict=True):
        variance = np.log1p(np.exp(numbers(raw).reshape(-1))) + 1e-5  # (C)
        total += 0.5 * ((student - teacher) ** 2 / variance + np.log(variance)).mean()
    return total


def of_tiny(backbone: Backbone, images: Tensor) -> list[np.ndarray]:
    tower = backbone.image
    assert isinstance(tower, TinyImageTower)
    stem = tower.patches(images).flatten(2).transpose(1, 2)
    return [numbers(stem), numbers(tower.block(nn.functional.gelu(stem)))]


def of_transformers(backbone: Backbone, images: Tensor) -> list[np.ndarray]:
    tower = backbone.image
    assert isinstance(tower, ClipImageTower)
    stem = tower.vision_model.embeddings.patch_embedding(images).flatten(2).transpose(1, 2)
    states = tower.vision_model(images, output_hidden_states=True).hidden_states  # that before, and after each block
    return [numbers(stem), *map(numbers, states[1:])]


def test_the_term_is_the_gaussian_bound_written_by_hand() -> None:
    method, given = moved(make(weight=0.5), batch()), batch()
    ours, theirs = (of_tiny(backbone, given.images) for backbone in (method.backbone, load_backbone("tiny")))
    found = method(given, START)["mutual_information"].item()
    assert found == pytest.approx(0.5 * by_hand(ours, theirs, method), rel=1e-5)


def test_it_is_so_for_the_tokens_and_channels_of_a_clip_in_transformers_format(clip_folder: Path) -> None:
    given = batch(32)
    method = moved(make(load_backbone(str(clip_folder))), given)
    assert [tuple(raw.shape) for raw in method.term.variances] == [(48, 1, 1), (48,), (48,)]
    start = load_backbone(str(clip_folder))
    ours, theirs = (of_transformers(backbone, given.images) for backbone in (method.backbone, start))
    found = method(given, START)["mutual_information"].item()
    assert found == pytest.approx(by_hand(ours, theirs, method), rel=1e-4)


@pytest.mark.parametrize("reduced", [False, True], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("place", ["tiny", "transformers"])
def test_before_training_variances_are_a_tenth_and_nothing_pulls_at_the_tower(
    place: str, reduced: bool, clip_folder: Path
) -> None:
    method = make(load_backbone("tiny" if place == "tiny" else str(clip_folder))).train()
    training = method.train_only(method.stages[0].train)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=reduced):
        value = method(batch(method.backbone.image_spec.size), START)["mutual_information"]
    assert value.item() == pytest.approx(len(method.term.variances) * 0.5 * np.log(0.1), rel=1e-5)
    found = torch.autograd.grad(value, list(training.values()), materialize_grads=True)
    for name, gradient in zip(training, found, strict=True):
        assert bool((gradient == 0).all()) != name.startswith("term."), name


def test_the_variances_train_ten_times_as_fast_and_are_no_part_of_the_classifier() -> None:
    method = make()
    groups = method.stages[0].by_rate(method.train_only(method.stages[0].train))
    assert [id(parameter) for parameter in groups[10.0]] == [id(raw) for raw in method.term.variances]
    assert not any("term" in name for name in method.classifier().state_dict())


@pytest.mark.parametrize(
    ("blocks", "expected"),
    [(12, (0, 3, 6, 9, 12)), (24, (0, 6, 12, 18, 24)), (4, (0, 1, 2, 3, 4)), (2, (0, 1, 2)), (1, (0, 1))],
)
def test_taps_are_the_stem_and_the_quarters_of_the_depth(blocks: int, expected: tuple[int, ...]) -> None:
    class Tower(TinyImageTower):
        @property
        def parts(self) -> list[nn.Module]:
            return [self.patches, *[self.block] * blocks]

    assert taps(Tower(16, 8)) == expected


def test_student_and_teacher_run_once_a_step_and_nothing_goes_on_listening() -> None:
    method = make()
    runs: list[str] = []
    for name, tower in (("student", method.backbone.image), ("teacher", method.term.teacher.module.tower)):
        tower.projection.register_forward_hook(lambda *_, name=name: runs.append(name))
    method(batch(), START)
    assert runs == ["student", "teacher"]
    for tower in (method.backbone.image, method.term.teacher.module.tower):
        assert not any(part._forward_hooks for part in tower.parts)


@pytest.mark.parametrize("features_first", [True, False])
def test_beside_another_term_the_teacher_runs_once_whichever_asks_first(features_first: bool) -> None:
    method, given = make(), batch()
    runs: list[int] = []
    teacher = method.term.teacher
    teacher.module.tower.projection.register_forward_hook(lambda *_: runs.append(1))
    alone = method.term(Seen(method.backbone, given, START, watched=method.term.watched))
    seen = Seen(method.backbone, given, START, watched=method.term.watched)
    if features_first:
        seen.by(teacher)
    beside = method.term(seen)
    assert torch.equal(seen.by(teacher), seen.raw)
    assert len(runs) == 2
    assert torch.equal(beside["mutual_information"], alone["mutual_information"])


def test_where_features_are_remembered_the_layers_are_still_compared() -> None:
    method, given = make(), batch()
    method.remember_crops(1)
    first = method(given, START)
    method.term.teacher(given)  # as another term would have it
    seen = Seen(method.backbone, given, START, watched=method.term.watched)
    seen.by(method.term.teacher)
    assert torch.equal(method.term(seen)["mutual_information"], first["mutual_information"])


@pytest.mark.parametrize("name", ["fine_tune", "kd", "flyp"])
def test_other_methods_watch_nothing(name: str) -> None:
    plugin = plugins.find("methods", name, base=Method)
    assert plugin(plugin.Config(), load_backbone("tiny"), PROMPTS)._watched == ()


def test_a_tower_that_does_not_name_its_parts_is_refused() -> None:
    class Tower(TinyImageTower):
        parts = ()  # type: ignore[assignment]

    backbone = load_backbone("tiny")
    plain: ImageTower = Tower(16, 32)
    backbone.image = plain
    with pytest.raises(ValueError, match=r"miro compares .* 'tiny' does not name them .*; kd with form=raw_features"):
        make(backbone)


@pytest.mark.parametrize("options", [{"weight": -1}, {"head": "big"}])
def test_an_option_out_of_range_is_refused(options: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match=next(iter(options))):
        make(**options)
