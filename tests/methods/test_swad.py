from collections.abc import Iterator

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor
from torch.nn import functional as F

from surefoot.backbones.base import load_backbone
from surefoot.data.batch import Batch
from surefoot.data.held_out import NOTHING, HeldOut
from surefoot.data.prompts import Prompts
from surefoot.loss_valley import LossValley
from surefoot.methods.base import Method, Progress
from surefoot.methods.erm import ERM
from surefoot.methods.swad import SWAD, segment_ends

PROMPTS = Prompts(("red", "green", "blue"), ("a {}", "a picture of a {}"), ("a bright {}",))
STEPS = 25


def batch(count: int = 6, *, seed: int = 0) -> Batch:
    images = torch.randn(count, 3, 16, 16, generator=torch.Generator().manual_seed(seed))
    none = torch.full((count,), -1)
    return Batch(images, torch.arange(count) % 3, none, torch.arange(count), none)


class Kept(HeldOut):
    """These batches, counting how often they are read."""

    def __init__(self, *batches: Batch) -> None:
        self.batches, self.reads = batches, 0

    def once(self) -> Iterator[Batch]:
        self.reads += 1
        return iter(self.batches)


def make(**options: object) -> SWAD:
    return SWAD(SWAD.Config.model_validate(options), load_backbone("tiny"), PROMPTS)


def trained(method: Method, held_out: HeldOut, *, steps: int = STEPS) -> list[dict[str, Tensor]]:
    """Trains a method to its end; the classifier's weights after each step."""
    optimizer = torch.optim.Adam(method.train_only(method.stages[0].train).values(), lr=5e-4)
    seen = []
    for step in range(steps):
        progress = Progress(step, steps, 0, 1)
        torch.stack(list(method(batch(), progress).values())).sum().backward()
        optimizer.step()
        method.after_step(progress)
        method.consult(held_out, progress)
        optimizer.zero_grad()
        seen.append(weights(method))
    method.finalize()
    return seen


def weights(method: Method) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in method.classifier().state_dict().items()}


def losses_at(looks: list[int], seen: list[dict[str, Tensor]], held_out: Batch) -> list[float]:
    """The held-out loss of the weights after these steps."""
    classifier, found = make().classifier(), []
    for look in looks:
        classifier.load_state_dict(seen[look])
        with torch.no_grad():
            found.append(F.cross_entropy(classifier(held_out.images), held_out.labels).item())
    return found


@pytest.mark.parametrize(
    ("labels", "tolerance", "dead", "converges"),
    [
        ([0, 1, 2, 0, 1, 0], 0.1, True, True),  # one is wrong: the loss falls, then rises
        ([0, 1, 2, 0, 1, 0], 0.3, False, True),
        ([0, 1, 2, 0, 1, 2], 0.3, False, False),  # those that are trained: the loss only falls
    ],
)
def test_the_end_is_the_mean_of_the_steps_in_the_valley(
    labels: list[int], tolerance: float, dead: bool, converges: bool
) -> None:
    method, looks = make(segments=12, tolerance=tolerance), list(range(0, STEPS, 2))
    held_out = batch()._replace(labels=torch.tensor(labels))
    seen = trained(method, Kept(held_out))
    losses = losses_at(looks, seen, held_out)
    valley = LossValley(3, 6, tolerance)
    assert method.history.dead == dead
    assert (valley.at_the_end(losses) != (12,)) == converges
    segments = [[0], *([look - 1, look] for look in looks[1:])]
    for name, value in weights(method).items():
        means = [np.mean([seen[step][name].double().numpy() for step in steps], axis=0) for steps in segments]
        expected = np.mean([means[segment] for segment in valley.at_the_end(losses)], axis=0)
        np.testing.assert_allclose(value.double().numpy(), expected, rtol=1e-5, atol=1e-6)


def test_training_is_that_of_erm() -> None:
    plain = ERM(ERM.Config(), load_backbone("tiny"), PROMPTS)
    for ours, theirs in zip(trained(make(), Kept(batch())), trained(plain, NOTHING), strict=True):
        assert all(torch.equal(value, theirs[name]) for name, value in ours.items())


def test_the_loss_is_the_mean_over_groups_of_the_weights_as_they_stand() -> None:
    method = make()
    first, second = batch(4, seed=1), batch(3, seed=2)
    groups = np.array([0, 1, 1, 1, 0, 1, -1])
    split = torch.from_numpy(groups).split((4, 3))
    given = Kept(*(part._replace(groups=group) for part, group in zip((first, second), split, strict=True)))
    with torch.no_grad():
        logits = torch.cat([method.classifier()(part.images) for part in (first, second)]).double().numpy()
    labels = torch.cat([first.labels, second.labels]).numpy()
    each = np.log(np.exp(logits).sum(-1)) - logits[np.arange(7), labels]
    expected = np.mean([each[groups == group].mean() for group in (-1, 0, 1)])
    assert method.validation_loss(given) == pytest.approx(expected, rel=1e-5)
    assert method.validation_loss(Kept(first, second)) == pytest.approx(each.mean(), rel=1e-5)
    assert method.training


def test_segments_of_domainbed_end_every_hundred_steps_from_the_first_on() -> None:
    assert segment_ends(5001, 50) == list(range(0, 5001, 100))
    assert segment_ends(11, 4) == [0, 2, 5, 8, 10]
    assert segment_ends(3, 50) == [0, 1, 2]
    assert segment_ends(1, 50) == [0]


def test_validation_is_read_at_the_looks_only_and_not_after_the_valley_is_dead() -> None:
    falling, rising = Kept(batch()), Kept(batch()._replace(labels=torch.tensor([1, 2, 0, 1, 2, 0])))
    trained(make(segments=12), falling)
    assert falling.reads == 13
    method = make(segments=12)
    trained(method, rising)
    assert method.history.dead
    assert rising.reads == len(method.history.losses) < 13


def test_validation_chooses_and_the_results_will_say_so() -> None:
    assert SWAD.selected_on == "validation"


def test_without_validation_images_it_says_what_is_missing() -> None:
    with pytest.raises(ValueError, match="swad chooses by the loss on validation images, and there are none"):
        trained(make(), NOTHING)


@pytest.mark.parametrize(
    "options", [{"tolerance": -0.1}, {"segments": 0}, {"optimum_patience": 0}, {"overfit_patience": 0}]
)
def test_an_option_out_of_range_is_refused(options: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match=next(iter(options))):
        make(**options)
