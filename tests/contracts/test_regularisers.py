"""Before training student and teacher agree, and what compares them must not pull at all: not even by rounding."""

from pathlib import Path

import pytest
import torch

from surefoot import plugins
from surefoot.backbones.base import load_backbone
from surefoot.data.batch import Batch
from surefoot.data.prompts import Prompts
from surefoot.methods.base import Method, Progress

PROMPTS = Prompts(("red", "green", "blue"), ("a {}", "one {}"), ("a dim {}", "a wet {}"))
TERMS = [
    ("car_ft", {}, "context_kl"),
    ("lipsum_ft", {}, "random_texts"),
    ("lipsum_ft", {"form": "kl"}, "random_texts"),
    ("star_ft", {"template": "{}"}, "spurious"),
    ("star_ft", {"template": "{}", "variant": "kl"}, "spurious"),
    ("star_ft", {"template": "{}", "base": "ce"}, "spurious"),
    ("l2_sp", {}, "distance"),
    ("kd", {}, "distillation"),
    ("kd", {"head": "unit", "temperature": 3.0}, "distillation"),
    ("kd", {"form": "features"}, "distillation"),
    ("kd", {"form": "raw_features"}, "distillation"),
]


@pytest.mark.filterwarnings("ignore:.*the rest of this and of other long texts is left out")
@pytest.mark.parametrize("reduced", [False, True], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("place", ["tiny", "transformers"])
@pytest.mark.parametrize(("name", "options", "term"), TERMS)
def test_a_regulariser_and_its_gradient_are_exactly_zero_before_training(
    name: str, options: dict[str, object], term: str, place: str, reduced: bool, clip_folder: Path
) -> None:
    plugin = plugins.find("methods", name, base=Method)
    backbone = load_backbone("tiny" if place == "tiny" else str(clip_folder))
    method = plugin(plugin.Config.model_validate(options), backbone, PROMPTS).train()
    training = method.train_only(method.stages[0].train)
    size = backbone.image_spec.size
    images = torch.randn(7, 3, size, size, generator=torch.Generator().manual_seed(0))
    index = torch.arange(7)
    batch = Batch(images, index % 3, torch.full_like(index, -1), index, torch.zeros_like(index))
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=reduced):
        value = method(batch, Progress(step=0, steps=10, epoch=0, epochs=10))[term]
    assert value.item() == 0
    gradients = torch.autograd.grad(value, list(training.values()), materialize_grads=True)
    assert all((gradient == 0).all() for gradient in gradients)
