"""open_clip's models, opened for training and saved as open_clip reads them.

Where weights lie: `_openclip_files`; towers and tokenizers: `_openclip`. open_clip comes with the extra `openclip` and
is imported when it is used.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

from surefoot.backbones._openclip import (
    OpenClipImageTower,
    OpenClipTextTower,
    OpenClipTokenizer,
    build,
    dual_encoder,
    open_tokenizer,
)
from surefoot.backbones._openclip_files import CONFIG, WEIGHTS, find, load_weights
from surefoot.backbones.base import Backbone, BackboneSource
from surefoot.data.images import ImageSpec

INSTALL = "pip install 'surefoot[openclip]'"


class OpenClip(BackboneSource):
    class Config(BackboneSource.Config):
        path: str  # ARCHITECTURE/TAG, hf-hub:ID, a folder with open_clip_config.json, or a file with weights
        architecture: str = ""  # what is in the file
        revision: str = "main"  # branch, tag or commit of a hub id

    config: Config
    summary = "A model of open_clip: ARCHITECTURE/TAG, hf-hub:ID, a folder or a file (path); extra openclip"
    paper = "https://arxiv.org/abs/2212.07143"

    @classmethod
    def opens(cls, folder: Path) -> bool:
        return (folder / CONFIG).is_file()

    def load(self) -> Backbone:
        path, library = self.config.path, _open_clip()
        found = find(library, path, architecture=self.config.architecture, revision=self.config.revision)
        config = dual_encoder(found.model, name=path)
        tokenizer = open_tokenizer(config["text_cfg"], folder=found.folder, name=path)
        model = build(library, config, name=path)
        load_weights(library, model, found.weights, name=path)
        return OpenClipBackbone(model, config, found.images, tokenizer=tokenizer, name=path)


class OpenClipBackbone(Backbone):
    tokenizer: OpenClipTokenizer

    def __init__(
        self,
        model: Any,
        config: Mapping[str, Any],
        images: Mapping[str, Any],
        *,
        tokenizer: OpenClipTokenizer,
        name: str,
    ) -> None:
        self.has_bias = model.logit_bias is not None
        size = model.visual.image_size
        images = {**images, "size": list(size) if isinstance(size, tuple) else size}
        super().__init__(
            OpenClipImageTower(model.visual, dim=config["embed_dim"]),
            OpenClipTextTower(model.text, dim=config["embed_dim"]),
            tokenizer=tokenizer,
            image_spec=_image_spec(images, name),
            log_scale=nn.Parameter(model.logit_scale.detach().reshape(())),
            bias=model.logit_bias.detach().reshape(()).clone() if self.has_bias else torch.zeros(()),
            name=name,
        )
        self.config, self.images = dict(config), images

    @property
    def file_names(self) -> dict[str, str]:
        names = {name: name.removeprefix("image.").removeprefix("text.") for name in self.state_dict()}
        names["log_scale"] = "logit_scale"
        if self.has_bias:
            names["bias"] = "logit_bias"
        else:
            del names["bias"]
        return names

    def save(self, folder: Path) -> None:
        content = {"model_cfg": self.config, "preprocess_cfg": self.images}
        (folder / CONFIG).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        self.tokenizer.save(folder)
        state = self.state_dict()
        weights = {there: state[name].detach().cpu().contiguous() for name, there in self.file_names.items()}
        save_file(weights, folder / WEIGHTS[0], metadata={"format": "pt"})


def _open_clip() -> Any:
    try:
        import open_clip
    except ModuleNotFoundError as error:
        raise ValueError(
            f"backbone=openclip needs {error.name}, which is not installed; install open_clip with {INSTALL}, after a "
            "torchvision that was built for your torch (docs/backbones/openclip.md)"
        ) from error
    except (ImportError, RuntimeError, AttributeError, OSError) as error:
        raise ValueError(
            f"backbone=openclip: open_clip is installed, but cannot be imported beside torch {torch.__version__}: "
            f"{error}. It imports torchvision, which must be built for the same torch: the torchvision of PyPI cannot "
            "be imported beside a CPU build of torch 2.13. Install torch and torchvision anew from one index of "
            "pytorch.org (docs/backbones/openclip.md)"
        ) from error
    return open_clip


def _image_spec(images: Mapping[str, Any], name: str) -> ImageSpec:
    size, fit, interpolation = images["size"], images["resize_mode"], images["interpolation"]
    if isinstance(size, list):
        if size[0] != size[1]:
            raise ValueError(
                f"backbone {name!r} reads images of {size[0]} x {size[1]} pixels; only squares are supported"
            )
        size = size[0]
    if fit not in ("shortest", "squash") or interpolation not in ("bicubic", "bilinear", "random"):
        raise ValueError(
            f"backbone {name!r}: resize_mode={fit!r} with interpolation={interpolation!r} in preprocess_cfg is not "
            "supported; there are shortest and squash, bicubic and bilinear"
        )
    return ImageSpec(
        size=size,
        mean=tuple(images["mean"]),
        std=tuple(images["std"]),
        resize=size,
        fit="squash" if fit == "squash" else "crop",
        filter="bilinear" if interpolation == "bilinear" else "bicubic",  # "random" is bicubic outside of training
    )
