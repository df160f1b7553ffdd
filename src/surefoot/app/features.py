"""What an image tower sees in each image of a split, computed once and remembered on the disk by content."""

from contextlib import closing

import torch
from torch import Tensor

from surefoot.backbones._remembered import key_of, on_disk
from surefoot.backbones.base import Backbone, evaluating
from surefoot.data.batch import DataConfig, evaluation_batches
from surefoot.data.contents import read_contents
from surefoot.data.task import Split


def split_features(backbone: Backbone, split: Split, data: DataConfig) -> Tensor:
    """Features (n, D) of a split in its order before normalisation, float32, on the backbone's device.

    The key of what is remembered holds the hash of each file, the tower's weights and what else the numbers depend on.
    Raises UnreadableImage where images cannot be read.
    """
    (contents,) = read_contents([split], max_pixels=data.max_pixels, workers=data.workers)
    spec = backbone.image_spec
    altered = "" if split.alter is None else split.alter.name
    positions = [split.position(index) for index in range(len(split))] if split.alter is not None else []
    files = contents.digests.astype("<u8").tobytes().hex()
    about = [str(spec), list(data.background), altered, positions, files]
    with evaluating(backbone), torch.no_grad():
        blank = torch.zeros(1, 3, spec.size, spec.size, device=backbone.log_scale.device)
        key = key_of(about, backbone.image, backbone.image.raw(blank))
    found = on_disk("features", key, lambda: _computed(backbone, split, data), what="features of images")
    return found.to(backbone.log_scale.device)


@torch.no_grad()
def _computed(backbone: Backbone, split: Split, data: DataConfig) -> Tensor:
    stream = evaluation_batches(split, backbone.image_spec, data)
    with evaluating(backbone), closing(stream):
        return torch.cat([backbone.image.raw(batch.images.to(backbone.log_scale.device)) for batch in stream])
