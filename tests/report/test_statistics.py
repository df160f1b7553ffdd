import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
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


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(st.integers(0, 6), min_size=4, max_size=4), min_size=3, max_size=9))
def test_friedman_is_scipys(rows):
    scores = np.array(rows, dtype=float)
    if all(len(set(row)) == 1 for row in rows):
        assert statistics.friedman(scores) == (0.0, 1.0)
        return
    expected = stats.friedmanchisquare(*scores.T)
    assert statistics.friedman(scores) == pytest.approx((expected.statistic, expected.pvalue), abs=1e-7)


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 5, 11, 12])
@pytest.mark.parametrize("value", [0.0, 0.3, 4.0, 30.0])
def test_the_chi_square_tail_is_scipys(value, freedom):
    assert statistics.chi_square_tail(value, freedom) == pytest.approx(stats.chi2.sf(value, freedom), abs=1e-10)


@pytest.mark.parametrize("count", [1, 5, 8, 20, 25, 40])
def test_wilcoxon_is_scipys(count):
    first, second = np.random.default_rng(count).random((2, count))
    method = "exact" if count <= statistics.EXACT_RANKS else "asymptotic"
    expected = stats.wilcoxon(first, second, correction=False, method=method).pvalue
    assert statistics.wilcoxon(first, second) == pytest.approx(expected, abs=1e-7)
    assert statistics.wilcoxon(first, first) == 1.0
