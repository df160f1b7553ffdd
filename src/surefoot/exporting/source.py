"""What is exported, an opened classifier and its folder; and where it goes, a folder written whole or not at all."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from surefoot.classifier import Classifier
from surefoot.data.images import ImageSpec
from surefoot.pretrained import no_progress_bars
from surefoot.run_folder import classifier_folder

if TYPE_CHECKING:
    from transformers import CLIPModel

PROBES = 8  # images that an export is tried on
CLOSE = 1e-4  # how far its probabilities may be from the classifier's


@dataclass(frozen=True)
class Source:
    """A classifier in eval mode and the folder that it was read from."""

    folder: Path
    classifier: Classifier

    @classmethod
    def open(cls, run: Path) -> "Source":
        """From a run's folder, or a classifier's."""
        folder = classifier_folder(run)
        return cls(folder, Classifier.from_pretrained(folder))

    def clip(self, form: str) -> "CLIPModel":
        """The same weights as transformers' CLIPModel. ValueError where the backbone is of another kind."""
        from transformers import CLIPConfig, CLIPModel

        config = self.folder / "config.json"
        content = CLIPConfig.get_config_dict(self.folder)[0] if config.is_file() else {}
        if content.get("model_type") != "clip":
            kind = content.get("model_type", "not one of transformers")
            raise ValueError(
                f"to={form}: the backbone {self.classifier.backbone.name!r} ({kind}) is no CLIP model of transformers, "
                "which this format needs; --to onnx and --to head take any"
            )
        with no_progress_bars():
            return CLIPModel.from_pretrained(self.folder, dtype=torch.float32, attn_implementation="sdpa").eval()

    def probes(self) -> Tensor:
        """Noise of the size of images, normalised: what an export is tried on, (PROBES, 3, S, S)."""
        size = self.classifier.backbone.image_spec.size
        return torch.randn(PROBES, 3, size, size, generator=torch.Generator().manual_seed(0))

    @torch.no_grad()
    def check(self, form: str, probabilities: Callable[[Tensor], Tensor]) -> str:
        """What to say of probabilities (N, C) that equal the classifier's; ValueError where they do not."""
        images = self.probes()
        gap = float((probabilities(images) - self.classifier.probabilities(images)).abs().max())
        if not gap <= CLOSE:
            raise ValueError(
                f"to={form}: on noise its probabilities differ from the classifier's by up to {gap:.1e}, more than "
                f"{CLOSE:g}; nothing was written. Use --to onnx"
            )
        return f"probabilities on {PROBES} images of noise differ from the classifier's by at most {gap:.0e}"


def how_images_are_read(spec: ImageSpec) -> dict[str, Any]:
    """How an image becomes the tower's input, as JSON values."""
    seen = "short side to resize, centre crop of size" if spec.fit == "crop" else "the whole image pressed into size"
    return {
        "input": f"float32 RGB (batch, 3, size, size): {seen}, / 255, - mean, / std",
        "resize": spec.resize,
        "interpolation": f"{spec.filter}, antialiased",
        "size": spec.size,
        "mean": list(spec.mean),
        "std": list(spec.std),
    }
