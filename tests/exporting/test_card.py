import json
import shutil
from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from surefoot.exporting import Details, Format, export
from surefoot.exporting.card import card


def opened(text: str, folder: Path) -> ModelCard:
    (folder / "README.md").write_text(text, encoding="utf-8")
    return ModelCard.load(folder / "README.md")


def test_the_head_of_the_card_holds_the_measures_of_the_run(finished: Path, tmp_path: Path) -> None:
    found = opened(card(finished), tmp_path)
    results = json.loads((finished / "results.json").read_text())
    assert found.data.library_name == "transformers"
    assert found.data.pipeline_tag == "zero-shot-image-classification"
    told = {(entry.dataset_split, entry.metric_name): entry.metric_value for entry in found.data.eval_results or []}
    for split, where in (("test", "in distribution"), ("dim", "under shift")):
        measures = results["splits"][split]
        assert told[split, f"Accuracy, {where}"] == pytest.approx(measures["accuracy"], abs=1e-6)
        assert told[split, f"ECE, {where}"] == pytest.approx(measures["ece"], abs=1e-6)
        calibrated = told[split, f"ECE with the temperature, {where}"]
        assert calibrated == pytest.approx(measures["ece_calibrated"], abs=1e-6)
    assert len(told) == 6  # the squares have no groups


def test_the_worst_group_stands_in_the_card_where_there_are_groups(finished: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    results = json.loads((run / "results.json").read_text())
    results["splits"]["test"]["worst_group_accuracy"] = 0.25
    (run / "results.json").write_text(json.dumps(results))
    text = card(run)
    assert "| 0.2500 |" in text
    told = {entry.metric_name: entry.metric_value for entry in opened(text, tmp_path).data.eval_results or []}
    assert told["Worst-group accuracy, in distribution"] == 0.25


def test_what_is_not_known_is_not_claimed(finished: Path, tmp_path: Path) -> None:
    text = card(finished)
    found = opened(text, tmp_path)
    assert found.data.license == "unknown"
    assert found.data.base_model is None
    assert "not stated here" in text
    assert "small-clip`, a hub id or a local folder" in text


def test_what_is_given_stands_in_the_card(finished: Path, tmp_path: Path) -> None:
    text = card(finished, details=Details("mit", "openai/clip-vit-base-patch32", "me/colours"))
    found = opened(text, tmp_path)
    assert found.data.license == "mit"
    assert found.data.base_model == "openai/clip-vit-base-patch32"
    assert 'model="me/colours"' in text


def test_the_text_names_data_method_and_settings(finished: Path) -> None:
    text = card(finished)
    assert "**Method**: flyp" in text
    assert "arXiv:2212.00638" in text
    assert "36 training images; home is `" in text
    assert "learning rate 0.001, batches of 12, 1 epochs" in text
    assert "blue, green, red" in text


@pytest.mark.parametrize(
    ("form", "library", "called"),
    [
        (Format.transformers, "transformers", 'pipeline("zero-shot-image-classification"'),
        (Format.image_classification, "transformers", 'pipeline("image-classification"'),
        (Format.openclip, "open_clip", "create_model_and_transforms"),
    ],
)
def test_an_exported_folder_has_the_card_with_what_the_export_said(
    finished: Path, tmp_path: Path, form: Format, library: str, called: str
) -> None:
    notes = export(finished, form, tmp_path / "out")
    found = ModelCard.load(tmp_path / "out" / "README.md")
    assert found.data.library_name == library
    assert called in found.text
    assert notes
    assert all(note in found.text for note in notes)


def test_an_unfinished_run_and_a_file_have_no_card(finished: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"results\.json is missing; the run is unfinished"):
        card(tmp_path)
    with pytest.raises(ValueError, match=r"to=onnx: a card goes with a folder; choose one of transformers"):
        card(finished, form=Format.onnx)
