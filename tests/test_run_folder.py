import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from surefoot.config import resolve
from surefoot.run_folder import INNOCENT, RunFolder, as_json, differences

DATA = {"fingerprint": "abc", "notes": [], "counts": {"train": 3}}
PREDICTIONS = {"test.label": np.arange(4, dtype=np.int32)}


def config(**options: Any) -> dict[str, Any]:
    dotted = {name.replace("__", "."): value for name, value in options.items()}
    return resolve({"task": "folder", "backbone": "tiny", "data.workers": 0, **dotted}).to_dict()


def begun(path: Path, **options: Any) -> RunFolder:
    folder = RunFolder(path / "run")
    folder.begin(config(**options), DATA)
    return folder


def test_run_json_holds_config_data_versions_and_machine(tmp_path: Path) -> None:
    record = begun(tmp_path).record()
    assert record["format"] == 1
    assert record["config"] == json.loads(json.dumps(config()))
    assert record["data"] == DATA
    assert {"python", "surefoot", "torch", "numpy"} <= record["versions"].keys()
    assert record["machine"]["cores"] >= 1


def test_the_same_config_may_begin_again_and_changes_nothing(tmp_path: Path) -> None:
    folder = begun(tmp_path)
    before = (folder.path / "run.json").read_bytes()
    folder.begin(config(), DATA)
    assert (folder.path / "run.json").read_bytes() == before


def test_another_config_is_refused_with_each_option_and_both_values(tmp_path: Path) -> None:
    folder = begun(tmp_path, engine__lr=0.1, method="flyp")
    with pytest.raises(ValueError, match="holds a run with other settings") as error:
        folder.begin(config(engine__lr=0.2, method="wise_ft", engine__clip_norm=0), DATA)
    message = str(error.value)
    assert "engine.lr was 0.1, is 0.2" in message
    assert "method.name was 'flyp', is 'wise_ft'" in message
    assert "method.alpha was 'absent', is 0.5" in message
    assert "clip_norm" not in message
    assert message.endswith("give another output folder, or remove this one")


def test_another_blend_is_refused_and_the_same_is_not(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.begin(config(), DATA, blend={"kind": "wise", "alphas": (0, 1)})
    folder.begin(config(), DATA, blend={"kind": "wise", "alphas": (0, 1)})
    with pytest.raises(
        ValueError, match=r"blend\.alphas was \[0, 1\], is \[0\.5\]; blend\.kind was 'wise', is 'fisher'"
    ):
        folder.begin(config(), DATA, blend={"kind": "fisher", "alphas": (0.5,)})
    with pytest.raises(ValueError, match="holds a run with other settings"):
        folder.begin(config(), DATA)


@pytest.mark.parametrize("name", sorted(INNOCENT))
def test_what_does_not_change_the_numbers_may_change(tmp_path: Path, name: str) -> None:
    folder = begun(tmp_path)
    for value in {"tracking.to": ([], ["tensorboard"]), "tracking.project": ("one", "two")}.get(name, (1, 2)):
        folder.begin(config(**{name: value}), DATA)


def test_innocent_options_exist() -> None:
    known = config()
    for name in INNOCENT:
        section, option = name.split(".")
        assert option in known[section]


def test_a_run_on_other_data_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="the data changed since this run began; give another output folder"):
        begun(tmp_path).begin(config(), {**DATA, "fingerprint": "def"})


def test_a_run_of_another_format_is_refused(tmp_path: Path) -> None:
    folder = begun(tmp_path)
    folder.write_json("run.json", {**folder.record(), "format": 2})
    with pytest.raises(ValueError, match="has run format 2, this Surefoot writes 1"):
        folder.begin(config(), DATA)


def test_results_make_a_run_a_finished_one(tmp_path: Path) -> None:
    folder = begun(tmp_path)
    assert not folder.finished
    with pytest.raises(ValueError, match=r"results\.json is missing; the run is unfinished; start its command again"):
        folder.results()
    folder.finish({"format": 1}, PREDICTIONS)
    assert folder.finished
    assert folder.results() == {"format": 1}
    assert np.array_equal(folder.predictions()["test.label"], PREDICTIONS["test.label"])


def test_finishing_drops_what_was_kept_to_resume_from(tmp_path: Path) -> None:
    folder = begun(tmp_path)
    folder.last.mkdir()
    (folder.last / "state.safetensors").write_bytes(b"0")
    folder.finish({"format": 1}, PREDICTIONS)
    assert not folder.last.exists()


def test_a_number_that_is_not_finite_leaves_the_run_unfinished_and_resumable(tmp_path: Path) -> None:
    folder = begun(tmp_path)
    folder.last.mkdir()
    with pytest.raises(ValueError, match="JSON compliant"):
        folder.finish({"accuracy": math.nan}, PREDICTIONS)
    assert not folder.finished
    assert folder.last.is_dir()


@pytest.mark.parametrize("text", ['{"format": 1', "[]", "\ufffd"])
def test_a_damaged_record_is_named_with_the_remedy(tmp_path: Path, text: str) -> None:
    folder = begun(tmp_path)
    (folder.path / "run.json").write_text(text, encoding="utf-8")
    with pytest.raises(
        ValueError, match=r"run\.json (cannot be read|holds no record).*remove the folder and run again"
    ):
        folder.begin(config(), DATA)


def test_a_folder_that_holds_no_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"run\.json is missing; give the folder of a run"):
        RunFolder(tmp_path).record()


def test_a_place_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        RunFolder(tmp_path / "file").begin(config(), DATA)


def test_differences_are_dotted_names_with_both_values() -> None:
    old = {"a": {"b": 1, "c": {"d": [1]}}, "e": 1, "gone": 0}
    new = {"a": {"b": 2, "c": {"d": [1, 2]}}, "e": 1, "new": {"f": 1}}
    assert differences(old, new) == [
        ("a.b", 1, 2),
        ("a.c.d", [1], [1, 2]),
        ("gone", 0, "absent"),
        ("new", "absent", {"f": 1}),
    ]


def test_json_keeps_letters_as_they_are() -> None:
    assert as_json({"class": "Bär"}) == '{\n "class": "Bär"\n}\n'


@pytest.mark.parametrize("content", [b"", b"PK no zip file"])
def test_damaged_predictions_are_named_with_the_remedy(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "predictions.npz").write_bytes(content)
    with pytest.raises(ValueError, match=r"predictions\.npz is damaged or missing .*; remove the folder and run again"):
        RunFolder(tmp_path).predictions()
