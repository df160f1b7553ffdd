"""Dual encoders in transformers' format: a local folder or a hub id, opened for training and saved unchanged in form.

Here: which families there are, and what the options change. How each is built stands in the files named after them.
Only safetensors are read; weights become float32. Half precision while training belongs to the engine.
"""

from pathlib import Path

from pydantic import NonNegativeInt

from surefoot.backbones._clip import load_clip, load_pair
from surefoot.backbones._dual_encoder import load_dual_encoder
from surefoot.backbones._siglip import load_siglip
from surefoot.backbones._transformers import HuggingFaceBackbone, Place, read_config
from surefoot.backbones.base import BackboneSource, LongText
from surefoot.pretrained import explained, no_progress_bars

KINDS = {  # model_type in config.json -> the class of transformers
    "clip": "CLIPModel",
    "metaclip_2": "MetaClip2Model",
    "clip_vision_model": "CLIPVisionModelWithProjection",
    "siglip": "SiglipModel",
    "vision-text-dual-encoder": "VisionTextDualEncoderModel",
}
REASONS = {
    "siglip2": "SigLIP 2 with images in their own proportions (NaFlex), whose towers read lists of patches; images are "
    "squares here: take a SigLIP 2 of one resolution, such as google/siglip2-base-patch16-224",
    "clip_text_model": "a text tower alone: give its image tower, with this one as backbone.text_path",
    "siglip_vision_model": "an image tower alone: give the whole SigLIP model",
}


class HuggingFace(BackboneSource):
    class Config(BackboneSource.Config):
        path: str  # a folder, or a hub id such as openai/clip-vit-base-patch16
        revision: str = "main"  # branch, tag or commit of a hub id
        text_path: str = ""  # where the text tower is, if path holds an image tower alone
        image_size: NonNegativeInt = 0  # in pixels; 0: the model's own
        long_text: LongText = "cut"

    config: Config
    summary = "A CLIP, SigLIP or dual encoder model in transformers' format: a folder or a hub id (path)"
    paper = "https://arxiv.org/abs/2103.00020"

    @classmethod
    def opens(cls, folder: Path) -> bool:
        return (folder / "config.json").is_file()

    def load(self) -> HuggingFaceBackbone:
        place = Place(self.config.path, self.config.revision)
        what = f"backbone {place.path!r}"
        with explained(what, place.path, kind="CLIPModel", revision=place.revision):
            family = read_config(place).get("model_type")
        if family not in KINDS:
            reason = REASONS.get(str(family), f"a model of type {family!r}; known are {', '.join(KINDS)}")
            raise ValueError(f"{what} is {reason}")
        if (family == "clip_vision_model") != bool(self.config.text_path):
            raise ValueError(
                f"{what} is an image tower alone: set backbone.text_path to its text tower"
                if family == "clip_vision_model"
                else f"backbone.text_path={self.config.text_path}: {place.path} is of type {family!r} and has a text "
                "tower; leave it out"
            )
        with explained(what, place.path, kind=KINDS[family], revision=place.revision), no_progress_bars():
            backbone = self._open(family, place)
        if self.config.image_size:
            backbone.read_images_of(self.config.image_size)
        backbone.long_text = self.config.long_text
        return backbone

    def _open(self, family: str, place: Place) -> HuggingFaceBackbone:
        if family == "clip_vision_model":
            text = self.config.text_path
            with explained(f"backbone.text_path={text}", text, kind="CLIPTextModelWithProjection"):
                kind = read_config(Place(text)).get("model_type")
                if kind != "clip_text_model":
                    raise ValueError(
                        f"backbone.text_path={text} is a model of type {kind!r}; give a CLIPTextModelWithProjection"
                    )
                return load_pair(place, Place(text))
        if family == "siglip":
            return load_siglip(place)
        if family == "vision-text-dual-encoder":
            return load_dual_encoder(place)
        return load_clip(KINDS[family], place)
