from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from surefoot.backbones.base import load_backbone
from surefoot.classifier import Classifier, Head
from surefoot.exporting import Format, export


def pipeline_probabilities(folder: Path, picture: Path, labels: tuple[str, ...], template: str) -> dict[str, float]:
    from transformers import pipeline

    classify: Any = pipeline("zero-shot-image-classification", model=str(folder))
    found = classify(str(picture), candidate_labels=list(labels), hypothesis_template=template)
    return {entry["label"]: entry["score"] for entry in found}


def ours(folder: Path, picture: Path) -> dict[str, float]:
    classifier = Classifier.from_pretrained(folder)
    return dict(classifier.predict([picture], top_k=len(classifier.classes))[0].top)


def test_the_zero_shot_pipeline_gives_the_probabilities_of_a_head_made_from_one_template(
    make_run: Any, pictures: list[Path], tmp_path: Path
) -> None:
    run = make_run(templates=("a {}",))
    notes = export(run, Format.transformers, tmp_path / "out")
    assert "hypothesis_template='a {}'" in notes[0]
    for picture in pictures:
        expected = ours(run / "classifier", picture)
        found = pipeline_probabilities(tmp_path / "out", picture, tuple(expected), "a {}")
        assert found == pytest.approx(expected, abs=1e-4)


def test_without_the_export_the_temperature_is_missing_from_the_pipeline(make_run: Any, pictures: list[Path]) -> None:
    run = make_run(templates=("a {}",))
    expected = ours(run / "classifier", pictures[0])
    found = pipeline_probabilities(run / "classifier", pictures[0], tuple(expected), "a {}")
    powers = {label: p ** (1 / 1.7) for label, p in found.items()}
    total = sum(powers.values())
    assert {label: p / total for label, p in powers.items()} == pytest.approx(expected, abs=1e-4)
    assert found != pytest.approx(expected, abs=1e-3)


def test_surefoot_opens_the_folder_and_predicts_the_same(make_run: Any, pictures: list[Path], tmp_path: Path) -> None:
    run = make_run(templates=("a {}",))
    export(run, Format.transformers, tmp_path / "out")
    assert ours(tmp_path / "out", pictures[0]) == ours(run / "classifier", pictures[0])


def test_only_the_classifiers_own_files_are_taken_along(make_run: Any, tmp_path: Path) -> None:
    run = make_run()
    (run / "classifier" / ".cache" / "huggingface").mkdir(parents=True)  # as `hf download` leaves it
    (run / "classifier" / "notes.txt").write_text("private")
    (run / "classifier" / "secret.json").symlink_to(run.parent / "elsewhere.json")
    export(run, Format.transformers, tmp_path / "out")
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "surefoot.json", "head.safetensors"} <= names
    assert not names & {".cache", "notes.txt", "secret.json"}


def test_of_several_templates_the_nearest_is_named_with_what_it_lacks(make_run: Any, tmp_path: Path) -> None:
    (note,) = [n for n in export(make_run(templates=("a {}", "the {} here")), Format.transformers, tmp_path / "out")
               if "template" in n]  # fmt: skip
    assert "mean over 2 templates" in note
    assert "hypothesis_template=" in note
    assert "--to image-classification" in note


@pytest.mark.parametrize("convention", ["scaled", "unit", "linear"])
def test_a_trained_head_is_said_to_be_out_of_reach_of_text(make_run: Any, tmp_path: Path, convention: str) -> None:
    from safetensors.torch import load_file

    run = make_run(convention=convention)
    notes = export(run, Format.transformers, tmp_path / "out")
    assert notes[0].startswith("the head was trained, and no text gives it")
    before, after = (load_file(folder / "model.safetensors") for folder in (run / "classifier", tmp_path / "out"))
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_classifier_without_a_run_gets_no_card_and_says_so(make_run: Any, tmp_path: Path) -> None:
    run = make_run()
    notes = export(run, Format.transformers, tmp_path / "out")
    assert any("no model card" in note for note in notes)
    assert not (tmp_path / "out" / "README.md").exists()


def test_a_backbone_of_another_kind_is_refused_by_name(tmp_path: Path) -> None:
    backbone = load_backbone("tiny")
    head = Head.random(backbone.dim, 2, seed=0)
    Classifier(backbone, head, classes=("a", "b")).save_pretrained(tmp_path / "classifier")
    for form in (Format.transformers, Format.image_classification, Format.openclip):
        with pytest.raises(ValueError, match=r"'tiny'.*is no CLIP model of transformers.*--to onnx"):
            export(tmp_path, form, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["classifier"]


def test_a_folder_that_is_not_empty_is_left_alone(make_run: Any, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"exists and is not empty"):
        export(make_run(), Format.transformers, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_images_of_other_sizes_differ_by_the_rounding_of_their_pixels(make_run: Any, tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    smooth = Image.fromarray(draw.integers(0, 255, (6, 8, 3), dtype=np.uint8)).resize(
        (90, 70), Image.Resampling.BICUBIC
    )
    smooth.save(tmp_path / "photo.png")
    run = make_run(templates=("a {}",))
    export(run, Format.transformers, tmp_path / "out")
    expected = ours(run / "classifier", tmp_path / "photo.png")
    found = pipeline_probabilities(tmp_path / "out", tmp_path / "photo.png", tuple(expected), "a {}")
    assert found == pytest.approx(expected, abs=1e-2)
