"""What every method in `methods/` must keep, found by name: a new method is tested without a line here."""

import copy
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from surefoot import checkpoint, plugins
from surefoot.backbones.base import load_backbone
from surefoot.checkpoint import TrainState
from surefoot.config import resolve
from surefoot.data.batch import Batch, training_batches
from surefoot.data.held_out import HeldOut, HeldOutSplit
from surefoot.data.prompts import Prompts
from surefoot.engine.train import build_fabric, fit, stage_steps
from surefoot.interruption import Interrupted
from surefoot.methods.base import Method, Progress, Stage
from surefoot.run import build_method, load_task

METHODS = plugins.names("methods")
CLASSES = ("red square", "green square", "blue square")
PROMPTS = Prompts(CLASSES, ("a {}", "a picture of a {}", "one {}"), ("a bright {}", "a dark {}"))

ON_SIGLIP = ("fine_tune", "flyp", "carot", "lipsum_ft", "miro", "r_adapter")
"""One of each kind: a head, contrast, both projections, random texts, inner features, adapters."""

every_method = pytest.mark.parametrize("name", METHODS)
every_method_and_some_on_siglip = pytest.mark.parametrize(
    ("name", "model"), [*((name, "tiny") for name in METHODS), *((name, "siglip") for name in ON_SIGLIP)]
)


@pytest.fixture
def path(model: str, siglip_folder: Path) -> str:
    """What opens the backbone."""
    return "tiny" if model == "tiny" else str(siglip_folder)


def make(name: str, path: str = "tiny") -> Method:
    plugin = plugins.find("methods", name, base=Method)
    return plugin(plugin.Config(), load_backbone(path), PROMPTS)


def batch(count: int = 6, *, view: int = 0) -> Batch:
    draw = torch.Generator().manual_seed(count)
    labels = torch.arange(count) % len(CLASSES)
    images = torch.randn(count, 3, 16, 16, generator=draw)
    return Batch(images, labels, torch.full((count,), -1), torch.arange(count), torch.full((count,), view))


class Sealed(HeldOut):
    """Held-out images that nobody may look at."""

    def __len__(self) -> int:
        return 12

    def once(self) -> Iterator[Batch]:
        raise AssertionError("a method with selected_on = 'none' reads validation")

    def shuffled(self, count: int, *, start: int) -> Iterator[Batch]:
        raise AssertionError("a method with selected_on = 'none' reads validation")


def progress(stage: int = 0) -> Progress:
    return Progress(step=0, steps=10, epoch=0, epochs=2, stage=stage)


def view_of(stage: Stage) -> int:
    return 0 if stage.augment else -1


@every_method
def test_it_says_what_it_is_and_has_a_page(name: str) -> None:
    plugin = plugins.find("methods", name, base=Method)
    assert plugin.summary
    assert plugin.__module__ == f"surefoot.methods.{name}"
    page = Path(__file__).parents[2] / "docs" / "methods" / f"{name}.md"
    assert page.is_file(), f"docs/methods/{name}.md is missing"


@every_method_and_some_on_siglip
def test_its_loss_terms_are_finite_scalars_in_every_stage(name: str, path: str) -> None:
    method = make(name, path)
    for number, stage in enumerate(method.stages or (Stage(train=()),)):
        for count in (1, 6):
            terms = method(batch(count, view=view_of(stage)), progress(number))
            assert terms
            for term in terms.values():
                assert term.shape == ()
                assert term.dtype == torch.float32
                assert term.isfinite()


@every_method_and_some_on_siglip
def test_its_loss_is_finite_under_bfloat16_autocast(name: str, path: str) -> None:
    method = make(name, path)
    for number, stage in enumerate(method.stages or (Stage(train=()),)):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            terms = method(batch(view=view_of(stage)), progress(number))
        assert all(term.isfinite() for term in terms.values())


@every_method
def test_the_shares_of_its_stages_make_a_whole(name: str) -> None:
    stages = make(name).stages
    assert not stages or sum(stage.share for stage in stages) == pytest.approx(1)
    assert all(stage.lr > 0 for stage in stages)


@every_method_and_some_on_siglip
def test_everything_that_trains_in_a_stage_gets_a_gradient(name: str, path: str) -> None:
    method = make(name, path)
    for number, stage in enumerate(method.stages):
        training = method.train_only(stage.train)
        method.zero_grad()
        torch.stack(list(method(batch(view=view_of(stage)), progress(number)).values())).sum().backward()
        without = [key for key, parameter in training.items() if parameter.grad is None]
        assert without == []


@every_method
def test_with_remembered_crops_the_loss_is_the_same_bit_for_bit(name: str) -> None:
    method, remembering = make(name), make(name)
    remembering.remember_crops(2)
    for number, stage in enumerate(method.stages or (Stage(train=()),)):
        for view in (0, 1, 0, 1) if stage.augment else (-1, -1):
            given = batch(view=view)
            ours, theirs = method(given, progress(number)), remembering(given, progress(number))
            assert same(ours, theirs)


@every_method_and_some_on_siglip
def test_training_lowers_the_loss_and_leaves_frozen_parts_alone(name: str, path: str, squares: Path) -> None:
    method, before = train_few_steps(name, squares, path=path)
    trained = {prefix for stage in method.stages for prefix in stage.train}
    for key, parameter in method.named_parameters():
        if not key.startswith(tuple(trained) or ("nothing trains",)):
            assert torch.equal(parameter, before[key]), key
    moved = [key for key, parameter in method.named_parameters() if not torch.equal(parameter, before[key])]
    assert bool(moved) == bool(method.stages)


@every_method_and_some_on_siglip
def test_its_classifier_predicts_every_class_and_round_trips(
    name: str, path: str, squares: Path, tmp_path: Path
) -> None:
    method, _ = train_few_steps(name, squares, path=path)
    classifier = method.classifier().eval()
    images = batch().images
    with torch.no_grad():
        logits = classifier(images)
        assert logits.shape == (6, 3)
        classifier.save_pretrained(tmp_path / "classifier")
        again = type(classifier).from_pretrained(tmp_path / "classifier")
        assert torch.equal(again(images), logits)


@every_method
def test_stopped_at_any_step_and_resumed_it_ends_bit_for_bit_the_same(name: str, squares: Path, tmp_path: Path) -> None:
    whole, _ = train_few_steps(name, squares)
    total = sum(stage_steps(stage, settings(name, squares).engine, images=36) for stage in whole.stages)
    for stop_after in range(1, total):
        folder = tmp_path / str(stop_after)
        with pytest.raises(Interrupted):
            train_few_steps(name, squares, folder=folder, stop_after=stop_after)
        resumed, _ = train_few_steps(name, squares, folder=folder)
        assert same(whole.state_dict(), resumed.state_dict())
        ours, theirs = whole.classifier().state_dict(), resumed.classifier().state_dict()
        assert same(ours, theirs)


def same(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def settings(name: str, squares: Path, path: str = "tiny") -> Any:
    small = {"engine.batch_size": 12, "engine.epochs": 2, "engine.precision": "32", "engine.accelerator": "cpu"}
    return resolve({"task": str(squares), "backbone": path, "method": name, "data.workers": 0, **small})


def train_few_steps(
    name: str, squares: Path, *, path: str = "tiny", folder: Path = Path("/nonexistent"), stop_after: int = 0
) -> tuple[Method, dict[str, Tensor]]:
    """Train a method on the squares, from where `folder` stands; also gives the tensors it started with."""
    config = settings(name, squares, path)
    task = load_task("folder", options={"root": str(squares)})
    method = build_method(config, task)
    before = copy.deepcopy(method.state_dict())
    state = checkpoint.load(folder, method)
    fabric = build_fabric(config.engine)
    looks = 0

    def batches(stage: Stage, *, start: int) -> Iterator[Batch]:
        spec = method.backbone.image_spec
        return training_batches(
            task.train, spec, config.data, batch_size=12, seed=0, start_step=start, augment=stage.augment
        )

    def look(state: TrainState, steps: int, optimizer: torch.optim.Optimizer, terms: Mapping[str, Tensor]) -> None:
        nonlocal looks
        looks += 1
        if looks == stop_after:
            checkpoint.save(folder, method, optimizer, state)
            raise Interrupted("enough")

    held_out: HeldOut = Sealed()
    if method.selected_on == "validation":
        spec = method.backbone.image_spec
        held_out = HeldOutSplit(task.validation, spec, config.data, batch_size=12, seed=0, place=fabric.to_device)
    images = len(task.train)
    fit(fabric, method, batches, config.engine, state, images=images, held_out=held_out, seed=0, on_look=look)
    return method, before
