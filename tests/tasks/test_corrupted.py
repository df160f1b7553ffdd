"""The task that puts another one under corruptions: its splits, its options, and a comparison on it."""

import importlib.util
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from surefoot.comparison import compare
from surefoot.config import resolve
from surefoot.data.batch import DataConfig, drop_unreadable, evaluation_batches
from surefoot.data.corruptions import ALL, COMMON, corrupt
from surefoot.data.images import ImageSpec
from surefoot.data.scan import broken_images, leakage_notes, open_example
from surefoot.run import load_task

pytestmark = pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")  # Python 3.12 and later

SPEC = ImageSpec(24, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), 24)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """The options of the task on a folder with 12 test images and the shift `dim`."""
    file = Path(__file__).parents[1] / "stand_ins" / "corrupted.py"
    spec = importlib.util.spec_from_file_location("stand_in_corrupted", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.make(tmp_path_factory.mktemp("small"))


def loaded(small, **options):
    return load_task("corrupted", options={**small, **options})


def read(task, name, *, workers=0):
    config = DataConfig(workers=workers, eval_batch_size=5)
    return torch.cat([batch.images for batch in evaluation_batches(task.tests[name], SPEC, config)])


def test_the_home_split_stays_clean_and_every_corruption_is_a_shift_of_it(small):
    task, plain = loaded(small), load_task(small["root"])
    assert task.name == f"{plain.name}-corrupted"
    assert (task.home, task.shifts) == ("test", COMMON)
    assert (task.classes, task.templates, task.contexts) == (plain.classes, plain.templates, plain.contexts)
    for name in ("train", "validation", "test"):
        assert task.splits()[name].alter is None
        assert task.splits()[name].paths == plain.splits()[name].paths
    for name in COMMON:
        split = task.tests[name]
        assert (split.name, split.domain, split.paths) == (name, name, plain.tests["test"].paths)
        assert split.labels.tolist() == plain.tests["test"].labels.tolist()
        assert split.alter.corruption == name


def test_splits_by_severity_are_named_after_both(small):
    task = loaded(small, split_by="severity", severities=[1, 5], corruptions="fog, saturate")
    assert task.shifts == ("fog-1", "fog-5", "saturate-1", "saturate-5")
    split = task.tests["fog-5"]
    pixels = np.asarray(open_example(task.tests["test"], 7).pixels())
    assert np.array_equal(open_example(split, 7).pixels(), corrupt(pixels, "fog", 5, index=7))


def test_other_splits_can_be_corrupted_too(small):
    task = loaded(small, splits=["dim"], corruptions="fog")
    assert list(task.tests) == ["test", "dim-fog"]
    assert len(task.tests["dim-fog"]) == 4
    task = loaded(small, splits=["test", "dim"], corruptions="fog", split_by="severity", severities=[2])
    assert list(task.tests) == ["test", "fog-2", "dim-fog-2"]


def test_the_severities_of_a_split_are_dealt_to_its_images(small):
    task = loaded(small, severities=[2, 4], corruptions="contrast")
    split = task.tests["contrast"]
    dealt = [split.alter.severity(i) for i in range(12)]
    assert sorted(dealt) == [2] * 6 + [4] * 6
    for i in range(12):
        pixels = np.asarray(open_example(task.tests["test"], i).pixels())
        assert np.array_equal(open_example(split, i).pixels(), corrupt(pixels, "contrast", dealt[i], index=i))


@pytest.mark.filterwarnings("ignore:This DataLoader will create 2 worker processes")  # on a single core
def test_workers_and_order_change_nothing(small):
    task = loaded(small, corruptions="all")
    for name in ("gaussian_noise", "glass_blur", "elastic_transform", "fog"):
        here = read(task, name)
        assert torch.equal(here, read(task, name, workers=2))
        assert not torch.equal(here, read(task, "test"))
        split = task.tests[name].subset([9, 2, 5])
        split.subset([1])
        for place, position in enumerate((9, 2, 5)):
            picture = open_example(task.tests[name], position).pixels()
            assert np.array_equal(open_example(split, place).pixels(), picture)
    assert pickle.loads(pickle.dumps(task)).fingerprint() == task.fingerprint()


def test_the_fingerprint_tells_what_was_done(small):
    prints = {
        loaded(small, **options).fingerprint()
        for options in (
            {},
            {"seed": 1},
            {"size": 0},
            {"severities": [1]},
            {"corruptions": ["fog"]},
            {"corruptions": "all"},
        )
    }
    assert len(prints) == 6


@pytest.mark.parametrize("by", ["root", "of", "options", "dotted"])
def test_the_other_task_is_named_in_any_way_that_a_task_is(small, by, tmp_path):
    root = small["root"]
    options = {
        "root": {"root": root},
        "of": {"of": root},
        "options": {"of": "folder", "options": {"root": root, "home": "", "split_seed": "3"}},
        "dotted": {"of": "folder", "options.root": root, "options.split_seed": 3},
    }[by]
    task = load_task("corrupted", options=options)
    assert task.classes == ("green", "red")
    assert len(task.tests["fog"]) == 12
    if by in ("options", "dotted"):
        assert resolve({"task": {"name": "corrupted", **options}}).task.options.root == root


def test_without_options_it_is_iconshift_with_its_settings_and_contexts():
    config = resolve({"task": "corrupted"})
    task = config.task.plugin(config.task.options).load()
    plain = load_task("iconshift")
    assert (task.name, task.home, task.contexts) == ("iconshift-corrupted", "line", plain.contexts)
    assert len(task.tests["fog"]) == len(plain.tests["line"])
    assert config.task.plugin.recommends(config.task.options) == resolve({}).task.plugin.recommended


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"of": "iconshfit"}, r"task\.of=iconshfit: .*did you mean iconshift\?"),
        ({"of": "corrupted"}, r"task\.of=corrupted: it cannot corrupt itself"),
        ({"of": "folder", "options": {"hme": "x"}}, r"task\.options\.hme=x: .*did you mean task\.options\.home\?"),
        ({"corruptions": ["fgo"]}, r"task\.corruptions=\['fgo'\]: .*did you mean fog\?"),
        ({"corruptions": []}, r"task\.corruptions=\[\]: none is given"),
        ({"severities": [6]}, r"task\.severities\.0=6"),
        ({"severities": []}, r"task\.severities=\[\]: none is given"),
        ({"severities": [2, 2]}, r"task\.severities=\[2, 2\]: one stands twice"),
        ({"size": -1}, r"task\.size=-1"),
        ({"splits": ["dimm"]}, r"task\.splits=dimm: no such test split; did you mean dim\? Known: test, dim"),
    ],
)
def test_what_is_wrong_is_named(small, options, message):
    with pytest.raises(ValueError, match=message):
        loaded(small if not {"of", "options"} & set(options) else {}, **options)


def test_a_task_with_variants_is_corrupted_variant_by_variant(tmp_path):
    for domain in ("art_painting", "cartoon", "photo", "sketch"):
        for name in ("cat", "dog"):
            folder = tmp_path / "PACS" / domain / name
            folder.mkdir(parents=True)
            for i in range(5):
                Image.new("RGB", (32, 32), (10 * i, len(domain), 99)).save(folder / f"{i}.png")
    options = {"of": "domainbed", "root": str(tmp_path), "options": {"dataset": "PACS"}}
    config = resolve(
        {"task": "corrupted", "backbone": "tiny", **{f"task.{name}": value for name, value in options.items()}}
    )
    assert config.engine.batch_size == 96  # as domainbed recommends
    variants = config.task.plugin(config.task.options).variants()
    assert list(variants) == ["art_painting", "cartoon", "photo", "sketch"]
    task = load_task("corrupted", options={**options, **variants["photo"], "corruptions": "fog"})
    assert (list(task.tests), task.shifts, task.apart) == ([task.home, "fog"], ("fog",), ())
    plain = load_task("domainbed", options={"root": str(tmp_path), "dataset": "PACS", "target": "photo"})
    assert set(plain.tests) > {task.home}


def test_a_domain_that_is_called_as_a_corruption_is_refused(small, tmp_path):
    for name in ("fog", "dim"):
        shutil.copytree(Path(small["root"]) / "train", tmp_path / "domains" / name)
    options = {"of": str(tmp_path / "domains"), "options": {"home": "fog"}}
    assert load_task("corrupted", options={**options, "corruptions": "snow"}).shifts == ("snow",)
    with pytest.raises(ValueError, match="has a split called 'fog', as a corruption is; rename it"):
        load_task("corrupted", options=options)


def test_files_are_read_once_before_training_however_many_splits_have_them(small, tmp_path, monkeypatch):
    root = tmp_path / "set"
    shutil.copytree(small["root"], root)
    (root / "test" / "red" / "0.png").write_bytes(b"broken")
    shutil.copy(root / "train" / "red" / "1.png", root / "test" / "red" / "1.png")
    task = load_task("corrupted", options={"root": str(root)})
    told = broken_images(task.splits().values())
    assert told.count("cannot be read") == 1
    assert [note.split(" also")[0] for note in leakage_notes(task)] == ["1 of 12 images of test"]
    kept = drop_unreadable(task, DataConfig(workers=0, on_bad_image="skip"))
    assert [len(kept.tests[name]) for name in ("test", "fog", "snow")] == [11, 11, 11]
    assert len(kept.notes) == len(task.notes) + 1
    gone = task.tests["test"].paths.index("test/red/0.png")
    for place, path in enumerate(kept.tests["snow"].paths):
        original = task.tests["snow"].paths.index(path)
        assert original == (place if place < gone else place + 1)
        before, after = (
            open_example(task.tests["snow"], original).pixels(),
            open_example(kept.tests["snow"], place).pixels(),
        )
        assert np.array_equal(before, after)


def test_a_comparison_goes_end_to_end(small, tmp_path, quick):
    settings = {**quick, "task": "corrupted", **{f"task.{name}": value for name, value in small.items()}}
    settings |= {"task.corruptions": "all", "task.severities": [1, 5], "engine.epochs": 1, "engine.batch_size": 8}
    found = compare(tmp_path / "runs", settings, methods=["zero_shot", "fine_tune"])
    assert found["shifts"] == list(ALL)
    row = found["rows"][1]
    assert row["shift_accuracy"] == pytest.approx(np.mean([row["splits"][name]["accuracy"] for name in ALL]))
    assert (tmp_path / "runs" / "report.html").is_file()
    again = compare(tmp_path / "runs", settings, methods=["zero_shot", "fine_tune"])
    assert again["rows"] == found["rows"]
