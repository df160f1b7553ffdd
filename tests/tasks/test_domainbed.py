"""DomainBed's data sets on stand-ins in the real folders: parting, groups, variants, prompts, and what is refused."""

import importlib.util
import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from surefoot.config import resolve
from surefoot.data.task import Task
from surefoot.run import load_task
from surefoot.tasks.domainbed import SETS, DomainBed

PATH = Path(__file__).parents[1] / "stand_ins" / "domainbed.py"


def load_stand_in() -> ModuleType:
    spec = importlib.util.spec_from_file_location("stand_in_domainbed", PATH)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


STAND_IN = load_stand_in()


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """PACS and VLCS; to be read only."""
    folder = tmp_path_factory.mktemp("domainbed")
    STAND_IN.make(folder)
    return folder


@pytest.fixture
def pacs(tmp_path: Path) -> Path:
    """A PACS to spoil."""
    STAND_IN.fill(tmp_path, "PACS")
    return tmp_path


def load(root: Path, **options: Any) -> Task:
    return load_task("domainbed", options={"root": str(root), "dataset": "PACS", "target": "sketch", **options})


def source(root: Path, **options: Any) -> DomainBed:
    return DomainBed(DomainBed.Config(root=str(root), **options))


def test_the_sources_train_and_validate_and_the_target_tests(root: Path) -> None:
    task = load(root)
    assert task.classes == ("dog", "elephant", "guitar")
    assert {name: len(split) for name, split in task.splits().items()} == {
        "train": 36, "validation": 9, "sources": 9, "test_in": 12, "target_out": 3,
    }  # fmt: skip
    assert (task.home, task.shifts, task.apart) == ("sources", ("test_in",), ("target_out",))
    assert {path.split("/")[1] for path in task.train.paths} == {"art_painting", "cartoon", "photo"}
    assert {path.split("/")[1] for path in task.tests["test_in"].paths} == {"sketch"}
    assert task.tests["sources"].paths == task.validation.paths
    assert any("validation images again" in note for note in task.notes)
    for split in task.splits().values():
        assert [task.classes[label] for label in split.labels] == [path.split("/")[2] for path in split.paths]
        assert split.source.read(split.paths[0])


def test_every_image_stands_in_one_split_and_20_of_100_are_held_out(root: Path) -> None:
    task = load(root)
    parts = [task.train, task.validation, task.tests["test_in"], task.tests["target_out"]]
    paths = [path for part in parts for path in part.paths]
    assert len(set(paths)) == len(paths) == 60
    for domain, count in (("art_painting", 3), ("cartoon", 3), ("photo", 3)):  # int(0.2 * 15)
        assert sum(path.split("/")[1] == domain for path in task.validation.paths) == count


def test_a_domain_is_held_out_rounded_down_as_in_domainbed(pacs: Path) -> None:
    for name in ("pic_003.jpg", "pic_004.jpg"):
        (pacs / "PACS" / "sketch" / "dog" / name).unlink()
    task = load(pacs)  # 13 sketches, int(2.6) = 2 of them held out
    assert (len(task.tests["test_in"]), len(task.tests["target_out"])) == (11, 2)


def test_a_group_is_a_source_domain(root: Path) -> None:
    task = load(root)
    assert task.group_names == ("art_painting", "cartoon", "photo")
    for split in (task.train, task.validation, task.tests["sources"]):
        assert [task.group_names[group] for group in split.groups] == [path.split("/")[1] for path in split.paths]
    assert set(task.tests["test_in"].groups) == set(task.tests["target_out"].groups) == {-1}


def test_the_trial_draws_the_splits_and_the_target_does_not(root: Path) -> None:
    first, again, other = load(root, trial=0), load(root, trial=0), load(root, trial=1)
    assert first.fingerprint() == again.fingerprint() != other.fingerprint()
    assert {name: len(split) for name, split in first.splits().items()} == {
        name: len(split) for name, split in other.splits().items()
    }
    without_photo = load(root, target="photo")
    held_out = {path for path in without_photo.validation.paths if "/cartoon/" in path}
    assert held_out == {path for path in first.validation.paths if "/cartoon/" in path}
    assert set(first.tests["target_out"].paths) <= set(without_photo.validation.paths)


def test_the_parting_does_not_depend_on_where_the_root_is(root: Path, tmp_path: Path) -> None:
    shutil.copytree(root / "PACS", tmp_path / "elsewhere" / "PACS")
    assert load(tmp_path / "elsewhere").fingerprint() == load(root).fingerprint()


def test_the_trial_follows_the_seed_unless_it_is_set(root: Path) -> None:
    settings = {"task": "domainbed", "task.root": str(root), "task.dataset": "PACS", "task.target": "sketch"}
    assert resolve({**settings, "seed": 3}).task.to_dict()["trial"] == 3
    assert resolve({**settings, "seed": 3, "task.trial": 1}).task.to_dict()["trial"] == 1
    assert resolve({"seed": 3, "task": "iconshift"}).task.to_dict() == {"name": "iconshift", "root": ""}
    config = resolve({**settings, "seed": 3})
    assert resolve(config.to_dict()) == config


@pytest.mark.parametrize(("folder", "name"), [(known.folder, name) for name, known in SETS.items()])
def test_all_five_are_read_by_their_folders(tmp_path: Path, folder: str, name: str) -> None:
    STAND_IN.fill(tmp_path, folder)
    domains = SETS[name].domains
    task = load(tmp_path, dataset=name, target=domains[-1])
    assert task.name == f"domainbed {name}: {domains[-1]}"
    assert task.group_names == domains[:-1]
    assert any(f"{len(task.classes)} classes here, DomainBed's has {SETS[name].classes}" in note for note in task.notes)
    settings = {"task": "domainbed", "task.root": str(tmp_path), "task.dataset": name, "task.target": domains[0]}
    config = resolve({**settings, "backbone": "tiny"})
    assert (config.data.balance, config.data.crop_scale, config.data.flip) == ("group", (0.7, 1.0), True)
    assert resolve({**settings, "backbone": "huggingface", "backbone.path": "x/y"}).engine.batch_size == 32 * (
        len(domains) - 1
    )


def test_class_names_are_cleaned_for_sentences_and_nothing_else(tmp_path: Path) -> None:
    STAND_IN.fill(tmp_path, "office_home")
    assert load(tmp_path, dataset="OfficeHome", target="Real World").classes == ("Alarm Clock", "Backpack")


def test_contexts_are_the_domains_or_kinds_of_photo(root: Path) -> None:
    assert load(root).contexts == (
        "an art painting of a {}.",
        "a cartoon of a {}.",
        "a photo of a {}.",
        "a sketch of a {}.",
    )
    of_photos = load(root, dataset="VLCS", target="SUN09").contexts
    assert of_photos == load(root, contexts="photos").contexts
    assert "a bright photo of a {}." in of_photos
    assert load(root, dataset="VLCS", target="SUN09", contexts="domains").contexts[0] == "a caltech101 of a {}."


def test_variants_are_the_data_sets_that_are_there_then_their_domains(root: Path) -> None:
    assert source(root).variants() == {"PACS": {"dataset": "PACS"}, "VLCS": {"dataset": "VLCS"}}
    targets = source(root, dataset="PACS").variants()
    assert targets == {name: {"target": name} for name in ("art_painting", "cartoon", "photo", "sketch")}
    assert source(root, dataset="PACS", target="photo").variants() == {}


def test_a_variant_is_named_without_spaces(tmp_path: Path) -> None:
    STAND_IN.fill(tmp_path, "office_home")
    assert source(tmp_path, dataset="OfficeHome").variants()["Real_World"] == {"target": "Real World"}


def test_a_fold_leaves_a_second_domain_out_and_tests_on_its_80_percent(root: Path) -> None:
    folds = source(root, dataset="PACS", target="sketch").folds()
    assert folds == {name: {"also_left_out": name} for name in ("art_painting", "cartoon", "photo")}
    task = load(root, also_left_out="photo")
    assert task.group_names == ("art_painting", "cartoon")
    assert len(task.train) == 24
    assert {path.split("/")[1] for path in task.tests["left_out"].paths} == {"photo"}
    assert len(task.tests["left_out"]) == 12
    assert task.shifts == ("test_in",)
    assert source(root).folds() == source(root, dataset="PACS").folds() == {}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target": "skech"}, r"task.target=skech: PACS has no such domain; did you mean sketch\? Known: art_painting"),
        ({"dataset": ""}, "task.target=sketch: say of which data set"),
        ({"dataset": "pacs"}, "task.dataset=pacs: input should be"),
        ({"target": ""}, "task.target is empty; give one of art_painting"),
        ({"target": "", "dataset": ""}, "task.dataset is empty; give one of PACS"),
        ({"also_left_out": "sketch"}, "is the target already"),
        ({"target": "", "also_left_out": "photo"}, "give task.target too"),
        ({"trial": -1}, "task.trial=-1"),
        ({"root": ""}, "task.root is empty; say where the files are"),
        ({"root": "/nowhere/at/all"}, "there is no such folder"),
        ({"dataset": "OfficeHome", "target": "Art"}, "office_home/Real World: Real World of OfficeHome"),
    ],
)
def test_wrong_options_are_refused_with_the_remedy(root: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_task("domainbed", options={"root": str(root), "dataset": "PACS", "target": "sketch", **options})


def test_a_half_downloaded_data_set_is_refused(pacs: Path) -> None:
    shutil.rmtree(pacs / "PACS" / "photo")
    with pytest.raises(ValueError, match=r"lacks 1 of 4 places(.|\n)*MISSING +PACS/photo"):
        load(pacs)
    with pytest.raises(ValueError, match=r"lacks 1 of 4 places"):  # before anything trains
        source(pacs, dataset="PACS").variants()
    (pacs / "PACS" / "photo").mkdir()
    with pytest.raises(ValueError, match="too few images to part 80 to 20 in PACS: photo has 0"):
        load(pacs)


def test_a_root_without_any_data_set_says_where_to_get_them(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"holds none of the data sets(.|\n)*domain_net(.|\n)*download\.py"):
        source(tmp_path).variants()


def test_another_layout_is_refused_with_what_was_found(pacs: Path) -> None:
    shutil.move(pacs / "PACS" / "photo" / "dog", pacs / "PACS" / "photo" / "more" / "dog")
    with pytest.raises(ValueError, match=r"found PACS/photo/more/dog/pic_000.jpg, expected PACS/<domain>/<class>"):
        load(pacs)


def test_other_folders_are_not_read_and_noted(pacs: Path) -> None:
    shutil.copytree(pacs / "PACS" / "photo", pacs / "PACS" / "raw")
    (pacs / "PACS" / "readme.txt").write_text("about")
    (pacs / "PACS" / ".hidden.jpg").write_text("")
    task = load(pacs)
    assert len(task.train) == 36
    assert any("raw is no domain of it and is not read" in note for note in task.notes)


def test_a_class_in_the_target_alone_is_refused_and_one_that_a_domain_lacks_is_noted(pacs: Path) -> None:
    shutil.rmtree(pacs / "PACS" / "photo" / "guitar")
    task = load(pacs)
    assert any("photo has no image of 1 classes (guitar)" in note for note in task.notes)
    labels = {path.split("/")[2]: label for path, label in zip(task.train.paths, task.train.labels, strict=True)}
    assert labels == {"dog": 0, "elephant": 1, "guitar": 2}  # not by each domain's own folders
    np.testing.assert_array_equal(np.unique(task.tests["test_in"].labels), [0, 1, 2])
    for domain in ("art_painting", "cartoon"):
        shutil.rmtree(pacs / "PACS" / domain / "guitar")
    with pytest.raises(ValueError, match="has the classes guitar in the target alone"):
        load(pacs)
