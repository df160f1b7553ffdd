import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from torch import Tensor
from torch.nn import functional as F

from surefoot.evaluation.calibration import HIGHEST, LOWEST, fit_temperature


def example(*, count: int = 300, classes: int = 5, sharpness: float = 1.0, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Logits whose right temperature is near `sharpness`: labels drawn from softmax(logits / sharpness)."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(count, classes, generator=generator)
    labels = torch.multinomial(F.softmax(logits, -1), 1, generator=generator).squeeze(1)
    return sharpness * logits, labels


def nll(logits: Tensor, labels: Tensor, temperature: float) -> float:
    return F.cross_entropy(logits.double() / temperature, labels).item()


@pytest.mark.parametrize("sharpness", [0.05, 0.3, 1.0, 4.0, 30.0])
def test_a_known_temperature_is_found(sharpness: float) -> None:
    logits, labels = example(count=20_000, sharpness=sharpness)
    assert fit_temperature(logits, labels) == pytest.approx(sharpness, rel=0.05)


@pytest.mark.parametrize("seed", range(5))
def test_no_temperature_of_a_grid_is_better(seed: int) -> None:
    logits, labels = example(sharpness=3.0, seed=seed)
    fitted = nll(logits, labels, fit_temperature(logits, labels))
    assert fitted <= min(nll(logits, labels, t) for t in np.geomspace(LOWEST, HIGHEST, 400))


@pytest.mark.parametrize("seed", range(5))
def test_scipy_finds_the_same_minimum(seed: int) -> None:
    logits, labels = example(sharpness=0.5, seed=seed)
    oracle = minimize_scalar(
        lambda log_t: nll(logits, labels, math.exp(log_t)), bounds=(-4, 4), method="bounded", options={"xatol": 1e-9}
    )
    assert fit_temperature(logits, labels) == pytest.approx(math.exp(oracle.x), rel=1e-5)


@given(seed=st.integers(0, 10_000), factor=st.floats(0.1, 10), count=st.integers(1, 40))
@settings(max_examples=60, deadline=None)
def test_scaled_logits_scale_the_temperature(seed: int, factor: float, count: int) -> None:
    logits, labels = example(count=count, seed=seed)
    once, scaled = fit_temperature(logits, labels), fit_temperature((factor * logits).double(), labels)
    assert math.isfinite(once)
    assert LOWEST <= once <= HIGHEST
    if LOWEST * 20 < once < HIGHEST / 20:
        assert scaled == pytest.approx(factor * once, rel=1e-3)


def test_all_right_answers_give_a_temperature_above_the_lower_bound_that_falls_with_their_number() -> None:
    few, many = (fit_temperature(2 * torch.eye(4).repeat(n, 1), torch.arange(4).repeat(n)) for n in (2, 200))
    assert LOWEST < many < few < 1
    # by hand: n right of n + 2, and the smoothing spread over 4 classes: p = 1 - 3/4 * 1/(n + 2)
    p = 1 - 0.75 / (4 * 2 + 2)
    assert few == pytest.approx(2 / math.log(3 * p / (1 - p)), rel=1e-6)


def test_answers_worse_than_chance_end_at_the_upper_bound() -> None:
    assert fit_temperature(5 * torch.eye(3), torch.tensor([1, 2, 0])) == pytest.approx(HIGHEST)


def test_equal_logits_leave_the_temperature_at_one() -> None:
    assert fit_temperature(torch.full((6, 3), 0.7), torch.tensor([0, 1, 2, 0, 1, 2])) == 1


def test_large_logits_do_not_overflow() -> None:
    logits, labels = example(sharpness=50.0)
    assert fit_temperature(logits + 1e4, labels) == pytest.approx(fit_temperature(logits, labels), rel=1e-2)


@pytest.mark.parametrize(
    ("logits", "labels", "message"),
    [
        (torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64), "shape"),
        (torch.zeros(2, 1), torch.zeros(2, dtype=torch.int64), "C >= 2"),
        (torch.zeros(2, 3), torch.zeros(3, dtype=torch.int64), "one label a row"),
        (torch.zeros(2, 3), torch.tensor([0, 3]), "from 0 to 2"),
        (torch.zeros(2, 3), torch.tensor([0, -1]), "from 0 to 2"),
        (torch.zeros(2, 3), torch.tensor([0.0, 1.0]), "whole numbers"),
        (torch.tensor([[0.0, float("nan")]]), torch.tensor([0]), "not finite"),
        (torch.tensor([[0.0, -float("inf")]]), torch.tensor([0]), "not finite"),
    ],
)
def test_bad_input_is_explained(logits: Tensor, labels: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fit_temperature(logits, labels)
