import numpy as np
import pytest
from scipy import stats

from surefoot.report import statistics


def test_the_bootstrap_is_that_of_a_plain_loop():
    correct = np.random.default_rng(1).random((3, 57)) < 0.6
    found = statistics.bootstrap(correct, resamples=130, seed=4)
    draw, expected = np.random.default_rng(4), []
    for size in (100, 30):
        for taken in draw.integers(57, size=(size, 57)):
            expected.append([sum(bool(row[i]) for i in taken) / 57 for row in correct])
    assert found.tolist() == expected


def test_the_bootstrap_refuses_what_it_cannot_resample():
    with pytest.raises(ValueError, match="NaN"):
        statistics.bootstrap([[0.5, float("nan")]])
    with pytest.raises(ValueError, match="shape"):
        statistics.bootstrap(np.empty((2, 0)))


@pytest.mark.parametrize(("alone", "other"), [(0, 0), (3, 1), (5, 5), (0, 40), (300, 240), (2000, 1700)])
def test_mcnemar_is_the_exact_binomial(alone, other):
    first = np.repeat([True, False, True], [alone, other, 9])
    second = np.repeat([False, True, True], [alone, other, 9])
    expected = stats.binomtest(alone, alone + other).pvalue if alone + other else 1.0
    assert statistics.mcnemar(first, second).p == pytest.approx(expected, abs=1e-7, rel=1e-7)


def test_holm_by_hand():
    assert statistics.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert statistics.holm([]) == []
