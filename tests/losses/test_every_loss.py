"""What holds for every loss: finite, zero where it must be, blind to the batch's order and to rotations."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from surefoot import losses

PRECISIONS = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
FEATURES = ("image", "text", "reference_image", "reference_text", "words")
BATCHES: dict[str, Callable[[Any], Any]] = {
    "several classes": lambda made: made(7),
    "one image": lambda made: made(1),
    "one class": lambda made: made(6, classes=1),
    "all classes distinct": lambda made: made(4)._replace(labels=torch.arange(4)),
    "one class but for one image": lambda made: made(4)._replace(labels=torch.tensor([0, 0, 0, 1])),
    "opposite to the reference": lambda made: made(5)._replace(
        reference_image=-made(5).image, reference_text=-made(5).text
    ),
    "one context": lambda made: made(5, words=1),
}
seeds = st.integers(0, 2**31)
rows = st.integers(1, 9)


def test_the_package_names_every_loss_once(all_losses: Any) -> None:
    projections = {"orthogonality", "cross_projection_norm"}
    assert set(losses.__all__) == all_losses.keys() | projections | {"similarity"}


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("dtype", PRECISIONS)
def test_value_and_gradients_are_finite(batch: str, dtype: torch.dtype, loss: Any, made: Any, gradients: Any) -> None:
    value, grads = gradients(loss, BATCHES[batch](made).to(dtype))
    assert value.shape == ()
    assert value.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert value.isfinite()
    assert all(grad.isfinite().all() for grad in grads.values())


@pytest.mark.parametrize("reduced", [torch.bfloat16, torch.float16])
def test_autocast_changes_nothing(reduced: torch.dtype, loss: Any, made: Any, gradients: Any) -> None:
    inputs = made(7).to(torch.float32)
    expected, expected_grads = gradients(loss, inputs)

    def under_autocast(inputs: Any) -> Tensor:
        with torch.autocast("cpu", dtype=reduced):
            return loss(inputs)

    value, grads = gradients(under_autocast, inputs)
    assert torch.equal(value, expected)
    assert all(torch.equal(grads[key], expected_grads[key]) for key in FEATURES)


@pytest.mark.parametrize("dtype", PRECISIONS)
@pytest.mark.parametrize("seed", range(3))
def test_regularisers_and_their_gradients_are_exactly_zero_before_training(
    dtype: torch.dtype, seed: int, regulariser: Any, made: Any, gradients: Any
) -> None:
    value, grads = gradients(regulariser, made(13, dim=33, seed=seed).to(dtype).at_the_reference())
    assert float(value) == 0
    assert all((grad == 0).all() for grad in grads.values())


def test_regularisers_push_back_after_training(regulariser: Any, made: Any, gradients: Any) -> None:
    value, grads = gradients(regulariser, made(7))
    assert float(value) > 0
    assert grads["image"].abs().max() > 0


def test_the_reference_and_the_words_receive_no_gradient(loss: Any, made: Any, gradients: Any) -> None:
    _, grads = gradients(loss, made(7))
    assert all((grads[key] == 0).all() for key in ("reference_image", "reference_text", "words"))


@pytest.mark.parametrize("batch", ["several classes", "one class", "one image"])
def test_gradients_are_the_slopes(batch: str, loss: Any, made: Any) -> None:
    inputs = BATCHES[batch](made)._replace(scale=4.0, reference_scale=3.0)

    def of_features(image: Tensor, text: Tensor) -> Tensor:
        return loss(inputs._replace(image=image, text=text))

    assert torch.autograd.gradcheck(of_features, (inputs.image.requires_grad_(), inputs.text.requires_grad_()))


@pytest.mark.parametrize(
    "name", ["contrastive_loss", "cross_contrastive", "mpm_nce", "self_distillation", "cross_distillation"]
)
def test_a_trained_scale_receives_its_gradient(name: str, all_losses: Any, made: Any) -> None:
    inputs = made(6)
    log_scale = torch.tensor(1.3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda s: all_losses[name](inputs._replace(scale=s.exp())), (log_scale,))


@pytest.mark.parametrize("name", ["context_kl", "random_text_gap", "random_text_kl"])
def test_the_scale_of_a_regulariser_is_a_constant(name: str, all_losses: Any, made: Any) -> None:
    scale = torch.tensor(50.0, dtype=torch.float64, requires_grad=True)
    value = all_losses[name](made(6).tracked()._replace(scale=scale))
    value.backward()
    assert scale.grad is None


def test_a_scale_may_be_a_number_or_a_tensor(loss: Any, made: Any) -> None:
    inputs = made(6).to(torch.float32)
    tensors = inputs._replace(scale=torch.tensor(100.0), reference_scale=torch.tensor(90.0))
    torch.testing.assert_close(loss(tensors), loss(inputs))


@settings(max_examples=10, deadline=None)
@given(rows=rows, seed=seeds)
def test_the_order_of_the_batch_does_not_matter(rows: int, seed: int, loss: Any, made: Any) -> None:
    inputs = made(rows, seed=seed)
    order = torch.randperm(rows, generator=torch.Generator().manual_seed(seed))
    shuffled = inputs._replace(
        **{key: getattr(inputs, key)[order] for key in (*FEATURES[:4], "labels")}, words=inputs.words.flip(0)
    )
    torch.testing.assert_close(loss(shuffled), loss(inputs), rtol=1e-9, atol=1e-9)


@settings(max_examples=10, deadline=None)
@given(rows=rows, seed=seeds)
def test_a_rotation_of_all_features_does_not_matter(rows: int, seed: int, loss: Any, made: Any) -> None:
    inputs = made(rows, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    rotation = torch.linalg.qr(torch.randn(8, 8, dtype=torch.float64, generator=generator)).Q
    rotated = inputs._replace(**{key: getattr(inputs, key) @ rotation for key in FEATURES})
    torch.testing.assert_close(loss(rotated), loss(inputs), rtol=1e-9, atol=1e-9)


def test_features_of_different_batches_are_refused(loss: Any, made: Any) -> None:
    with pytest.raises(ValueError, match="one row an example"):
        loss(made(5)._replace(image=made(1).image, reference_text=made(4).text))


def test_an_empty_batch_is_refused(loss: Any, made: Any) -> None:
    with pytest.raises(ValueError, match="at least one row"):
        loss(made(0))
