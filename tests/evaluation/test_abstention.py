import math

import numpy as np
import pytest

from surefoot.evaluation.abstention import Abstention, abstention_for

CONFIDENCE = np.array([0.9, 0.5, 0.8, 0.7, 0.6])
RIGHT = np.array([True, False, True, False, True])


@pytest.mark.parametrize(
    ("risk", "expected"),
    [
        (0.0, Abstention(0.8, 0.4, 0.0)),
        (0.2, Abstention(0.8, 0.4, 0.0)),
        (0.25, Abstention(0.6, 0.8, 0.25)),  # wrong at 0.7, right again at 0.6
        (0.4, Abstention(0.5, 1.0, 0.4)),
    ],
)
def test_the_lowest_threshold_within_the_risk_is_chosen(risk: float, expected: Abstention) -> None:
    assert abstention_for(CONFIDENCE, RIGHT, risk) == pytest.approx(expected)


def test_equal_confidences_are_answered_all_or_none() -> None:
    confidence, right = np.array([0.9, 0.7, 0.7, 0.7]), np.array([True, True, True, False])
    assert abstention_for(confidence, right, 0.2) == pytest.approx((0.9, 0.25, 0.0))
    assert abstention_for(confidence, right, 0.25) == pytest.approx((0.7, 1.0, 0.25))


def test_nothing_is_answered_where_the_most_confident_is_wrong_and_no_error_is_allowed() -> None:
    assert abstention_for(np.array([0.9, 0.1]), np.array([False, True]), 0.0) == (math.inf, 0.0, 0.0)


def test_it_agrees_with_trying_every_threshold() -> None:
    draw = np.random.default_rng(0)
    confidence = draw.integers(0, 20, 200) / 20
    right = draw.random(200) < confidence
    for risk in (0.05, 0.1, 0.2, 0.3):
        tried = [t for t in np.unique(confidence) if (~right[confidence >= t]).mean() <= risk]
        assert abstention_for(confidence, right, risk).threshold == pytest.approx(min(tried))


@pytest.mark.parametrize(
    ("confidence", "right", "risk", "told"),
    [
        (CONFIDENCE, RIGHT, 1.0, r"risk is 1\.0; give a share"),
        (CONFIDENCE, RIGHT, -0.1, "risk is -0.1"),
        (CONFIDENCE[:3], RIGHT, 0.1, r"shape \(3,\), correct \(5,\)"),
        (CONFIDENCE[:0], RIGHT[:0], 0.1, r"shape \(0,\)"),
        (np.array([np.nan]), np.array([True]), 0.1, "not finite"),
    ],
)
def test_what_does_not_fit_is_refused(confidence: object, right: object, risk: float, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        abstention_for(confidence, right, risk)  # type: ignore[arg-type]
