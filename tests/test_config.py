import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from surefoot.config import parse_settings, read_yaml, resolve

TINY = {"task": "folder", "backbone": "tiny"}


# --- precedence -----------------------------------------------------------------------------------------------------

PLUGINS = {
    "their_task": """
        from surefoot.data.task import TaskSource
        class Theirs(TaskSource):
            summary = "for these tests"
            recommended = {"engine.lr": 0.1, "engine.epochs": 3, "engine.batch_size": 24, "data.flip": True}
            def load(self): ...
        """,
    "their_backbone": """
        from surefoot.backbones.base import BackboneSource
        class Theirs(BackboneSource):
            summary = "for these tests"
            recommended = {"engine.lr": 0.2, "engine.epochs": 4, "engine.batch_size": 48}
            def load(self): ...
        """,
    "their_method": """
        from surefoot.methods.base import Method
        class Theirs(Method):
            class Config(Method.Config):
                strength: float = 1.0
            summary = "for these tests"
            recommended = {"engine.lr": 0.3, "engine.epochs": 5}
            def forward(self, batch, progress): ...
            def classifier(self): ...
        """,
    "odd_method": """
        from surefoot.methods.base import Method
        class Odd(Method):
            summary = "for these tests"
            recommended = {"method.strength": 1}
            def forward(self, batch, progress): ...
            def classifier(self): ...
        """,
}


@pytest.fixture
def theirs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Somebody's own plug-ins, each of which recommends settings."""
    package = tmp_path / "their_own"
    package.mkdir()
    (package / "__init__.py").write_text("")
    for name, text in PLUGINS.items():
        lines = text.splitlines()
        (package / f"{name}.py").write_text("\n".join(line[8:] for line in lines))
    monkeypatch.syspath_prepend(tmp_path)
    return {part: f"their_own.their_{part}" for part in ("task", "backbone", "method")}


def test_what_the_user_sets_wins_over_method_backbone_task_and_default(theirs: dict[str, str]) -> None:
    engine = resolve({**theirs, "engine.lr": "0.4"}).engine
    assert engine.lr == 0.4  # the user's
    assert engine.epochs == 5  # the method's
    assert engine.batch_size == 48  # the backbone's
    assert resolve(theirs).data.flip is True  # the task's
    assert engine.weight_decay == 0.1  # the default


def test_the_method_wins_over_the_backbone_and_that_over_the_task(theirs: dict[str, str]) -> None:
    assert resolve(theirs).engine.lr == 0.3
    assert resolve({**theirs, "method": "flyp"}).engine.lr == 0.2
    assert resolve({**theirs, "method": "flyp", "backbone": "tiny"}).engine.lr == 1e-3
    assert resolve({**theirs, "method": "flyp", "backbone": "tiny"}).engine.epochs == 3


def test_somebodys_own_module_has_its_own_options(theirs: dict[str, str]) -> None:
    config = resolve({**theirs, "method.strength": "2"})
    assert config.method.to_dict() == {"name": "their_own.their_method", "strength": 2.0}
    assert resolve(config.to_dict()) == config


def test_a_plug_in_may_recommend_only_what_belongs_to_the_run(theirs: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"method 'their_own\.odd_method' recommends method\.strength"):
        resolve({**theirs, "method": "their_own.odd_method"})


# --- names ----------------------------------------------------------------------------------------------------------


def test_without_settings_it_is_the_embedded_task_and_model_fine_tuned() -> None:
    config = resolve({})
    assert (config.task.name, config.backbone.name, config.method.name) == ("iconshift", "iconclip", "fine_tune")


def test_a_folder_in_place_of_a_task_is_read_by_the_folder_task(tmp_path: Path) -> None:
    task = resolve({**TINY, "task": str(tmp_path), "task.home": "sketch"}).task
    assert (task.name, task.to_dict()["root"], task.to_dict()["home"]) == ("folder", str(tmp_path), "sketch")


@pytest.mark.parametrize("name", ["pets.csv", "pets.zip", "pets.parquet", "./pets"])
def test_a_table_or_a_zip_in_place_of_a_task_is_read_by_the_folder_task(name: str) -> None:
    assert resolve({**TINY, "task": name}).task.to_dict()["root"] == name


def test_a_folder_beside_us_that_is_called_like_a_task_does_not_hide_the_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "iconshift").mkdir()
    (tmp_path / "photos").mkdir()
    monkeypatch.chdir(tmp_path)
    assert resolve({"backbone": "tiny", "task": "iconshift"}).task.name == "iconshift"
    assert resolve({"backbone": "tiny", "task": "./iconshift"}).task.name == "folder"
    assert resolve({"backbone": "tiny", "task": "photos"}).task.name == "folder"


def test_a_hub_id_or_a_folder_in_place_of_a_backbone_is_opened_by_transformers(clip_folder: Path) -> None:
    for name in ("openai/clip-vit-base-patch16", str(clip_folder)):
        backbone = resolve({**TINY, "backbone": name}).backbone
        assert (backbone.name, backbone.to_dict()["path"]) == ("huggingface", name)


def test_an_unknown_method_is_refused_with_the_nearest_and_all_known() -> None:
    with pytest.raises(ValueError, match=r"no method 'wiseft'; did you mean wise_ft\? Known: .*flyp.*zero_shot"):
        resolve({**TINY, "method": "wiseft"})


# --- wrong settings -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("engine.epoch", "engine.epochs"),
        ("data.worker", "data.workers"),
        ("method.label_smothing", "method.label_smoothing"),
        ("backbone.sed", "backbone.seed"),
        ("task.roott", "task.root"),
        ("evaluation.bins", "evaluation.ece_bins"),
        ("engin.lr", "engine"),
        ("sead", "seed"),
        ("recommended.engine", ""),
    ],
)
def test_an_unknown_option_is_an_error_that_names_the_nearest(name: str, near: str) -> None:
    with pytest.raises(ValueError, match="there is no such option") as error:
        resolve({**TINY, name: "3"})
    assert str(error.value).startswith(f"{name.split('.')[0]}")
    assert f"did you mean {near}" in str(error.value) if near else "did you mean" not in str(error.value)
    assert "Known: " in str(error.value)


def test_all_wrong_options_of_a_section_are_named_at_once() -> None:
    with pytest.raises(ValueError, match="engine") as error:
        resolve({**TINY, "engine.lr": "fast", "engine.epochs": -1, "engine.wd": 0.1})
    first, second, third = str(error.value).splitlines()
    assert first == "engine.lr=fast: input should be a valid number, unable to parse string as a number"
    assert second == "engine.epochs=-1: input should be greater than 0"
    assert third.startswith("engine.wd=0.1: there is no such option")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"engine.epochs": [1]}, r"engine\.epochs=\[1\]: input should be a valid number"),
        ({"data.crop_scale": "0.8,1"}, r"data\.crop_scale=0\.8,1: input should be a valid tuple"),
        ({"data.crop_scale": [0.9, 0.5]}, r"data\.crop_scale=\(0\.9, 0\.5\): give two shares"),
        ({"engine.precision": "16"}, r"engine\.precision=16: input should be 'auto', 'bf16' or '32'"),
        ({"method.head": "big"}, r"method\.head=big: input should be 'scaled', 'unit' or 'linear'"),
        (
            {"engine.batch_size": 10, "engine.accumulate": 4},
            r"engine\.batch_size=10 does not divide into 4 .* such as 8",
        ),
        ({"seed": -1}, r"seed=-1: input should be greater than or equal to 0"),
        ({"engine": 5}, r"engine=5: engine is a section; set its options, as in engine\.OPTION=VALUE"),
        ({"engine": 5, "engine.lr": 1}, r"engine\.lr=1: engine is a single value, not a section"),
    ],
)
def test_a_wrong_value_is_named_with_what_is_wanted(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        resolve({**TINY, **settings})


# --- text -----------------------------------------------------------------------------------------------------------


def test_words_become_settings_and_lists_are_yaml() -> None:
    words = ["engine.lr=1e-5", "--seed=3", "data.crop_scale=[0.5, 1]", "task.root=a=b"]
    wanted = {"engine.lr": "1e-5", "seed": "3", "data.crop_scale": [0.5, 1], "task.root": "a=b"}
    assert parse_settings(words) == wanted


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["engine.lr"], r"'engine\.lr' is no setting; write option=value"),
        (["=3"], "'=3' is no setting"),
        (["seed=1", "seed=2"], r"seed is set twice \('1' and '2'\); keep one"),
        (["data.crop_scale=[0.5"], r"data\.crop_scale=\[0\.5: no readable YAML"),
    ],
)
def test_a_word_that_is_no_setting_is_refused(words: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_settings(words)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("engine: {lr: 1e-5", "is no readable YAML"),
        ("- engine", r"holds list; expected sections such as 'engine: \{lr: 1e-5\}'"),
        ("", "holds NoneType"),
    ],
)
def test_a_file_that_holds_no_settings_is_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "run.yaml").write_text(text)
    with pytest.raises(ValueError, match=rf"run\.yaml {message}"):
        read_yaml(tmp_path / "run.yaml")


def test_a_file_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"none\.yaml cannot be read \(No such file or directory\); give a YAML file"):
        read_yaml(tmp_path / "none.yaml")


def test_sections_and_dotted_names_in_a_file_are_the_same(tmp_path: Path) -> None:
    (tmp_path / "one.yaml").write_text("method: {name: flyp}\nengine:\n  lr: 1e-5\n")
    (tmp_path / "other.yaml").write_text("method: flyp\nengine.lr: 1e-5\n")
    one, other = (resolve({**TINY, **read_yaml(tmp_path / name)}) for name in ("one.yaml", "other.yaml"))
    assert one == other
    assert (one.method.name, one.engine.lr) == ("flyp", 1e-5)


fractions = st.floats(0.001, 1, allow_nan=False)
some_settings = st.fixed_dictionaries(
    {"method": st.sampled_from(["fine_tune", "flyp", "wise_ft"])},
    optional={
        "seed": st.integers(0, 2**32 - 1),
        "engine.lr": st.floats(1e-12, 1e3),
        "engine.epochs": st.floats(0.01, 1e4),
        "engine.warmup": fractions,
        "engine.clip_norm": st.floats(0, 10),
        "engine.precision": st.sampled_from(["auto", "bf16", "32"]),
        "data.views": st.integers(0, 9),
        "data.flip": st.booleans(),
        "data.crop_scale": st.tuples(fractions, fractions).map(sorted).map(tuple),
        "data.background": st.tuples(*[st.integers(0, 255)] * 3),
        "task.root": st.text(st.characters(exclude_categories=["Cs", "Cc"])),
        "task.templates": st.lists(st.text(st.characters(exclude_categories=["Cs", "Cc"]))).map(tuple),
        "task.test_fraction": st.floats(0.01, 0.8),
        "backbone.seed": st.integers(0, 1000),
        "evaluation.ece_bins": st.integers(2, 100),
    },
)


@hypothesis_settings(max_examples=60, deadline=None)
@given(settings=some_settings)
def test_a_config_survives_yaml_and_json(settings: dict[str, Any]) -> None:
    config = resolve({**TINY, **settings})
    for again in (yaml.safe_load(yaml.safe_dump(config.to_dict())), json.loads(json.dumps(config.to_dict()))):
        assert resolve(again) == config
        assert resolve(again).to_dict() == config.to_dict()
