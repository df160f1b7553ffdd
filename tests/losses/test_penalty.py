from typing import Any

import pytest
import torch

from surefoot.losses import cross_projection_norm, feature_distance, orthogonality, random_text_gap

PRECISIONS = [torch.float16, torch.bfloat16, torch.float32, torch.float64]


def test_random_text_gap_of_a_hand_made_case() -> None:
    reference, features = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    # the two energies go from (10, 0) to (0, 10): the mean square is 100, and half of it counts
    assert float(random_text_gap(features, reference, torch.eye(2), 10.0)) == pytest.approx(50)


def test_random_text_gap_grows_with_the_square_of_the_scale(made: Any) -> None:
    i = made(4)
    small, large = (random_text_gap(i.image, i.reference_image, i.words, scale) for scale in (10.0, 100.0))
    assert float(large / small) == pytest.approx(100)


def test_feature_distance_of_a_hand_made_case() -> None:
    a, b = torch.tensor([[1.0, 0.0], [1.0, 0.0]]), torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    # of the four entries of an image matrix two differ, by 1; the texts agree
    assert float(feature_distance(a, b, b, b)) == pytest.approx(0.5)


def test_orthogonality_of_a_hand_made_case() -> None:
    projection = torch.tensor([[2.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    # W.T W = diag(4, 1): one entry is off by 3, and the norm is not squared
    assert float(orthogonality(projection)) == 3


@pytest.mark.parametrize("dtype", PRECISIONS)
def test_orthogonality_has_a_zero_gradient_at_orthonormal_columns(dtype: torch.dtype) -> None:
    projection = torch.eye(8, 5, dtype=dtype).requires_grad_()
    value = orthogonality(projection)
    value.backward()
    assert float(value.detach()) == 0
    assert projection.grad is not None
    assert (projection.grad == 0).all()


def test_orthogonality_ignores_a_rotation_of_either_side() -> None:
    generator = torch.Generator().manual_seed(0)
    projection, a, b = (
        torch.randn(shape, dtype=torch.float64, generator=generator) for shape in ((6, 4), (6, 6), (4, 4))
    )
    rotated = torch.linalg.qr(a).Q @ projection @ torch.linalg.qr(b).Q
    torch.testing.assert_close(orthogonality(rotated), orthogonality(projection))


def test_cross_projection_norm_of_projections_that_share_nothing_is_zero() -> None:
    visual = torch.eye(4)[:, [0, 1, 2, 3]] * torch.tensor([1.0, 1.0, 0.0, 0.0])
    text = torch.eye(4)[:3] * torch.tensor([0.0, 0.0, 1.0, 1.0])
    visual.requires_grad_()
    value = cross_projection_norm(visual, text)
    value.backward()
    assert float(value.detach()) == 0
    assert visual.grad is not None
    assert visual.grad.isfinite().all()


def test_cross_projection_norm_is_the_gram_form(made: Any) -> None:
    i = made(7)
    visual, text = i.image, made(5, seed=1).text
    gram = ((visual.T @ visual) * (text.T @ text)).sum().sqrt()
    torch.testing.assert_close(cross_projection_norm(visual, text), gram)


@pytest.mark.parametrize("dtype", PRECISIONS)
def test_projection_penalties_are_finite_in_every_precision_and_under_autocast(dtype: torch.dtype, made: Any) -> None:
    visual, text = (made(rows).image.to(dtype).requires_grad_() for rows in (7, 5))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = orthogonality(visual) + cross_projection_norm(visual, text)
    value.backward()
    assert value.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert value.isfinite()
    for projection in (visual, text):
        assert projection.grad is not None
        assert projection.grad.isfinite().all()


def test_projection_penalties_are_differentiated_correctly(made: Any) -> None:
    visual, text = (made(rows).image.requires_grad_() for rows in (7, 5))
    assert torch.autograd.gradcheck(orthogonality, (visual,))
    assert torch.autograd.gradcheck(cross_projection_norm, (visual, text))
