from surefoot import plugins
from surefoot.catalogue import catalogue, catalogue_text
from surefoot.config import PLUGINS, SECTIONS, EvaluationConfig, parse_settings, resolve
from surefoot.data.batch import DataConfig
from surefoot.engine.train import EngineConfig
from surefoot.tasks.folder import Folder


def test_every_plug_in_is_listed_with_what_it_is() -> None:
    found = catalogue()
    for folder, _ in PLUGINS.values():
        assert [entry["name"] for entry in found[folder]] == plugins.names(folder)
        assert all(entry["summary"] for entry in found[folder])


def test_an_option_has_its_type_and_bounds_in_words_and_its_default() -> None:
    (wise_ft,) = (entry for entry in catalogue()["methods"] if entry["name"] == "wise_ft")
    alpha, head = wise_ft["options"]
    assert alpha == {"name": "alpha", "type": "number >= 0 <= 1", "default": 0.5}
    assert head == {"name": "head", "type": "one of scaled, unit, linear", "default": "scaled"}
    assert wise_ft["paper"] == "arXiv:2109.01903"
    assert wise_ft["recommended"] == {"engine.clip_norm": 1.0}


def test_the_sections_of_the_run_are_listed_too() -> None:
    sections = {entry["name"]: entry["options"] for entry in catalogue()["sections"]}
    assert list(sections) == ["data", "engine", "evaluation", "forgetting", "tracking"]
    workers = next(option for option in sections["data"] if option["name"] == "workers")
    assert workers["default"] == "depends on the machine"


def test_the_text_for_people_names_every_option_as_it_is_typed() -> None:
    text = catalogue_text(catalogue())
    for line in ("method.alpha=0.5  (number >= 0 <= 1)", "engine.lr=1e-05  (number > 0)", "data.flip=false"):
        assert line in text


def settings_in_the_text() -> list[str]:
    """What is shown, of the tasks only the options of `folder`."""
    found = catalogue()
    found["tasks"] = [entry for entry in found["tasks"] if entry["name"] == "folder"]
    lines = (line.strip() for line in catalogue_text(found).splitlines() if "=" in line and line[:6] == " " * 6)
    words = [line.rpartition("  (")[0] for line in lines]
    return [word for word in words if not word.endswith(("=required", "=depends on the machine"))]


def test_every_default_can_be_typed_as_it_is_shown() -> None:
    words = settings_in_the_text()
    folder = [word for word in words if word.startswith(("task.templates=", "task.contexts="))]
    sections = [word for word in words if word.split(".")[0] in SECTIONS]
    assert len(folder) == 2
    assert len(sections) > 15
    config = resolve({"task": "folder", "backbone": "tiny", **parse_settings([*folder, *sections])})
    assert config.task.options == Folder.Config()
    assert config.engine.model_copy(update={"precision": "auto"}) == EngineConfig()  # which becomes the machine's
    assert config.data == DataConfig()
    assert config.evaluation == EvaluationConfig()
