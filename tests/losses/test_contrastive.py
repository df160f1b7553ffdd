import math
from typing import Any

import numpy as np
import pytest
import torch

from surefoot.losses import contrastive_loss, cross_contrastive, mpm_nce


def test_contrastive_loss_of_two_perfect_pairs() -> None:
    pairs = torch.eye(2)
    assert float(contrastive_loss(pairs, pairs, math.log(3))) == pytest.approx(math.log(4 / 3))


def test_contrastive_loss_of_a_batch_of_one_is_zero(made: Any) -> None:
    pair = made(1)
    assert float(contrastive_loss(pair.image, pair.text, 100.0)) == 0


def test_contrastive_loss_treats_images_and_texts_alike(made: Any) -> None:
    pairs = made(6)
    torch.testing.assert_close(
        contrastive_loss(pairs.image, pairs.text, 9.0), contrastive_loss(pairs.text, pairs.image, 9.0)
    )


def test_cross_contrastive_at_the_reference_is_the_contrastive_loss(made: Any) -> None:
    i = made(6)
    value = cross_contrastive(i.image, i.text, i.image, i.text, 9.0)
    torch.testing.assert_close(value, contrastive_loss(i.image, i.text, 9.0))


def test_mpm_nce_without_smoothing_and_margin_is_contrastive_when_all_classes_differ(made: Any) -> None:
    i = made(6)
    value = mpm_nce(i.image, i.text, 9.0, torch.arange(6), epsilon=0.0, margin=0.0)
    torch.testing.assert_close(value, contrastive_loss(i.image, i.text, 9.0))


def test_mpm_nce_is_what_a_slow_loop_says(made: Any) -> None:
    i = made(5)
    image, text, labels = i.image.numpy(), i.text.numpy(), [0, 1, 0, 2, 0]
    total = 0.0
    for one, other in ((image, text), (text, image)):
        for row in range(5):
            positives = [j for j in range(5) if labels[j] == labels[row]]
            margins = np.array([0.0 if j in positives else 0.05 * 100 for j in range(5)])
            logits = 100 * other @ one[row] + margins
            log_q = logits - logits.max() - np.log(np.exp(logits - logits.max()).sum())
            shares = [0.98 / len(positives) if j in positives else 0.02 / (5 - len(positives)) for j in range(5)]
            total -= float(np.dot(shares, log_q)) / 10
    assert float(mpm_nce(i.image, i.text, 100.0, torch.tensor(labels))) == pytest.approx(total, rel=1e-6)


@pytest.mark.parametrize("epsilon", [-0.1, 1.0, float("nan")])
def test_mpm_nce_refuses_an_epsilon_that_is_no_share(epsilon: float, made: Any) -> None:
    i = made(3)
    with pytest.raises(ValueError, match="epsilon is"):
        mpm_nce(i.image, i.text, 100.0, i.labels, epsilon=epsilon)


def test_mpm_nce_refuses_labels_of_another_batch(made: Any) -> None:
    i = made(3)
    with pytest.raises(ValueError, match="labels have shape"):
        mpm_nce(i.image, i.text, 100.0, torch.arange(4))
