"""The losses against values and gradients that an independent implementation gave in float64 (tests/goldens)."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from surefoot.losses import cross_projection_norm, orthogonality

GOLDENS = Path(__file__).parent.parent / "goldens"

OF_LOSSES = {
    "flyp_contrastive": "contrastive_loss",
    "starft_star": "spurious_alignment",
    "starft_kl_all": "spurious_kl",
    "carot_self_distillation": "self_distillation",
    "lipsum_mse": "random_text_gap",
    "carft_context_kl": "context_kl",
}
OF_KIN = {
    "r_adapter_mpm_nce": "mpm_nce",
    "tracer_crd": "relational_distillation",
    "tracer_fd": "feature_distance",
    "tracer_icl": "cross_contrastive",
    "tracer_cross_kd": "cross_distillation",
}
WORDS = {"lipsum_mse": "random_text_features", "carft_context_kl": "context_weights"}
CASES = [("losses", name) for name in OF_LOSSES] + [("kin", name) for name in OF_KIN]
PRECISIONS = [(torch.float64, 1e-9), (torch.float32, 1e-4)]


@pytest.mark.parametrize(("dtype", "tolerance"), PRECISIONS)
@pytest.mark.parametrize(("file", "name"), CASES)
def test_value_and_gradients_are_the_golden_ones(
    file: str, name: str, dtype: torch.dtype, tolerance: float, all_losses: Any, made: Any, gradients: Any
) -> None:
    golden = np.load(GOLDENS / f"{file}.npz")
    inputs = made(16)._replace(
        image=torch.tensor(golden["image_features"]),
        text=torch.tensor(golden["text_features"]),
        reference_image=torch.tensor(golden["reference_image_features"]),
        reference_text=torch.tensor(golden["reference_text_features"]),
        words=torch.tensor(golden[WORDS.get(name, "reference_text_features")]),
        labels=torch.tensor(golden["labels"]),
        scale=float(golden["scale"]),
        reference_scale=float(golden["reference_scale"]),
    )
    value, grads = gradients(all_losses[{**OF_LOSSES, **OF_KIN}[name]], inputs.to(dtype))
    assert value.dtype == dtype
    assert float(value) == pytest.approx(float(golden[name]), rel=tolerance)
    for which in ("image", "text"):
        expected = golden[f"{name}_grad_{which}"]
        np.testing.assert_allclose(grads[which].numpy(), expected, rtol=0, atol=tolerance * np.abs(expected).max())


@pytest.mark.parametrize(("dtype", "tolerance"), PRECISIONS)
def test_projection_norms_are_the_golden_ones(dtype: torch.dtype, tolerance: float) -> None:
    golden = np.load(GOLDENS / "losses.npz")
    visual, text = (torch.tensor(golden[f"{which}_projection"]).to(dtype) for which in ("visual", "text"))
    assert float(orthogonality(visual)) == pytest.approx(float(golden["carot_orthogonality"]), rel=tolerance)
    expected = float(golden["carot_cross_projection_norm"])
    assert float(cross_projection_norm(visual, text)) == pytest.approx(expected, rel=tolerance)
