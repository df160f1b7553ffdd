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
from surefoot.methods.ftp import FTP, ftp_step

GOLDENS = Path(__file__).parents[1] / "goldens" / "kin.npz"
PROMPTS = Prompts(("red", "green", "blue"), ("a {}", "a picture of a {}"), ("a bright {}",))


def batch(count: int = 6) -> Batch:
    images = torch.randn(count, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    none = torch.full((count,), -1)
    return Batch(images, torch.arange(count) % 3, none, torch.arange(count), none)


def make(**options: object) -> FTP:
    return FTP(FTP.Config.model_validate(options), load_backbone("tiny"), PROMPTS)


def train(method: FTP, steps: int, *, lr: float = 1e-2) -> FTP:
    optimizer = torch.optim.AdamW(method.train_only(method.stages[0].train).values(), lr=lr, weight_decay=0)
    for step in range(steps):
        progress = Progress(step, steps, 0, 1)
        torch.stack(list(method(batch(), progress).values())).sum().backward()
        optimizer.step()
        method.after_step(progress)
        optimizer.zero_grad()
    return method


def tower(method: FTP) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in method.backbone.image.named_parameters()}


@pytest.mark.parametrize("shape", ["matrix", "vector"])
def test_five_steps_are_those_computed_independently(shape: str) -> None:
    golden = {name: torch.from_numpy(value) for name, value in np.load(GOLDENS).items() if name.startswith("ftp_")}
    start = golden[f"ftp_start_{shape}"]
    weight = torch.nn.Parameter(start.clone())
    lr, decay = float(golden["ftp_lr"]), float(golden["ftp_weight_decay"])
    optimizer = torch.optim.AdamW([weight], lr=lr, weight_decay=decay)
    previous, learned = torch.zeros_like(start), torch.zeros(3, dtype=torch.float64)
    for step, gradient in enumerate(golden[f"ftp_grad_{shape}"], start=1):
        weight.grad = gradient.clone()
        optimizer.step()
        with torch.no_grad():
            change = weight - start
            options = {"annealing": float(golden["ftp_k"]), "lr": 1e-2}
            kept, learned = ftp_step(change, previous, gradient, learned, step, **options)
            weight.copy_(start + kept)
            previous = change
        assert (weight - golden[f"ftp_{shape}"][step - 1]).abs().max() < 1e-9


def test_a_vector_is_one_row_and_each_filter_of_a_convolution_is_one() -> None:
    learned = torch.zeros(3)
    vector = torch.tensor([3.0, -1.0])
    kept, _ = ftp_step(vector, vector, vector, learned, 1, annealing=1, lr=0.01)
    torch.testing.assert_close(kept, 1e-8 * vector / 4)
    filters = torch.stack([torch.ones(3, 2, 2), torch.full((3, 2, 2), 2.0)])
    kept, _ = ftp_step(filters, filters, filters, learned, 1, annealing=1, lr=0.01)
    torch.testing.assert_close(kept, torch.full_like(filters, 1e-8 / 12))


def test_a_radius_grows_where_the_loss_asks_for_more_and_shrinks_less_with_annealing() -> None:
    change, learned = torch.ones(2, 2), torch.tensor([0.5, 0.0, 0.0])
    _, more = ftp_step(change, change, -change, learned, 2, annealing=0.5, lr=0.01)
    _, less = ftp_step(change, change, change, learned, 2, annealing=1.0, lr=0.01)
    _, none = ftp_step(change, change, change, learned, 2, annealing=0.0, lr=0.01)
    assert more[0] > 0.5 > less[0]
    assert none.tolist() == [0.5, 0.0, 0.0]
    assert more[1] == pytest.approx(-0.2)  # a tenth of -2: the gradient's sum along both rows over their lengths, 2


def test_a_radius_goes_no_further_than_the_longest_row() -> None:
    change = torch.tensor([[0.1, 0.1], [0.2, 0.3]])
    kept, learned = ftp_step(change, change, -change, torch.tensor([9.0, 0, 0]), 2, annealing=1, lr=0.01)
    assert learned[0] == pytest.approx(0.5)
    torch.testing.assert_close(kept, change)


def test_the_first_step_is_taken_back_from_the_tower_and_not_from_the_head() -> None:
    method, start = make(), make()
    train(method, 1)
    for name, value in tower(method).items():
        torch.testing.assert_close(value, tower(start)[name], rtol=0, atol=1e-7)
    assert (method.head.weight - start.head.weight).abs().max() > 1e-3


def test_later_the_tower_moves_but_no_row_beyond_its_radius() -> None:
    method = train(make(), 6)
    start = tower(make())
    moved = 0
    for (name, value), learned in zip(tower(method).items(), method.learned, strict=True):
        change = value - start[name]
        rows = change.flatten(1) if change.dim() > 1 else change[None]
        assert rows.abs().sum(1).max() <= learned[0] * 1.001 + 1e-5, name
        moved += int(change.abs().max() > 1e-5)
    assert moved > 5


def test_what_it_remembers_is_saved_and_its_start_is_not() -> None:
    method = train(make(), 2)
    names = method.state_dict().keys()
    assert {"learned", *(f"proposed.{name}" for name in tower(method))} <= names
    assert not any(name.startswith("start") for name in names)
    assert {name for name, _ in method.named_buffers() if "." not in name} == {
        "learned"
    }  # small: DDP sends buffers around
    changes = [method.state_dict()[f"proposed.{name}"] - value for name, value in tower(method).items()]
    assert max(change.abs().max() for change in changes) > 1e-3  # before and after the last projection


def test_gradients_are_not_clipped_and_weights_not_decayed_unless_the_user_says_so() -> None:
    assert FTP.recommended == {"engine.weight_decay": 0.0}


@pytest.mark.parametrize("options", [{"annealing": -0.1}, {"annealing": 1.1}, {"radius_lr": 0}, {"norm": "l2"}])
def test_an_option_out_of_range_is_refused(options: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match=next(iter(options))):
        make(**options)
