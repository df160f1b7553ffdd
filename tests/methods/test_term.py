"""What losses share: each feature once, the zero-shot model as it was, copies of what is needed and no others."""

import torch

from surefoot.backbones.base import RawFeatures, load_backbone, unit
from surefoot.data.batch import Batch
from surefoot.methods.base import Progress, Seen, Stage, Start


def batch(count: int = 4) -> Batch:
    images = torch.randn(count, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    none = torch.full((count,), -1)
    return Batch(images, torch.arange(count) % 2, none, torch.arange(count), none)


def test_each_feature_of_a_step_is_computed_once_and_is_the_backbones() -> None:
    backbone, given = load_backbone("tiny"), batch()
    seen = Seen(backbone, given, Progress(0, 1, 0, 1))
    passes: list[str] = []
    backbone.image.patches.register_forward_hook(lambda *_: passes.append("image"))
    backbone.text.tokens.register_forward_hook(lambda *_: passes.append("text"))
    assert torch.equal(seen.images, unit(seen.raw))
    assert torch.equal(seen.joined_images, seen.images)  # one process
    assert seen.joined_texts(["a", "b", "a", "c"]) is seen.joined_texts(["a", "b", "a", "c"])
    assert passes == ["image", "text"]
    assert torch.equal(seen.raw, backbone.image.raw(given.images))
    assert torch.equal(seen.joined_texts(["a", "b", "a", "c"]), backbone.encode_text(["a", "b", "a", "c"]))


def test_the_start_stays_when_the_student_moves() -> None:
    backbone, still, given = load_backbone("tiny"), load_backbone("tiny"), batch()
    start = Start(backbone, trains_text=True)
    teacher = start.image
    with torch.no_grad():
        for parameter in backbone.parameters():
            parameter += 1
    assert torch.equal(teacher(given), still.image.raw(given.images))
    assert torch.equal(start.joined_texts(["a", "b"]), still.encode_text(["a", "b"]))
    assert torch.equal(start.scale, still.scale)
    assert start.tower is teacher.module.image


def test_the_text_tower_is_copied_only_where_it_trains() -> None:
    backbone = load_backbone("tiny")
    start = Start(backbone)
    assert isinstance(start.image.module, RawFeatures)
    assert start.backbone is backbone
    assert start.tower is start.image.module.tower
    assert start.tower is not backbone.image


def test_a_stage_groups_parameters_by_what_multiplies_their_rate() -> None:
    module = torch.nn.ModuleDict({"slow": torch.nn.Linear(2, 2), "fast": torch.nn.Linear(2, 2)})
    stage = Stage(train=("slow.", "fast."), rates={"fast.": 10.0})
    groups = stage.by_rate(dict(module.named_parameters()))
    assert groups == {1.0: list(module["slow"].parameters()), 10.0: list(module["fast"].parameters())}
