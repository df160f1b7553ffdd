"""IconCLIP, the small CLIP model that ships with Surefoot: pre-trained on icons, opened without a network."""

from importlib.resources import files
from pathlib import Path
from typing import ClassVar

from surefoot.backbones.base import Backbone, BackboneSource, load_backbone


class IconCLIP(BackboneSource):
    class Config(BackboneSource.Config):
        pass

    summary = "The embedded CLIP model: 64-pixel icons and their English names; no download"
    recommended: ClassVar = {
        "engine.lr": 3e-4,
        "engine.batch_size": 128,
        "engine.epochs": 10,
        # a third of it for contrastive fine-tuning, as in the papers: 1e-5 against 3e-5 for CLIP on ImageNet
        "flyp.engine.lr": 1e-4,
        "carot.engine.lr": 1e-4,
        "star_ft.engine.lr": 1e-4,
        "tracer.engine.lr": 1e-4,
    }

    def load(self) -> Backbone:
        folder = Path(str(files("surefoot") / "assets" / "iconclip"))
        if not folder.is_dir():
            raise ValueError(
                f"backbone 'iconclip': {folder} is missing; install Surefoot again, its assets are not whole"
            )
        backbone = load_backbone(str(folder))
        backbone.name = "iconclip"  # not where it happens to be installed
        return backbone
