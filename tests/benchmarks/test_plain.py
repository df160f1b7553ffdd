"""The plain losses of the benchmark are those of the methods: so the ratio compares equal mathematics."""

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from surefoot.backbones.base import load_backbone
from surefoot.config import resolve
from surefoot.data.batch import Batch
from surefoot.data.prompts import Prompts
from surefoot.methods.base import Method, Progress

PROMPTS = Prompts(("red", "green", "blue"), ("a {}", "a picture of a {}", "one {}"), ("a bright {}", "a dark {}"))


@pytest.fixture(scope="module")
def plain() -> Any:
    path = Path(__file__).parents[2] / "benchmarks" / "plain.py"
    spec = importlib.util.spec_from_file_location("plain", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    before = list(sys.path)
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path[:] = before
    return module


@pytest.mark.parametrize("name", ["flyp", "carot", "star_ft"])
def test_the_plain_loss_and_its_gradients_are_those_of_the_method(name: str, plain: Any) -> None:
    choice: Any = resolve({"method": name}).method
    method: Method = choice.plugin(choice.options, load_backbone("tiny"), PROMPTS)
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in method.parameters():  # away from the teacher
            parameter += 0.1 * parameter.abs().mean() * torch.randn(parameter.shape, generator=draw)
    labels, index = torch.arange(8) % 3, torch.arange(8)
    given = Batch(torch.randn(8, 3, 16, 16, generator=draw), labels, torch.full((8,), -1), index, torch.zeros(8).long())
    training, progress = method.train_only(method.stages[0].train), Progress(3, 10, 0, 3)
    found = []
    for loss in (
        torch.stack(list(method(given, progress).values())).sum(),
        plain.LOSSES[name](method, plain.teacher_of(method, name), given, progress),
    ):
        method.zero_grad()
        loss.backward()
        gradients = [p.grad.flatten() for p in training.values() if p.grad is not None]
        found.append((loss.detach(), torch.cat(gradients)))
    (ours, our_gradient), (theirs, their_gradient) = found
    assert len(our_gradient) == sum(p.numel() for p in training.values())
    torch.testing.assert_close(theirs, ours, rtol=1e-5, atol=0)
    assert (their_gradient - our_gradient).norm() <= 1e-4 * our_gradient.norm()
