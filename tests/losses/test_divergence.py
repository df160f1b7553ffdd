import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from surefoot.losses import (
    class_kl,
    context_kl,
    random_text_kl,
    relational_distillation,
    self_distillation,
    similarity,
    spurious_alignment,
    spurious_kl,
)


def plain_kl(reference: Tensor, logits: Tensor) -> Tensor:
    return F.kl_div(logits.log_softmax(-1), reference.softmax(-1), reduction="batchmean")


def test_context_kl_of_a_hand_made_case() -> None:
    reference, features = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    # over two contexts the reference says (3/4, 1/4) and the student (1/4, 3/4)
    value = context_kl(features, reference, torch.eye(2), math.log(3))
    assert float(value) == pytest.approx(0.75 * math.log(3) + 0.25 * math.log(1 / 3))


@settings(max_examples=25, deadline=None)
@given(rows=st.integers(1, 9), words=st.integers(1, 9), seed=st.integers(0, 2**31), scale=st.floats(0.1, 150.0))
def test_context_kl_is_the_plain_formula(rows: int, words: int, seed: int, scale: float, made: Any) -> None:
    i = made(rows, words=words, seed=seed)
    expected = plain_kl(scale * i.reference_image @ i.words.T, scale * i.image @ i.words.T)
    value = context_kl(i.image, i.reference_image, i.words, scale)
    torch.testing.assert_close(value, expected, rtol=1e-9, atol=1e-12)


def test_the_gradient_of_a_small_drift_survives_float32(made: Any) -> None:
    i = made(16, dim=64, words=40)
    exact = F.normalize(i.reference_image + 1e-3 * i.text, dim=-1).requires_grad_()
    plain_kl(100 * i.reference_image @ i.words.T, 100 * exact @ i.words.T).backward()
    drifted = exact.detach().float().requires_grad_()
    context_kl(drifted, i.reference_image.float(), i.words.float(), 100.0).backward()
    assert exact.grad is not None
    assert drifted.grad is not None
    error = (drifted.grad.double() - exact.grad).norm() / exact.grad.norm()
    assert float(error) < 1.5e-4  # log softmax minus log softmax gives about 3e-4


def test_random_text_kl_is_the_kl_over_the_texts(made: Any) -> None:
    i = made(5)
    torch.testing.assert_close(
        random_text_kl(i.image, i.reference_image, i.words, 7.0), context_kl(i.image, i.reference_image, i.words, 7.0)
    )


@settings(max_examples=25, deadline=None)
@given(rows=st.integers(1, 9), classes=st.integers(1, 4), seed=st.integers(0, 2**31))
def test_spurious_alignment_is_the_plain_formula_over_other_classes(
    rows: int, classes: int, seed: int, made: Any
) -> None:
    i = made(rows, classes=classes, seed=seed)
    total = 0.0
    for row in range(rows):
        others = i.labels != i.labels[row]
        if others.any():
            reference = 30 * i.reference_image[row : row + 1] @ i.reference_text[others].T
            total += float(plain_kl(reference, 30 * i.image[row : row + 1] @ i.text[others].T)) / rows
    value = spurious_alignment(i.image, i.text, i.reference_image, i.reference_text, 30.0, i.labels)
    assert float(value) == pytest.approx(total, rel=1e-9, abs=1e-12)


def test_spurious_alignment_of_one_class_is_exactly_zero_with_its_gradient(made: Any, gradients: Any) -> None:
    value, grads = gradients(
        lambda i: spurious_alignment(i.image, i.text, i.reference_image, i.reference_text, 100.0, i.labels),
        made(6, classes=1).to(torch.float16),
    )
    assert float(value) == 0
    assert all((grad == 0).all() for grad in grads.values())


def test_spurious_alignment_trains_the_text_tower_too(made: Any, gradients: Any) -> None:
    _, grads = gradients(
        lambda i: spurious_alignment(i.image, i.text, i.reference_image, i.reference_text, 100.0, i.labels), made(6)
    )
    assert grads["text"].abs().max() > 0


def test_spurious_alignment_refuses_labels_of_another_batch(made: Any) -> None:
    i = made(3)
    with pytest.raises(ValueError, match="labels have shape"):
        spurious_alignment(i.image, i.text, i.reference_image, i.reference_text, 100.0, torch.arange(4))


def test_spurious_kl_leaves_no_pair_out(made: Any) -> None:
    i = made(5)
    expected = plain_kl(30 * i.reference_image @ i.reference_text.T, 30 * i.image @ i.text.T)
    value = spurious_kl(i.image, i.text, i.reference_image, i.reference_text, 30.0)
    torch.testing.assert_close(value, expected, rtol=1e-9, atol=0)


def test_self_distillation_of_certain_teacher_and_undecided_student_sums_both_directions() -> None:
    value = self_distillation(torch.zeros(2, 2), 1000 * torch.eye(2))
    assert float(value) == pytest.approx(2 * math.log(2))


def test_self_distillation_at_the_teacher_is_its_entropy_with_zero_gradient(made: Any) -> None:
    i = made(6).to(torch.float32)
    teacher = similarity(i.image, i.text, 20.0)
    logits = teacher.clone().requires_grad_()
    value = self_distillation(logits, teacher)
    value.backward()
    entropies = [torch.distributions.Categorical(logits=part).entropy().mean() for part in (teacher, teacher.T)]
    torch.testing.assert_close(value.detach(), entropies[0] + entropies[1])
    assert logits.grad is not None
    assert (logits.grad == 0).all()


def test_self_distillation_stands_where_probabilities_underflow() -> None:
    logits = torch.tensor([[0.0, 5000.0], [5000.0, 0.0]], requires_grad=True)
    value = self_distillation(logits, -logits.detach())
    value.backward()
    assert float(value.detach()) == pytest.approx(10000)
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


def test_relational_distillation_is_half_of_self_distillation_less_the_entropy(made: Any) -> None:
    i = made(6)
    logits, teacher = similarity(i.image, i.text, 20.0), similarity(i.reference_image, i.reference_text, 18.0)
    difference = self_distillation(logits, teacher) - self_distillation(teacher, teacher)
    torch.testing.assert_close(relational_distillation(logits, teacher), difference / 2)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_class_kl_is_the_plain_formula(temperature: float, made: Any) -> None:
    i = made(6)
    logits, reference = (20.0 * images @ i.words.T for images in (i.image, i.reference_image))
    expected = temperature**2 * plain_kl(reference / temperature, logits / temperature)
    torch.testing.assert_close(class_kl(logits, reference, temperature=temperature), expected)


def test_class_kl_refuses_a_temperature_of_zero() -> None:
    with pytest.raises(ValueError, match="temperature is 0"):
        class_kl(torch.zeros(2, 3), torch.zeros(2, 3), temperature=0)
