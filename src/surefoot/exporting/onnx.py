"""One ONNX file: normalised images (N, 3, S, S) in, calibrated probabilities (N, C) out, for any N.

The file's metadata has the key `surefoot`: JSON with the class names and all that must be done to an image before.
"""

import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from surefoot.classifier import Classifier
from surefoot.exporting.source import Source, how_images_are_read

OPSET = 18  # of ONNX 1.13 (2022): the oldest that torch's exporter writes without converting down
INPUT, OUTPUT, KEY = "images", "probabilities", "surefoot"
LARGEST = 2**31 - 2**24  # bytes of a protobuf file, less some for the graph
NEEDED = ("onnx", "onnxscript", "onnxruntime")


class Calibrated(nn.Module):
    """Images to probabilities."""

    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        self.classifier = classifier

    def forward(self, images: Tensor) -> Tensor:
        return self.classifier.probabilities(images)


def write(source: Source, path: Path) -> list[str]:
    """Write the file and run it in onnxruntime.

    ValueError where a package is missing, the network is too large for one file, or the probabilities differ.
    """
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise ValueError(f"to=onnx needs {', '.join(missing)}; pip install 'surefoot[onnx]'")
    classifier = source.classifier
    parts = (classifier.backbone.image, classifier.head)
    size = sum(p.numel() * p.element_size() for part in parts for p in part.parameters())
    if size > LARGEST:
        raise ValueError(f"to=onnx: the weights have {size / 2**30:.1f} GiB, but one ONNX file holds at most 2")
    import onnx

    with _quiet():
        batch = torch.export.Dim("batch", min=1)
        program = torch.onnx.export(
            Calibrated(classifier).eval(),
            (source.probes(),),
            input_names=[INPUT],
            output_names=[OUTPUT],
            opset_version=OPSET,
            dynamic_shapes={"images": {0: batch}},
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    model: Any = program.model_proto
    about = model.metadata_props.add()
    about.key, about.value = KEY, json.dumps(description(classifier), ensure_ascii=False)
    onnx.save_model(model, path)
    said = source.check("onnx", lambda images: torch.from_numpy(_run(path, images)))
    return [f"opset {OPSET}, {path.stat().st_size / 1e6:.1f} MB; {said}"]


def description(classifier: Classifier) -> dict[str, Any]:
    """What the file says of itself: the classes, and how an image becomes its input."""
    return {
        "format": 1,
        "classes": list(classifier.classes),
        **how_images_are_read(classifier.backbone.image_spec),
        "output": "probabilities of the classes, with the temperature",
        "temperature": classifier.temperature,
        "backbone": classifier.backbone.name,
    }


def _run(path: Path, images: Tensor) -> Any:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run([OUTPUT], {INPUT: images.numpy()})[0]


@contextmanager
def _quiet() -> Iterator[None]:
    """Torch's exporter warns of its own parts, and tells its steps through logging."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
