"""Every loss of images and texts with a reference, called in one way: what the tests of this folder loop over."""

from collections.abc import Callable
from typing import NamedTuple

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from surefoot import losses
from surefoot.losses import similarity


class Inputs(NamedTuple):
    image: Tensor  # (N, D), as are the next three; unit norm
    text: Tensor
    reference_image: Tensor
    reference_text: Tensor
    words: Tensor  # (M, D), unit norm
    labels: Tensor  # (N)
    scale: Tensor | float
    reference_scale: Tensor | float

    def to(self, dtype: torch.dtype) -> "Inputs":
        return self._replace(**{name: getattr(self, name).to(dtype) for name in FEATURES})

    def at_the_reference(self) -> "Inputs":
        """The state before training: the student is the reference, as separate tensors."""
        return self._replace(
            image=self.reference_image.clone(), text=self.reference_text.clone(), scale=self.reference_scale
        )

    def tracked(self) -> "Inputs":
        return self._replace(**{name: getattr(self, name).detach().clone().requires_grad_() for name in FEATURES})


FEATURES = ("image", "text", "reference_image", "reference_text", "words")
Loss = Callable[[Inputs], Tensor]


def made(rows: int, *, dim: int = 8, words: int = 5, classes: int = 3, seed: int = 0, scale: float = 100.0) -> Inputs:
    """Random unit features in float64; images lie near their references, texts near theirs."""
    generator = torch.Generator().manual_seed(seed)

    def draw(count: int) -> Tensor:
        return torch.randn(count, dim, dtype=torch.float64, generator=generator)

    image, text = draw(rows), draw(rows)
    features = [image + 0.3 * draw(rows), text + 0.3 * draw(rows), image, text, draw(words)]
    labels = torch.randint(classes, (rows,), generator=generator)
    return Inputs(*(F.normalize(part, dim=-1) for part in features), labels, scale, 0.9 * scale)


def _logits(i: Inputs) -> tuple[Tensor, Tensor]:
    return similarity(i.image, i.text, i.scale), similarity(i.reference_image, i.reference_text, i.reference_scale)


REGULARISERS: dict[str, Loss] = {
    "context_kl": lambda i: losses.context_kl(i.image, i.reference_image, i.words, i.scale),
    "random_text_gap": lambda i: losses.random_text_gap(i.image, i.reference_image, i.words, i.scale),
    "random_text_kl": lambda i: losses.random_text_kl(i.image, i.reference_image, i.words, i.scale),
    "spurious_alignment": lambda i: losses.spurious_alignment(
        i.image, i.text, i.reference_image, i.reference_text, i.reference_scale, i.labels
    ),
    "spurious_kl": lambda i: losses.spurious_kl(
        i.image, i.text, i.reference_image, i.reference_text, i.reference_scale
    ),
    "class_kl": lambda i: losses.class_kl(*_logits(i), temperature=2.0),
    "relational_distillation": lambda i: losses.relational_distillation(*_logits(i)),
    "feature_distance": lambda i: losses.feature_distance(i.image, i.text, i.reference_image, i.reference_text),
    "cross_distillation": lambda i: losses.cross_distillation(
        i.image, i.text, i.reference_image, i.reference_text, i.scale, i.reference_scale
    ),
}
"""Zero where student and reference agree."""

LOSSES: dict[str, Loss] = {
    **REGULARISERS,
    "contrastive_loss": lambda i: losses.contrastive_loss(i.image, i.text, i.scale),
    "cross_contrastive": lambda i: losses.cross_contrastive(
        i.image, i.text, i.reference_image, i.reference_text, i.scale
    ),
    "mpm_nce": lambda i: losses.mpm_nce(i.image, i.text, i.scale, i.labels),
    "self_distillation": lambda i: losses.self_distillation(*_logits(i)),
}


def gradients(loss: Loss, inputs: Inputs) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss and its gradient with respect to each of the features, zero where it does not reach."""
    tracked = inputs.tracked()
    value = loss(tracked)
    features = [getattr(tracked, name) for name in FEATURES]
    grads = torch.autograd.grad(value, features, materialize_grads=True)
    return value.detach(), dict(zip(FEATURES, grads, strict=True))


@pytest.fixture(scope="session", name="made")
def made_fixture() -> Callable[..., Inputs]:
    """The function that draws the inputs of a loss."""
    return made


@pytest.fixture(scope="session", name="gradients")
def gradients_fixture() -> Callable[[Loss, Inputs], tuple[Tensor, dict[str, Tensor]]]:
    """The function that gives a loss and its gradients by name."""
    return gradients


@pytest.fixture(scope="session")
def all_losses() -> dict[str, Loss]:
    return LOSSES


@pytest.fixture(scope="session", params=LOSSES)
def loss(request: pytest.FixtureRequest) -> Loss:
    """Each loss in turn."""
    return LOSSES[request.param]


@pytest.fixture(scope="session", params=REGULARISERS)
def regulariser(request: pytest.FixtureRequest) -> Loss:
    """Each loss in turn that is zero where student and reference agree."""
    return REGULARISERS[request.param]
