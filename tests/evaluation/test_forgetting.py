"""Each quantity against numpy in float64."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.special import log_softmax, rel_entr
from torch import Tensor

from surefoot.evaluation.forgetting import (
    Features,
    Texts,
    accuracy_by_text,
    feature_distortion,
    linear_cka,
    lost,
    movement,
    off_diagonal_correlation,
    shape,
    smallest_singular_values,
    spurious_drift,
)

SCALE = 12.0


def rows(count: int, seed: int, *, dim: int = 6) -> NDArray[np.float64]:
    drawn = np.random.default_rng(seed).normal(size=(count, dim))
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


def tensor(array: NDArray[np.float64]) -> Tensor:
    return torch.from_numpy(array)


def kl(start: NDArray[np.float64], now: NDArray[np.float64]) -> float:
    p, q = np.exp(log_softmax(start, axis=1)), np.exp(log_softmax(now, axis=1))
    return float(rel_entr(p, q).sum(1).mean())


def test_movement_is_what_numpy_says() -> None:
    now, start, captions, before = rows(9, 0), rows(9, 1), rows(5, 2), rows(5, 3)
    contexts, random = rows(4, 4), rows(7, 5)
    features, reference = Features(tensor(now), tensor(captions)), Features(tensor(start), tensor(before))
    found = movement(features, reference, Texts(tensor(contexts), tensor(random), SCALE))
    gap = SCALE * (now - start) @ random.T
    x, y = now - now.mean(0), start - start.mean(0)
    wanted = {
        "context_drift": kl(SCALE * start @ contexts.T, SCALE * now @ contexts.T),
        "random_text_gap": (gap**2).sum(1).mean() / (2 * 7),
        "spurious_drift": kl(SCALE * start @ before.T, SCALE * now @ captions.T),
        "feature_distortion": np.linalg.norm(now - start, axis=1).mean(),
        "linear_cka": np.trace(x @ x.T @ y @ y.T) / np.sqrt(np.trace(x @ x.T @ x @ x.T) * np.trace(y @ y.T @ y @ y.T)),
    }
    assert found == pytest.approx(wanted, abs=1e-7)


def test_a_model_has_not_moved_from_itself() -> None:
    same = Features(tensor(rows(9, 0)).float(), tensor(rows(5, 1)).float())
    texts = Texts(tensor(rows(4, 2)), tensor(rows(7, 3)), 100.0)
    found = movement(same, same, texts)
    assert found.pop("linear_cka") == pytest.approx(1, abs=1e-12)
    assert set(found.values()) == {0.0}


def test_the_texts_alone_can_drift() -> None:
    images, captions = tensor(rows(9, 0)), tensor(rows(5, 1))
    assert spurious_drift(Features(images, tensor(rows(5, 2))), Features(images, captions), SCALE) > 0.1


def test_cka_does_not_see_rotations_and_scale_but_distortion_does() -> None:
    features = rows(30, 0)
    rotation, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(6, 6)))
    assert linear_cka(tensor(3 * features @ rotation), tensor(features)) == pytest.approx(1, abs=1e-12)
    assert feature_distortion(tensor(features @ rotation), tensor(features)) > 0.3


def test_cka_of_features_of_two_widths_and_of_constant_ones() -> None:
    assert 0 < linear_cka(tensor(rows(30, 0, dim=4)), tensor(rows(30, 1))) < 1
    constant = torch.ones(5, 3)
    assert linear_cka(constant, constant) == 1
    assert linear_cka(constant, tensor(rows(5, 0))) == 0


@pytest.mark.parametrize("count", [4, 7, 40])
def test_singular_values_are_those_of_the_covariance(count: int) -> None:
    features = rows(count, 0)
    covariance = np.cov(features, rowvar=False)
    wanted = np.sort(np.linalg.svd(covariance, compute_uv=False))[-min(count - 1, 6) :][:3]
    assert smallest_singular_values(tensor(features), count=3) == pytest.approx(wanted, abs=1e-12)
    assert shape(tensor(features))["smallest_singular_value"] == pytest.approx(wanted[0], abs=1e-12)


def test_off_diagonal_correlation_is_that_of_numpy() -> None:
    features = rows(40, 0)
    correlation = np.abs(np.corrcoef(features, rowvar=False))
    wanted = correlation[~np.eye(6, dtype=bool)].mean()
    assert off_diagonal_correlation(tensor(features)) == pytest.approx(wanted, abs=1e-12)


def test_a_constant_dimension_is_correlated_with_nothing() -> None:
    features = tensor(np.stack([np.arange(4.0), 2 * np.arange(4.0), np.ones(4)], axis=1))
    assert off_diagonal_correlation(features) == pytest.approx(2 / 6)
    assert off_diagonal_correlation(torch.rand(4, 1)) == 0


def test_accuracy_and_what_is_lost() -> None:
    images = torch.eye(4)
    assert accuracy_by_text(images, torch.eye(4), torch.tensor([0, 1, 2, 0])) == 0.75
    assert lost({"a": 0.5, "b": 0.9}, {"a": 0.6, "b": 0.7}) == pytest.approx(-5)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (lambda: linear_cka(torch.rand(3, 2), torch.rand(4, 2)), "of 3 and of 4 images"),
        (lambda: feature_distortion(torch.rand(3, 2), torch.rand(3, 4)), r"\(3, 2\) and \(3, 4\)"),
        (lambda: smallest_singular_values(torch.rand(1, 2)), "two images or more"),
    ],
)
def test_features_that_do_not_belong_together_are_errors(wrong: object, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        wrong()  # type: ignore[operator]
