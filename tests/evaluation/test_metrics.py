"""Measures against hand-made numbers, slow loops and scikit-learn."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import binomtest
from sklearn.metrics import accuracy_score, brier_score_loss, f1_score, log_loss, recall_score

from surefoot.evaluation.metrics import (
    Group,
    accuracy,
    batch_mean_ece,
    bin_numbers,
    brier,
    class_accuracy,
    class_mean_accuracy,
    equal_mass_ece,
    expected_calibration_error,
    group_accuracy,
    group_gap,
    macro_f1,
    mean,
    negative_log_likelihood,
    reliability,
    reweighted_accuracy,
    wilson_interval,
    worst,
    worst_group,
)

ECES: list[Callable[..., float]] = [expected_calibration_error, equal_mass_ece, batch_mean_ece]
seeds = st.integers(0, 2**31)


def predictions(seed: int, *, count: int, classes: int = 4) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Probabilities (count, classes), labels and whether the likeliest class is right."""
    generator = np.random.default_rng(seed)
    logits = 2 * generator.normal(size=(count, classes))
    probabilities = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    labels = generator.integers(classes, size=count)
    return probabilities, labels, probabilities.argmax(-1) == labels


def slow_ece(confidence: Any, correct: Any, *, bins: int) -> float:
    """A loop over bins, each open on the left and closed on the right, the first one closed on both sides."""
    total = 0.0
    for b in range(bins):
        inside = [i for i, c in enumerate(confidence) if (b / bins < c or (b == 0 and c == 0)) and c <= (b + 1) / bins]
        if inside:
            gap = sum(confidence[i] for i in inside) / len(inside) - sum(bool(correct[i]) for i in inside) / len(inside)
            total += abs(gap) * len(inside) / len(confidence)
    return total


# --- accuracy ------------------------------------------------------------------------------------------------------


@settings(max_examples=20, deadline=None)
@given(seed=seeds, count=st.integers(1, 60))
def test_accuracies_are_those_of_scikit_learn(seed: int, count: int) -> None:
    probabilities, labels, correct = predictions(seed, count=count)
    assert accuracy(correct) == pytest.approx(accuracy_score(labels, probabilities.argmax(-1)))
    of_classes, counts = class_accuracy(correct, labels, classes=4)
    present = [value for value in of_classes if value is not None]
    assert counts == [int((labels == number).sum()) for number in range(4)]
    recall = recall_score(labels, probabilities.argmax(-1), labels=np.unique(labels), average="macro")
    assert mean(present) == class_mean_accuracy(correct, labels, classes=4) == pytest.approx(recall)
    f1 = f1_score(labels, probabilities.argmax(-1), labels=np.unique(labels), average="macro", zero_division=0)
    assert macro_f1(probabilities.argmax(-1), labels, classes=4) == pytest.approx(f1)


def test_a_class_without_examples_has_no_accuracy() -> None:
    of_classes, counts = class_accuracy(np.array([True, False, True]), np.array([2, 2, 0]), classes=4)
    assert of_classes == [1.0, None, 0.5, None]
    assert counts == [1, 0, 2, 0]


def test_groups_without_examples_and_examples_without_group_do_not_count() -> None:
    groups = np.array([0, 0, 2, -1])
    found = group_accuracy(np.array([True, False, True, False]), groups, names=["a", "b", "c"])
    assert found == {"a": {"accuracy": 0.5, "count": 2}, "c": {"accuracy": 1.0, "count": 1}}
    assert worst_group(found) == 0.5


def test_without_groups_there_is_no_worst_group() -> None:
    assert worst_group(group_accuracy(np.array([True]), np.array([-1]), names=[])) is None


def test_groups_are_weighted_by_their_shares_of_the_training_examples() -> None:
    """By hand with Waterbirds' training counts: (3498 * .99 + 184 * .6 + 56 * .5 + 1057 * .95) / 4795."""
    accuracies = {"land on land": 0.99, "land on water": 0.6, "water on land": 0.5, "water on water": 0.95}
    groups = {name: Group(accuracy=accuracy, count=7) for name, accuracy in accuracies.items()}
    training = {"land on land": 3498, "land on water": 184, "water on land": 56, "water on water": 1057}
    assert reweighted_accuracy(groups, training) == pytest.approx(4605.57 / 4795)


def test_a_group_that_was_never_trained_on_has_no_weight_and_a_missing_one_leaves_no_number() -> None:
    groups = {"a": Group(accuracy=0.5, count=1), "b": Group(accuracy=1.0, count=9)}
    assert reweighted_accuracy(groups, {"a": 3, "b": 0, "c": 0}) == 0.5
    assert reweighted_accuracy(groups, {"a": 3, "b": 1}) == 0.625
    assert reweighted_accuracy(groups, {"a": 3, "c": 1}) is None
    assert reweighted_accuracy(groups, {"a": 0, "b": 0}) is None
    assert reweighted_accuracy({}, {}) is None


def test_mean_and_worst_of_the_shifts() -> None:
    shifts = {"sketch": 0.5, "paint": 0.7}
    assert mean(shifts.values()) == pytest.approx(0.6)
    assert worst(shifts.values()) == 0.5


# --- calibration ---------------------------------------------------------------------------------------------------


def test_bins_are_open_on_the_left_and_closed_on_the_right() -> None:
    confidence = np.array([0.0, 1e-9, 0.25, 0.25 + 1e-9, 0.5, 0.75, 0.76, 1.0])
    assert bin_numbers(confidence, bins=4).tolist() == [0, 0, 0, 1, 1, 2, 3, 3]


@pytest.mark.parametrize("bins", [1, 7, 10, 15, 25, 100])
def test_every_edge_falls_into_the_bin_it_closes(bins: int) -> None:
    edges = np.array([b / bins for b in range(1, bins + 1)])
    assert bin_numbers(edges, bins=bins).tolist() == list(range(bins))


def test_reliability_of_a_hand_made_case() -> None:
    found = reliability(np.array([0.4, 0.6, 1.0, 1.0]), np.array([True, False, True, False]), bins=2)
    assert found["count"] == [1, 3]
    assert found["confidence"] == pytest.approx([0.4, 2.6 / 3])
    assert found["accuracy"] == pytest.approx([1.0, 1 / 3])


def test_an_empty_bin_has_neither_confidence_nor_accuracy() -> None:
    assert reliability(np.array([0.9]), np.array([True]), bins=2) == {
        "confidence": [None, 0.9],
        "accuracy": [None, 1.0],
        "count": [0, 1],
    }


@settings(max_examples=30, deadline=None)
@given(
    pairs=st.lists(
        st.tuples(st.floats(0, 1) | st.sampled_from([b / 15 for b in range(16)]), st.booleans()), min_size=1
    ),
    bins=st.integers(1, 20),
)
def test_ece_is_what_a_slow_loop_says(pairs: list[tuple[float, bool]], bins: int) -> None:
    confidence, correct = (np.array(column) for column in zip(*pairs, strict=True))
    found = expected_calibration_error(confidence, correct, bins=bins)
    assert found == pytest.approx(slow_ece(confidence, correct, bins=bins), abs=1e-12)
    assert 0 <= found <= 1


@settings(max_examples=20, deadline=None)
@given(seed=seeds, count=st.integers(1, 80), bins=st.integers(1, 20))
def test_ece_is_the_weighted_gap_of_the_reliability_bins(seed: int, count: int, bins: int) -> None:
    probabilities, _, correct = predictions(seed, count=count)
    confidence = probabilities.max(-1)
    of_bins = reliability(confidence, correct, bins=bins)
    columns = zip(of_bins["confidence"], of_bins["accuracy"], of_bins["count"], strict=True)
    gaps = [abs(c - a) * n for c, a, n in columns if c is not None and a is not None]
    assert expected_calibration_error(confidence, correct, bins=bins) == pytest.approx(sum(gaps) / count)


@pytest.mark.parametrize("ece", ECES)
def test_certain_and_wrong_is_the_worst_and_certain_and_right_the_best(ece: Callable[..., float]) -> None:
    assert ece(np.ones(9), np.zeros(9, dtype=bool)) == 1
    assert ece(np.ones(9), np.ones(9, dtype=bool)) == 0


@settings(max_examples=20, deadline=None)
@given(seed=seeds, bins=st.integers(1, 20))
def test_the_order_of_the_examples_does_not_matter(seed: int, bins: int) -> None:
    generator = np.random.default_rng(seed)
    confidence, correct = generator.integers(5, 11, size=40) / 10, generator.random(40) < 0.7  # many ties
    order = generator.permutation(40)
    for ece in (expected_calibration_error, equal_mass_ece):
        assert ece(confidence[order], correct[order], bins=bins) == pytest.approx(ece(confidence, correct, bins=bins))


def test_equal_mass_bins_hold_equally_many_examples() -> None:
    confidence, correct = np.array([0.9, 0.5, 0.6, 0.8]), np.array([True, True, False, True])
    # sorted: (.5 right, .6 wrong), (.8 right, .9 right): gaps |1.1 - 1| and |1.7 - 2|
    assert equal_mass_ece(confidence, correct, bins=2) == pytest.approx((0.1 + 0.3) / 4)


@settings(max_examples=20, deadline=None)
@given(seed=seeds, count=st.integers(1, 60), bins=st.integers(1, 20))
def test_equal_mass_ece_is_what_a_slow_loop_says(seed: int, count: int, bins: int) -> None:
    generator = np.random.default_rng(seed)
    confidence = np.sort(generator.random(count))
    correct = generator.random(count) < 0.5
    parts: dict[int, list[float]] = {}
    for i in range(count):
        parts.setdefault(i * bins // count, []).append(confidence[i] - correct[i])
    sizes = [len(part) for part in parts.values()]
    assert max(sizes) - min(sizes) <= 1
    expected = sum(abs(sum(part)) for part in parts.values()) / count
    assert equal_mass_ece(confidence, correct, bins=bins) == pytest.approx(expected)


@settings(max_examples=20, deadline=None)
@given(seed=seeds, count=st.integers(1, 60), batch_size=st.integers(1, 70))
def test_batch_mean_ece_is_the_weighted_mean_over_batches(seed: int, count: int, batch_size: int) -> None:
    probabilities, _, correct = predictions(seed, count=count)
    confidence, total = probabilities.max(-1), 0.0
    for start in range(0, count, batch_size):
        part = slice(start, start + batch_size)
        total += slow_ece(confidence[part], correct[part], bins=10) * len(confidence[part])
    assert batch_mean_ece(confidence, correct, batch_size=batch_size) == pytest.approx(total / count)


def test_batches_make_a_calibrated_model_look_worse() -> None:
    generator = np.random.default_rng(0)
    for confidence in (generator.random(100_000), generator.beta(5, 1, 100_000)):
        correct = generator.random(100_000) < confidence
        assert expected_calibration_error(confidence, correct) < 0.006
        assert 0.02 < batch_mean_ece(confidence, correct) < 0.05


# --- likelihood and Brier score ------------------------------------------------------------------------------------


@settings(max_examples=20, deadline=None)
@given(seed=seeds, count=st.integers(1, 40), classes=st.integers(2, 6))
def test_nll_and_brier_are_those_of_scikit_learn(seed: int, count: int, classes: int) -> None:
    probabilities, labels, _ = predictions(seed, count=count, classes=classes)
    every = list(range(classes))
    found = negative_log_likelihood(np.log(probabilities), labels)
    assert found == pytest.approx(log_loss(labels, probabilities, labels=every))
    by_hand = np.square(probabilities - np.eye(classes)[labels]).sum(-1).mean()
    assert brier(probabilities, labels) == pytest.approx(by_hand)
    whole = brier_score_loss(labels, probabilities, labels=every, scale_by_half=False)
    assert brier(probabilities, labels) == pytest.approx(whole)


def test_the_brier_score_runs_from_zero_to_two() -> None:
    certain = np.array([[1.0, 0.0]])
    assert brier(certain, np.array([0])) == 0
    assert brier(certain, np.array([1])) == 2


def test_a_guess_costs_the_logarithm_of_the_number_of_classes() -> None:
    assert negative_log_likelihood(np.full((3, 5), -math.log(5)), np.array([0, 1, 4])) == pytest.approx(math.log(5))


def test_classes_that_do_not_count_in_a_split_may_have_probability_zero() -> None:
    log_probabilities = np.array([[math.log(0.5), -np.inf, math.log(0.5)]])
    assert negative_log_likelihood(log_probabilities, np.array([2])) == pytest.approx(math.log(2))
    assert negative_log_likelihood(log_probabilities, np.array([1])) == math.inf


# --- bad input -----------------------------------------------------------------------------------------------------

NONE, TRUE = np.array([], dtype=bool), np.array([True])
HALVES = np.array([[0.5, 0.5]])
REFUSED: dict[str, tuple[Callable[[], object], str]] = {
    "no examples": (lambda: accuracy(NONE), "at least one example"),
    "a matrix of answers": (lambda: accuracy(np.ones((2, 2))), r"correct has shape \(2, 2\)"),
    "NaN answers": (lambda: accuracy(np.array([np.nan])), "neither true nor false"),
    "predictions in place of answers": (lambda: accuracy(np.array([0, 1, 2])), "neither true nor false"),
    "no numbers": (lambda: mean([]), "at least one number"),
    "a NaN number": (lambda: worst([0.5, math.nan]), "no NaN"),
    "a label too many": (lambda: class_accuracy(TRUE, np.array([0, 1]), classes=2), "labels has shape"),
    "a label too high": (lambda: class_accuracy(TRUE, np.array([2]), classes=2), r"must lie in \[0, 2\)"),
    "a negative label": (lambda: negative_log_likelihood(np.log(HALVES), np.array([-1])), r"must lie in \[0, 2\)"),
    "a group too high": (lambda: group_accuracy(TRUE, np.array([1]), names=["a"]), r"must lie in \[-1, 1\)"),
    "a negative count": (lambda: reweighted_accuracy({}, {"a": -1}), "0 or more"),
    "no predictions": (lambda: brier(np.zeros((0, 2)), np.array([], dtype=int)), "at least one example"),
    "NaN predictions": (lambda: brier(np.array([[np.nan, 1]]), np.array([0])), "hold NaN"),
    "flat predictions": (lambda: brier(np.array([0.5, 0.5]), np.array([0])), r"give \(n, C\)"),
    "logits in place of probabilities": (lambda: brier(10 * HALVES, np.array([0])), "give softmax"),
    "logits in place of log-probabilities": (
        lambda: negative_log_likelihood(HALVES, np.array([0])),
        "give log_softmax",
    ),
    "a batch of nothing": (lambda: batch_mean_ece(np.ones(1), TRUE, batch_size=0), "batch_size is 0"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_measured_is_refused(case: str) -> None:
    measure, message = REFUSED[case]
    with pytest.raises(ValueError, match=message):
        measure()


@pytest.mark.parametrize("measure", [*ECES, reliability])
@pytest.mark.parametrize(
    ("confidence", "correct", "bins", "message"),
    [
        ([], [], 10, "at least one example"),
        ([0.5, math.nan], [True, True], 10, "not be NaN"),
        ([1.2], [True], 10, "give probabilities, not logits"),
        ([-0.1], [True], 10, "give probabilities, not logits"),
        ([0.5], [True, True], 10, r"confidence has shape \(1,\)"),
        ([0.5], [True], 0, "bins is 0"),
    ],
)
def test_confidences_that_are_none_are_refused(
    measure: Callable[..., object], confidence: list[float], correct: list[bool], bins: int, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        measure(np.array(confidence), np.array(correct, dtype=bool), bins=bins)


@pytest.mark.parametrize("ece", ECES)
def test_a_confidence_that_float32_pushes_above_one_counts_as_one(ece: Callable[..., float]) -> None:
    assert ece(np.array([1 + 2e-7]), np.array([True])) == 0


@pytest.mark.parametrize(("right", "count"), [(16, 20), (0, 5), (5, 5), (700, 1000), (1, 2)])
def test_wilsons_interval_is_that_of_scipy(right: int, count: int) -> None:
    expected = binomtest(right, count).proportion_ci(confidence_level=0.95, method="wilson")
    assert wilson_interval(right / count, count) == pytest.approx((expected.low, expected.high), abs=1e-6)


def test_nothing_is_known_of_no_examples_and_shares_lie_between_0_and_1() -> None:
    assert wilson_interval(0.8, 0) == (0.0, 1.0)
    with pytest.raises(ValueError, match=r"share is 1\.2 of 5 examples"):
        wilson_interval(1.2, 5)


def test_the_gap_is_between_the_best_and_the_worst_group() -> None:
    groups = {"a": Group(accuracy=0.9, count=3), "b": Group(accuracy=0.4, count=2), "c": Group(accuracy=0.5, count=1)}
    assert group_gap(groups) == pytest.approx(0.5)
    assert group_gap({}) is None
