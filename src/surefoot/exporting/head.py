"""A head alone: a linear layer as safetensors, for whoever has the features, as users of timm do."""

import json
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor

from surefoot.classifier import Head
from surefoot.exporting.source import Source, how_images_are_read


def write(source: Source, path: Path) -> list[str]:
    """`weight` (C, D) and `bias` (C): softmax of x @ weight.T + bias are the calibrated probabilities.

    x are image features as `features` in the file's metadata says: of length 1, or raw. Scale and temperature are in
    the numbers. Metadata: `classes` and `images` (how these are read; JSON), `features`, `backbone`, `convention`.
    """
    weight, bias = folded(source.classifier.head, source.classifier.temperature)
    metadata = {
        "format": "pt",
        "classes": json.dumps(source.classifier.classes, ensure_ascii=False),
        "images": json.dumps(how_images_are_read(source.classifier.backbone.image_spec)),
        "features": "raw" if source.classifier.head.convention == "linear" else "length 1",
        "backbone": source.classifier.backbone.name,
        "convention": source.classifier.head.convention,
    }
    save_file({"weight": weight.contiguous(), "bias": bias.contiguous()}, path, metadata=metadata)
    return [f"features: {metadata['features']}; scale and temperature are in weight and bias"]


def folded(head: Head, temperature: float) -> tuple[Tensor, Tensor]:
    """Weight (C, D) and bias (C) with scale and temperature in them."""
    weight = head.scale * head.weight / temperature
    return weight.detach(), (head.bias / temperature).detach()
