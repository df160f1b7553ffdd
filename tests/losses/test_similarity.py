import pytest
import torch

from surefoot.losses import similarity


def test_similarity_is_the_scaled_product() -> None:
    images = torch.tensor([[1.0, 0.0], [0.6, 0.8]])
    texts = torch.tensor([[0.0, 1.0], [1.0, 0.0], [0.8, -0.6]])
    expected = torch.tensor([[0.0, 10.0, 8.0], [8.0, 6.0, 0.0]])
    torch.testing.assert_close(similarity(images, texts, 10.0), expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_similarity_is_made_in_float32(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.nn.functional.normalize(torch.randn(9, 64, generator=generator), dim=-1).to(dtype) for _ in "ab")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = similarity(a, b, 100.0)
    assert logits.dtype == torch.float32
    torch.testing.assert_close(logits.double(), 100 * a.double() @ b.double().T, rtol=1e-5, atol=1e-4)


def test_float64_stays_float64_whatever_the_other_side_and_the_scale() -> None:
    a, b = torch.eye(3, dtype=torch.float64), torch.eye(3, dtype=torch.bfloat16)
    assert similarity(a, b, torch.tensor(2.0)).dtype == torch.float64


def test_a_scale_in_half_precision_does_not_narrow_the_logits() -> None:
    assert similarity(torch.eye(3), torch.eye(3), torch.tensor(100.0, dtype=torch.float16)).dtype == torch.float32
