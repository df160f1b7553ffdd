import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor

from surefoot.backbones.base import Backbone, load_backbone
from surefoot.classifier import Classifier, Convention, Head, Prediction
from surefoot.data.prompts import Prompts

PROMPTS = Prompts(("red", "green", "blue"), ("a {} thing", "the {} one"), ("a photo of a {}",))


@pytest.fixture
def backbone() -> Backbone:
    return load_backbone("tiny")


@pytest.fixture
def classifier(backbone: Backbone) -> Classifier:
    return Classifier.zero_shot(backbone, PROMPTS).eval()


@pytest.fixture
def folder(classifier: Classifier, tmp_path: Path) -> Path:
    classifier.save_pretrained(tmp_path / "saved")
    return tmp_path / "saved"


def images(count: int = 4) -> Tensor:
    return torch.randn(count, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def pictures(count: int) -> list[Image.Image]:
    draw = np.random.default_rng(0)
    return [Image.fromarray(draw.integers(0, 256, (20 + i, 16, 3), dtype=np.uint8)) for i in range(count)]


# --- the head -------------------------------------------------------------------------------------------------------


def test_scaled_rows_have_the_length_of_the_scale_and_a_bias_that_trains_from_zero(backbone: Backbone) -> None:
    head = Head.zero_shot(backbone, PROMPTS, convention="scaled")
    assert torch.allclose(head.weight.norm(dim=-1), backbone.scale.expand(3))
    assert [name for name, _ in head.named_parameters()] == ["weight", "bias"]
    assert head.bias.tolist() == [0, 0, 0]


def test_unit_rows_have_length_one_a_frozen_scale_and_no_bias_to_train(backbone: Backbone) -> None:
    head = Head.zero_shot(backbone, PROMPTS, convention="unit")
    assert torch.allclose(head.weight.norm(dim=-1), torch.ones(3))
    assert [name for name, _ in head.named_parameters()] == ["weight"]
    assert head.scale == backbone.scale


def test_scaled_and_unit_heads_start_with_the_logits_of_the_dual_encoder(backbone: Backbone) -> None:
    features = backbone.image.raw(images())
    expected = backbone.scale * backbone.image(images()) @ backbone.zero_shot_weights(PROMPTS.class_sentences()).T
    for convention in ("scaled", "unit"):
        assert torch.allclose(Head.zero_shot(backbone, PROMPTS, convention=convention)(features), expected, atol=1e-4)


@pytest.mark.parametrize("convention", ["scaled", "unit"])
def test_the_length_of_a_feature_does_not_count_where_heads_normalise(
    backbone: Backbone, convention: Convention
) -> None:
    head, features = Head.zero_shot(backbone, PROMPTS, convention=convention), torch.randn(4, backbone.dim)
    assert torch.allclose(head(7 * features), head(features), atol=1e-4)


def test_under_adam_the_two_conventions_move_at_different_speeds(backbone: Backbone) -> None:
    """METHODS 0.3: the same learning rate moves "unit" logits exp(s) times as far, here 10 times."""
    features, moved = torch.randn(4, backbone.dim), []
    for convention in ("scaled", "unit"):
        head = Head.zero_shot(backbone, PROMPTS, convention=convention)
        before = head(features).detach()
        optimizer = torch.optim.Adam([head.weight], lr=1e-3)
        head(features).logsumexp(-1).sum().backward()
        optimizer.step()
        moved.append((head(features) - before).abs().mean().item())
    assert moved[1] / moved[0] == pytest.approx(10, rel=0.05)


def test_a_linear_head_is_a_linear_layer_on_raw_features(backbone: Backbone) -> None:
    head, features = Head.random(backbone.dim, 3, seed=0), 5 * torch.randn(4, backbone.dim)
    assert torch.allclose(head(features), features @ head.weight.T + head.bias, atol=1e-5)
    assert [name for name, _ in head.named_parameters()] == ["weight", "bias"]


def test_a_random_head_depends_on_the_seed_alone_and_is_spread_as_in_torch() -> None:
    first, again, other = (Head.random(64, 500, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(first.weight, again.weight)
    assert torch.equal(first.bias, again.bias)
    assert not torch.equal(first.weight, other.weight)
    for values in (first.weight, first.bias):
        assert values.abs().max() <= 1 / 8
        assert values.std().item() == pytest.approx(1 / 8 / 3**0.5, rel=0.1)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_logits_are_float32_under_autocast(backbone: Backbone, dtype: torch.dtype) -> None:
    features = torch.randn(4, backbone.dim)
    for head in (Head.zero_shot(backbone, PROMPTS), Head.random(backbone.dim, 3, seed=0)):
        with torch.autocast("cpu", dtype=dtype):
            logits, from_half = head(features), head(features.to(dtype))
        assert logits.dtype == from_half.dtype == torch.float32
        assert torch.equal(logits, head(features))


def test_a_wrong_head_is_refused(backbone: Backbone) -> None:
    with pytest.raises(ValueError, match="no zero-shot weights; choose scaled or unit"):
        Head.zero_shot(backbone, PROMPTS, convention="linear")
    with pytest.raises(ValueError, match="'cosine'; choose one of scaled, unit, linear"):
        Head(torch.zeros(3, 4), bias=torch.zeros(3), scale=torch.ones(()), convention="cosine")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"\(3, 4\), \(2,\), \(\)"):
        Head(torch.zeros(3, 4), bias=torch.zeros(2), scale=torch.ones(()), convention="unit")


# --- the classifier -------------------------------------------------------------------------------------------------


def test_the_temperature_changes_probabilities_and_not_logits(backbone: Backbone) -> None:
    head = Head.zero_shot(backbone, PROMPTS)
    plain, warm = (Classifier(backbone, head, classes=PROMPTS.classes, temperature=t) for t in (1.0, 2.5))
    assert torch.equal(plain(images()), warm(images()))
    assert torch.allclose(warm.probabilities(images()), torch.softmax(plain(images()) / 2.5, -1))
    assert torch.allclose(plain.probabilities(images()).sum(-1), torch.ones(4))


def test_what_does_not_fit_together_is_refused(backbone: Backbone) -> None:
    head = Head.zero_shot(backbone, PROMPTS)
    with pytest.raises(ValueError, match=r"shape \(3, 32\), but 2 classes .* need \(2, 32\)"):
        Classifier(backbone, head, classes=("a", "b"))
    with pytest.raises(ValueError, match=r"\['a'\] more than once"):
        Classifier(backbone, head, classes=("a", "b", "a"))
    for temperature in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="temperature is"):
            Classifier(backbone, head, classes=PROMPTS.classes, temperature=temperature)


def test_predictions_are_the_probabilities_in_order_whatever_the_batch_size(classifier: Classifier) -> None:
    classifier.temperature = 2.0
    found = classifier.predict(pictures(5), top_k=3)
    assert [len(p.top) for p in found] == [3] * 5
    for prediction in found:
        assert prediction.top[0] == (prediction.label, prediction.probability)
        assert sum(p for _, p in prediction.top) == pytest.approx(1, abs=1e-6)
        assert [p for _, p in prediction.top] == sorted((p for _, p in prediction.top), reverse=True)
    apart = classifier.predict(pictures(5), top_k=3, batch_size=2)
    assert [p.label for p in apart] == [p.label for p in found]
    assert [p.probability for p in apart] == pytest.approx([p.probability for p in found], abs=1e-6)
    assert classifier.predict([]) == []


def test_files_and_images_in_memory_are_predicted_alike(classifier: Classifier, tmp_path: Path) -> None:
    in_memory = pictures(2)
    for i, picture in enumerate(in_memory):
        picture.save(tmp_path / f"{i}.png")
    files: list[Prediction] = classifier.predict([tmp_path / "0.png", str(tmp_path / "1.png")])
    assert files == classifier.predict(in_memory)


def test_predicting_leaves_the_training_mode_and_the_gradients_alone(classifier: Classifier) -> None:
    classifier.train()
    classifier.predict(pictures(1))
    assert classifier.training
    assert classifier.backbone.image.training
    assert all(parameter.grad is None for parameter in classifier.parameters())


def test_all_images_that_cannot_be_read_are_listed(classifier: Classifier, tmp_path: Path) -> None:
    pictures(1)[0].save(tmp_path / "good.png")
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("no image")
    names = ["empty.png", "good.png", "missing.png", "text.png"]
    with pytest.raises(ValueError, match=r"(?s)3 of 4 images .*empty\.png.*missing\.png.*text\.png"):
        classifier.predict([tmp_path / name for name in names], batch_size=1)


def test_wrong_settings_of_predict_are_refused(classifier: Classifier) -> None:
    with pytest.raises(ValueError, match="top_k is 4; choose 1 to 3"):
        classifier.predict(pictures(1), top_k=4)
    with pytest.raises(ValueError, match="batch_size is 0"):
        classifier.predict(pictures(1), batch_size=0)


# --- saving ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("convention", ["scaled", "unit", "linear"])
def test_a_saved_classifier_opens_again_as_it_was(backbone: Backbone, tmp_path: Path, convention: Convention) -> None:
    head = (
        Head.random(backbone.dim, 3, seed=1)
        if convention == "linear"
        else Head.zero_shot(backbone, PROMPTS, convention=convention)
    )
    classes = ("roter Würfel", "绿", 'say "blue"')
    saved = Classifier(
        backbone, head, classes=classes, templates=("{}",), temperature=1.7, provenance={"seed": 3, "from": ["a", None]}
    )
    saved.save_pretrained(tmp_path / "deep" / "er")
    opened = Classifier.from_pretrained(tmp_path / "deep" / "er")
    assert torch.equal(opened(images()), saved(images()))
    assert (opened.classes, opened.templates, opened.temperature) == (classes, ("{}",), 1.7)
    assert opened.provenance == {"seed": 3, "from": ["a", None]}
    assert (opened.head.convention, opened.backbone.name) == (convention, "tiny")
    assert not opened.training
    names = [name for name, _ in opened.named_parameters()]
    assert names == [name for name, _ in saved.named_parameters()]


def test_a_saved_clip_classifier_opens_in_transformers_unchanged(clip_folder: Path, tmp_path: Path) -> None:
    from transformers import CLIPModel, CLIPProcessor

    saved = Classifier.zero_shot(load_backbone(str(clip_folder)), PROMPTS)
    saved.save_pretrained(tmp_path / "run")
    opened = Classifier.from_pretrained(tmp_path / "run")
    pixels = torch.randn(2, 3, 32, 32)
    assert torch.equal(opened(pixels), saved(pixels))
    model = CLIPModel.from_pretrained(tmp_path / "run")
    with torch.no_grad():
        assert torch.equal(model.get_image_features(pixels).pooler_output, saved.backbone.image.raw(pixels))
    assert CLIPProcessor.from_pretrained(tmp_path / "run").tokenizer.eos_token_id == 53


def test_saving_again_replaces_and_leaves_nothing_else(classifier: Classifier, folder: Path) -> None:
    classifier.temperature = 3.0
    (folder / "stale.txt").touch()
    classifier.save_pretrained(folder)
    assert Classifier.from_pretrained(folder).temperature == 3.0
    assert sorted(path.name for path in folder.iterdir()) == [
        "head.safetensors",
        "model.safetensors",
        "surefoot.json",
        "tiny.json",
    ]
    assert [path.name for path in folder.parent.iterdir()] == ["saved"]


def test_a_failed_save_leaves_what_was_there_and_no_remains(classifier: Classifier, folder: Path) -> None:
    class Broken(type(classifier.backbone)):  # type: ignore[misc]
        def save(self, folder: Path) -> None:
            (folder / "model.safetensors").write_bytes(b"half")
            raise OSError("No space left on device")

    classifier.temperature = 9.0
    classifier.backbone.__class__ = Broken
    with pytest.raises(OSError, match="No space left"):
        classifier.save_pretrained(folder)
    assert [path.name for path in folder.parent.iterdir()] == ["saved"]
    assert Classifier.from_pretrained(folder).temperature == 1.0


def test_what_is_no_json_cannot_be_provenance(classifier: Classifier, tmp_path: Path) -> None:
    for bad in ({"model": classifier}, {"loss": float("nan")}):
        classifier.provenance = bad
        with pytest.raises(ValueError, match="provenance holds more than JSON values"):
            classifier.save_pretrained(tmp_path / "new")
    assert not list(tmp_path.iterdir())


def test_a_folder_with_other_things_is_not_overwritten(classifier: Classifier, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ValueError, match="is no saved classifier; give a new"):
        classifier.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="is no saved classifier; give a new"):
        classifier.save_pretrained(tmp_path / "thesis.txt")
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_an_empty_folder_may_be_filled(classifier: Classifier, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    classifier.save_pretrained(tmp_path / "empty")
    assert Classifier.from_pretrained(tmp_path / "empty").classes == PROMPTS.classes


# --- folders that cannot be opened ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("surefoot.json", r"is no saved classifier: it has no surefoot\.json"),
        ("head.safetensors", r"head\.safetensors is missing"),
        ("model.safetensors", r"model\.safetensors"),
        ("tiny.json", "holds no backbone"),
    ],
)
def test_a_missing_file_is_named(folder: Path, missing: str, message: str) -> None:
    (folder / missing).unlink()
    with pytest.raises(ValueError, match=message):
        Classifier.from_pretrained(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 2}, "format 2, this Surefoot reads up to 1; update"),
        ({"temperature": 0}, "temperature"),
        ({"convention": "cosine"}, "convention"),
        ({"classes": ["red", "green"]}, r"does not hold together: .*shape \(3, 32\), but 2 classes"),
        ({"classes": ["red", "red", "blue"]}, "more than once"),
        ({"temprature": 1}, "temprature"),
    ],
)
def test_a_wrong_card_is_refused(folder: Path, change: dict[str, object], message: str) -> None:
    path = folder / "surefoot.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(ValueError, match=message):
        Classifier.from_pretrained(folder)


def test_a_half_written_card_is_refused(folder: Path) -> None:
    path = folder / "surefoot.json"
    path.write_text(path.read_text()[:40])
    with pytest.raises(ValueError, match=r"surefoot\.json cannot be used"):
        Classifier.from_pretrained(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weight": torch.zeros(3, 5)}, r"shape \(3, 5\)"),
        ({"bias": torch.zeros(4)}, "have shapes"),
        ({"weight": torch.full((3, 32), float("nan"))}, "not finite"),
        ({"extra": torch.zeros(1)}, "holds .*extra"),
    ],
)
def test_a_wrong_head_file_is_refused(folder: Path, change: dict[str, Tensor], message: str) -> None:
    path = folder / "head.safetensors"
    save_file({**load_file(path), **change}, path)
    with pytest.raises(ValueError, match=message):
        Classifier.from_pretrained(folder)


def test_a_damaged_head_file_is_refused(folder: Path) -> None:
    (folder / "head.safetensors").write_bytes(b"half")
    with pytest.raises(ValueError, match="is damaged"):
        Classifier.from_pretrained(folder)


def test_a_pickled_head_is_refused(folder: Path) -> None:
    torch.save(load_file(folder / "head.safetensors"), folder / "head.pt")
    (folder / "head.safetensors").unlink()
    with pytest.raises(ValueError, match="can run code when opened and is refused"):
        Classifier.from_pretrained(folder)


def test_a_backbone_alone_is_no_classifier(clip_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(clip_folder, tmp_path / "clip")
    with pytest.raises(ValueError, match="is no saved classifier"):
        Classifier.from_pretrained(tmp_path / "clip")


def test_predicting_leaves_an_image_in_memory_as_it_is(classifier: Classifier, tmp_path: Path) -> None:
    Image.new("RGB", (800, 600), (200, 30, 30)).save(tmp_path / "big.jpg")
    with Image.open(tmp_path / "big.jpg") as image:
        classifier.predict([image])
        assert image.size == (800, 600)


def test_others_may_read_a_saved_classifier(classifier: Classifier, tmp_path: Path) -> None:
    (tmp_path / "new").touch()
    classifier.save_pretrained(tmp_path / "classifier")
    modes = {file.stat().st_mode for file in (tmp_path / "classifier").iterdir()}
    assert modes == {(tmp_path / "new").stat().st_mode}
