import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from surefoot.backbones.base import load_backbone
from surefoot.data.batch import Batch
from surefoot.data.prompts import Prompts
from surefoot.engine.optim import build_optimizer, set_learning_rate
from surefoot.methods.base import Progress
from surefoot.methods.erm import ERM

PROMPTS = Prompts(("red", "green", "blue"), ("a {}", "a picture of a {}"), ("a bright {}",))
START = Progress(0, 10, 0, 1)


def batch(count: int = 6) -> Batch:
    images = torch.randn(count, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    none = torch.full((count,), -1)
    return Batch(images, torch.arange(count) % 3, none, torch.arange(count), none)


def make(**options: object) -> ERM:
    return ERM(ERM.Config.model_validate(options), load_backbone("tiny"), PROMPTS)


def numbers(tensor: Tensor) -> np.ndarray:
    return tensor.detach().double().numpy()


def test_the_loss_is_the_cross_entropy_of_a_random_linear_map_of_raw_features() -> None:
    method = make()
    features = numbers(method.backbone.image.raw(batch().images))
    assert np.linalg.norm(features, axis=-1) != pytest.approx(1, rel=1e-2)
    logits = features @ numbers(method.head.weight).T + numbers(method.head.bias)
    expected = (np.log(np.exp(logits).sum(-1)) - logits[np.arange(6), batch().labels.numpy()]).mean()
    assert method(batch(), START)["cross_entropy"].item() == pytest.approx(expected, rel=1e-5)


def test_dropout_leaves_features_out_and_scales_the_others_but_only_in_training() -> None:
    method, given = make(dropout=0.5), batch(64)
    seen: list[Tensor] = []
    method.head.register_forward_pre_hook(lambda _, features: seen.append(features[0].detach()))
    method.train()(given, START)
    method.eval()(given, START)
    raw = method.backbone.image.raw(given.images)
    kept = seen[0] != 0
    assert torch.equal(seen[0][kept], 2 * raw[kept])
    assert kept.float().mean().item() == pytest.approx(0.5, abs=0.05)
    assert torch.equal(seen[1], raw)
    method.train().classifier()(given.images)
    assert torch.equal(seen[2], raw)


def test_another_head_can_be_chosen() -> None:
    assert make().head.convention == "linear"
    assert make(head="scaled").head.convention == "scaled"


def test_its_optimizer_is_adam() -> None:
    assert ERM.recommended == {"engine.weight_decay": 0.0, "engine.warmup": 0.0}
    ours, theirs = nn.Parameter(torch.tensor([1.0, -2.0])), nn.Parameter(torch.tensor([1.0, -2.0]))
    adamw, adam = build_optimizer({1.0: [ours]}, weight_decay=0.0), torch.optim.Adam([theirs], lr=0.1)
    set_learning_rate(adamw, 0.1)
    for gradient in ([1.0, 2.0], [-3.0, 0.5], [0.0, 1.0]):
        ours.grad, theirs.grad = torch.tensor(gradient), torch.tensor(gradient)
        adamw.step()
        adam.step()
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("options", [{"dropout": 1.0}, {"dropout": -0.1}, {"head": "big"}])
def test_an_option_out_of_range_is_refused(options: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match=next(iter(options))):
        make(**options)
