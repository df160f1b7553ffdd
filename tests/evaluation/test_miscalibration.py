"""Measures of calibration against torchmetrics, slow loops in float64 and exact sums."""

import time
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from surefoot.evaluation.metrics import batch_mean_ece, brier, expected_calibration_error
from surefoot.evaluation.miscalibration import (
    brier_parts,
    classwise_ece,
    debiased_calibration_error,
    ece_noise_floor,
    maximum_calibration_error,
    miscalibration,
    paper_compat,
)

seeds = st.integers(0, 2**31)


def drawn(seed: int, *, count: int, classes: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Probabilities and labels; every third row certain (exactly 0 and 1), every fourth uniform (ties, edges)."""
    generator = np.random.default_rng(seed)
    probabilities = generator.dirichlet(np.full(classes, 0.3), size=count)
    probabilities[::3] = np.eye(classes)[generator.integers(classes, size=len(probabilities[::3]))]
    probabilities[1::4] = 1 / classes
    return probabilities, generator.integers(classes, size=count)


def binned(values: Any, hits: Any, *, bins: int) -> list[tuple[int, float, float]]:
    """Count, mean value and share of hits of each bin with examples, by a loop."""
    found = []
    for b in range(bins):
        inside = [i for i, v in enumerate(values) if (b / bins < v or (b == 0 and v == 0)) and v <= (b + 1) / bins]
        if inside:
            size = len(inside)
            found.append((size, sum(values[i] for i in inside) / size, sum(bool(hits[i]) for i in inside) / size))
    return found


@given(seed=seeds, count=st.integers(1, 40), classes=st.integers(2, 6), bins=st.integers(1, 20))
@settings(max_examples=60, deadline=None)
def test_class_by_class_measures_are_what_slow_loops_say(seed: int, count: int, classes: int, bins: int) -> None:
    p, y = drawn(seed, count=count, classes=classes)
    counted = [c for c in range(classes) if p[:, c].max() > 0 or (y == c).any()]
    table = {c: binned(p[:, c], y == c, bins=bins) for c in range(classes)}
    ece = sum(n * abs(mean - share) for c in counted for n, mean, share in table[c]) / count / len(counted)
    part = sum(n * (mean - share) ** 2 for c in range(classes) for n, mean, share in table[c]) / count
    assert classwise_ece(p, y, bins=bins) == pytest.approx(ece, abs=1e-7)
    found = brier_parts(p, y, bins=bins)
    assert found["calibration"] == pytest.approx(part, abs=1e-7)
    assert found["calibration"] + found["refinement"] == pytest.approx(brier(p, y), abs=1e-12)


@given(seed=seeds, count=st.integers(2, 60), bins=st.integers(1, 20))
@settings(max_examples=60, deadline=None)
def test_maximum_and_debiased_errors_are_what_slow_loops_say(seed: int, count: int, bins: int) -> None:
    p, y = drawn(seed, count=count, classes=4)
    confidence, correct = p.max(-1), p.argmax(-1) == y
    worst = max(abs(mean - share) for _, mean, share in binned(confidence, correct, bins=bins))
    assert maximum_calibration_error(confidence, correct, bins=bins) == pytest.approx(worst, abs=1e-7)
    total, order = 0.0, sorted(range(count), key=lambda i: confidence[i])
    used = min(bins, count // 2)
    for b in range(used):
        inside = [i for place, i in enumerate(order) if place * used // count == b]
        share = sum(bool(correct[i]) for i in inside) / len(inside)
        gap = sum(confidence[i] for i in inside) / len(inside) - share
        total += len(inside) / count * (gap**2 - share * (1 - share) / (len(inside) - 1))
    expected = max(total, 0.0)
    assert debiased_calibration_error(confidence, correct, bins=bins) ** 2 == pytest.approx(expected, abs=1e-9)


@given(seed=seeds, count=st.integers(1, 200), bins=st.sampled_from([2, 4, 8, 16]))
@settings(max_examples=40, deadline=None)
def test_ece_and_maximum_are_those_of_torchmetrics(seed: int, count: int, bins: int) -> None:
    """Bins are a power of two: torchmetrics puts edges by float32, where a fraction such as 1/3 is another number."""
    torch = pytest.importorskip("torch")
    oracle = pytest.importorskip("torchmetrics.functional.classification").binary_calibration_error
    generator = np.random.default_rng(seed)
    confidence = np.float32(generator.random(count) * 0.98 + 0.01)
    correct = generator.random(count) < 0.6
    given_ = torch.from_numpy(confidence).double(), torch.from_numpy(correct).long()
    for norm, own in (("l1", expected_calibration_error), ("max", maximum_calibration_error)):
        assert own(confidence, correct, bins=bins) == pytest.approx(
            float(oracle(*given_, n_bins=bins, norm=norm)), abs=1e-7
        )


@pytest.mark.parametrize("confidence", [[0.7, 0.9], [0.2, 0.25, 0.95], [1.0, 1.0], [0.31, 0.97, 0.5, 0.99]])
def test_the_noise_floor_is_the_exact_expectation(confidence: list[float]) -> None:
    exact = 0.0
    for outcome in product([False, True], repeat=len(confidence)):
        chance = np.prod([c if right else 1 - c for c, right in zip(confidence, outcome, strict=True)])
        exact += float(chance) * expected_calibration_error(confidence, np.array(outcome))
    assert ece_noise_floor(confidence, draws=20_000) == pytest.approx(exact, abs=0.005)
    assert ece_noise_floor(confidence) == ece_noise_floor(confidence)


def test_a_calibrated_model_scores_its_noise_floor_and_no_debiased_error() -> None:
    generator = np.random.default_rng(0)
    confidence = generator.beta(5, 2, size=5000)
    correct = generator.random(5000) < confidence
    floor = ece_noise_floor(confidence)
    assert 0.5 * floor < expected_calibration_error(confidence, correct) < 2 * floor
    assert debiased_calibration_error(confidence, correct) < floor
    assert expected_calibration_error(confidence, generator.random(5000) < confidence - 0.1 * confidence) > 3 * floor


def test_halves_and_certainty_are_handled() -> None:
    p, y = drawn(3, count=50, classes=4)
    half = p.astype(np.float16)
    wide = half.astype(np.float64)
    correct = half.argmax(-1) == y
    assert miscalibration(half, y, correct) == miscalibration(wide, y, correct)
    certain = np.eye(4)[y]
    found = miscalibration(certain, y, np.ones(50))
    assert set(found.values()) == {0.0}


def test_paper_compat_is_ten_bins_in_batches_of_512() -> None:
    generator = np.random.default_rng(1)
    confidence = generator.random(1500)
    correct = generator.random(1500) < 0.5
    assert paper_compat(confidence, correct) == {"ece": batch_mean_ece(confidence, correct, bins=10, batch_size=512)}


def test_a_class_outside_the_mask_does_not_count() -> None:
    p, y = drawn(5, count=30, classes=3)
    padded = np.concatenate([p, np.zeros((30, 5))], axis=1)
    assert classwise_ece(padded, y) == pytest.approx(classwise_ece(p, y))


def test_bad_input_is_named() -> None:
    y = np.array([0, 1])
    with pytest.raises(ValueError, match="not be NaN"):
        classwise_ece(np.array([[np.nan, 1.0], [0.5, 0.5]]), y)
    with pytest.raises(ValueError, match="at least one example"):
        brier_parts(np.zeros((0, 2)), np.zeros(0, dtype=np.int64))
    with pytest.raises(ValueError, match="labels must be one an example"):
        classwise_ece(np.full((2, 2), 0.5), np.array([0, 2]))
    with pytest.raises(ValueError, match="needs at least 2"):
        debiased_calibration_error([0.5], [True])
    with pytest.raises(ValueError, match="draws is 0"):
        ece_noise_floor([0.5], draws=0)
    with pytest.raises(ValueError, match="at least one example"):
        ece_noise_floor([])


def test_ten_thousand_by_a_thousand_take_less_than_two_seconds_of_a_processor() -> None:
    p, y = drawn(0, count=10_000, classes=1000)
    correct = p.argmax(-1) == y
    took = []
    for _ in range(3):
        start = time.process_time()
        miscalibration(p, y, correct)
        took.append(time.process_time() - start)
    assert min(took) < 2, took
