from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from surefoot.backbones.base import load_backbone
from surefoot.data.batch import Batch
from surefoot.data.prompts import Prompts
from surefoot.methods.base import Progress
from surefoot.methods.lipsum_ft import LipsumFT

PROMPTS = Prompts(("red", "green", "blue"), ("a {}", "a picture of a {}"), ("a bright {}",), seed=5)
START = Progress(0, 10, 0, 2)


def batch(count: int = 6) -> Batch:
    images = torch.randn(count, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    none = torch.full((count,), -1)
    return Batch(images, torch.arange(count) % 3, none, torch.arange(count), none)


def make(prompts: Prompts = PROMPTS, **options: object) -> LipsumFT:
    return LipsumFT(LipsumFT.Config.model_validate(options), load_backbone("tiny"), prompts)


def moved(method: LipsumFT) -> LipsumFT:
    """The method after a step on the cross-entropy alone."""
    optimizer = torch.optim.SGD(method.train_only(method.stages[0].train).values(), lr=1.0)
    method(batch(), START)["cross_entropy"].backward()
    optimizer.step()
    optimizer.zero_grad()
    return method


def numbers(tensor: Tensor) -> np.ndarray:
    return tensor.detach().double().numpy()


@pytest.mark.parametrize("texts", ["tokens", "words"])
def test_the_gap_is_that_written_by_hand(texts: str) -> None:
    method, given = moved(make(weight=0.5, count=7, texts=texts)), batch()
    start = load_backbone("tiny")
    drawn = numbers(method.term.random_texts(START.moment))
    assert drawn.shape == (7, 32)
    energies, before = (
        10.0 * numbers(backbone.image(given.images)) @ drawn.T for backbone in (method.backbone, start)
    )  # 10 is the tiny one's scale
    expected = 0.5 * ((energies - before) ** 2).sum(-1).mean() / (2 * 7)
    assert expected > 1e-6
    assert method(given, START)["random_texts"].item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("form", ["gap", "kl"])
def test_before_training_the_term_and_its_gradient_are_exactly_zero(form: str) -> None:
    method = make(form=form)
    method.train_only(method.stages[0].train)
    term = method(batch(), START)["random_texts"]
    assert term.item() == 0
    assert all((g == 0).all() for g in torch.autograd.grad(term, list(method.backbone.image.parameters())))


def test_a_shift_common_to_all_texts_counts_in_the_gap_only() -> None:
    method = moved(make(form="kl"))
    gap = moved(make())(batch(), START)["random_texts"]
    assert 0 < method(batch(), START)["random_texts"] < gap


@pytest.mark.parametrize("texts", ["tokens", "words"])
def test_texts_are_new_in_each_step_and_equal_wherever_they_are_drawn(texts: str) -> None:
    method, other = make(texts=texts), make(texts=texts)
    first = method.term.random_texts(Progress(0, 10, 0, 2).moment)
    torch.rand(100)  # no draw elsewhere matters
    assert torch.equal(first, other.term.random_texts(Progress(0, 10, 0, 2).moment))
    later = [Progress(1, 10, 0, 2).moment, Progress(0, 10, 0, 2, stage=1).moment]
    assert not any(torch.equal(first, method.term.random_texts(moment)) for moment in later)
    other_seed = make(Prompts(PROMPTS.classes, PROMPTS.templates, PROMPTS.contexts, seed=6), texts=texts)
    assert not torch.equal(first, other_seed.term.random_texts(0))


def test_the_text_tower_and_the_scale_do_not_move() -> None:
    training = make().train_only(("backbone.image.", "head."))
    assert not any(name.startswith(("backbone.text.", "backbone.log_scale")) for name in training)


def test_it_works_on_a_clip_of_transformers(clip_folder: Path) -> None:
    prompts = Prompts(("red", "blue"), ("a {}",), ("a {}",))
    method = LipsumFT(LipsumFT.Config(length=14), load_backbone(str(clip_folder)), prompts)  # its context is 16
    images = torch.randn(2, 3, 32, 32)
    given = Batch(images, torch.tensor([0, 1]), *(torch.arange(2) for _ in range(3)))
    assert method(given, START)["random_texts"] == 0
    with pytest.raises(ValueError, match=r"method\.length=15: .* reads 16 tokens with 2 marks; give 1 to 14"):
        LipsumFT(LipsumFT.Config(length=15), load_backbone(str(clip_folder)), prompts)


def test_its_head_and_its_recipe_are_the_papers() -> None:
    assert make().head.convention == "unit"
    assert LipsumFT.recommended == {"engine.weight_decay": 0.0, "engine.warmup": 0.1}
    config = LipsumFT.Config()
    assert (config.weight, config.count, config.length) == (1.0, 80, 8)


def test_a_distribution_over_one_text_is_refused() -> None:
    with pytest.raises(ValueError, match=r"method\.count=1.*2 or more"):
        make(form="kl", count=1)
    assert make(count=1)(batch(), START)["random_texts"] == 0


@pytest.mark.parametrize("options", [{"weight": -1}, {"count": 0}, {"length": 0}, {"form": "mse"}, {"texts": "noise"}])
def test_an_option_out_of_range_is_refused(options: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        make(**options)
