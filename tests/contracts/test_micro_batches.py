"""For every method: a batch in parts (`engine.micro_batch`) has the loss and the gradients of the whole batch."""

from collections.abc import Iterator, Mapping

import pytest
import torch
from torch import Tensor

from surefoot import plugins
from surefoot.backbones.base import load_backbone
from surefoot.data.batch import Batch
from surefoot.data.prompts import Prompts
from surefoot.engine.towers import towers_told
from surefoot.methods.base import Method, Progress, Stage

PROMPTS = Prompts(
    ("red square", "green square", "blue square"),
    ("a {}", "a picture of a {}", "one {}"),
    ("a bright {}", "a dark {}"),
)
COUNT = 11  # images: the last part is smaller
every_method = pytest.mark.parametrize("name", plugins.names("methods"))


def make(name: str, path: str = "tiny") -> Method:
    plugin = plugins.find("methods", name, base=Method)
    method = plugin(plugin.Config(), load_backbone(path), PROMPTS)
    with torch.no_grad():
        draw = torch.Generator().manual_seed(3)
        for parameter in method.parameters():  # away from the teachers, where terms and their gradients are zero
            parameter += 0.02 * parameter.abs().mean() * torch.randn(parameter.shape, generator=draw)
    return method.eval()  # what is dropped at random differs between parts and a whole


def batch(view: int, dtype: torch.dtype) -> Batch:
    draw = torch.Generator().manual_seed(0)
    labels, index = torch.arange(COUNT) % 3, torch.arange(COUNT)
    images = torch.randn(COUNT, 3, 16, 16, generator=draw, dtype=torch.float32).to(dtype)
    return Batch(images, labels, torch.full((COUNT,), -1), index, torch.full((COUNT,), view))


def outcome(method: Method, number: int, stage: Stage, *, micro_batch: int) -> dict[str, Tensor]:
    """The loss terms, and the gradient of each weight that trains in a stage."""
    training = method.train_only(stage.train)
    method.zero_grad()
    with towers_told(method, micro_batch=micro_batch, compiled=False):
        given = batch(0 if stage.augment else -1, method.backbone.log_scale.dtype)
        terms = method(given, Progress(3, 10, 0, 2, number))
        loss = torch.stack(list(terms.values())).sum()
        if training:
            loss.backward()
    gradients = {name: p.grad.clone() for name, p in training.items() if p.grad is not None}
    assert gradients.keys() == training.keys()
    return {**{f"term {name}": term.detach() for name, term in terms.items()}, **gradients}


def flat(found: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """All terms as one vector, all gradients as another, in float64."""
    terms = [value for name, value in found.items() if name.startswith("term ")]
    gradients = [value for name, value in found.items() if not name.startswith("term ")]
    nothing = torch.zeros(1, dtype=torch.float64)
    return {
        "terms": torch.cat([nothing, *(value.double().flatten() for value in terms)]),
        "gradients": torch.cat([nothing, *(value.double().flatten() for value in gradients)]),
    }


def in_float64(method: Method, monkeypatch: pytest.MonkeyPatch) -> Method:
    """The method with all that is computed in float64, where towers would round their features to float32."""
    as_float = Tensor.float
    monkeypatch.setattr(Tensor, "float", lambda given: given if given.dtype == torch.float64 else as_float(given))
    torch.set_default_dtype(torch.float64)
    return method.double()


@pytest.fixture(autouse=True)
def default_dtype() -> Iterator[None]:
    yield
    torch.set_default_dtype(torch.float32)


@every_method
@pytest.mark.parametrize("micro_batch", [1, 4])
def test_parts_give_the_loss_and_the_gradients_of_the_whole_batch(
    name: str, micro_batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = in_float64(make(name), monkeypatch)
    for number, stage in enumerate(method.stages or (Stage(train=()),)):
        whole = outcome(method, number, stage, micro_batch=0)
        parts = outcome(method, number, stage, micro_batch=micro_batch)
        assert whole.keys() == parts.keys()
        for key, one in whole.items():
            assert one.dtype == torch.float64
            torch.testing.assert_close(parts[key], one, rtol=1e-9, atol=1e-12, msg=key)


@every_method
def test_in_float32_parts_are_as_close_to_the_exact_ones_as_the_whole_batch_is(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = make(name)
    stages = method.stages or (Stage(train=()),)
    rounded = [
        [flat(outcome(method, number, stage, micro_batch=size)) for size in (0, 4)]
        for number, stage in enumerate(stages)
    ]
    method = in_float64(make(name), monkeypatch)
    for number, (stage, (whole, parts)) in enumerate(zip(stages, rounded, strict=True)):
        exact = flat(outcome(method, number, stage, micro_batch=0))
        for key in exact:
            length = exact[key].norm()
            allowed = max(1e-6 * length, 3 * (whole[key] - exact[key]).norm())
            assert (parts[key] - exact[key]).norm() <= allowed, key
            assert (parts[key] - exact[key]).norm() <= 1e-5 * length, key
