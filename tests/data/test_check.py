import json
from dataclasses import replace

import numpy as np
from PIL import Image

from surefoot.data.batch import DataConfig
from surefoot.data.check import check_task
from surefoot.data.manifest import read_table
from surefoot.data.partition import Partition, make_task

HERE = DataConfig(workers=0)


def pets(root, *, per_class=6, names=("cat", "dog")):
    for split in ("train", "val", "test", "sketch"):
        for name in names:
            (root / split / name).mkdir(parents=True)
            for i in range(per_class):
                colour = (len(list(root.rglob("*"))), per_class, len(name))
                Image.new("RGB", (5, 5), colour).save(root / split / name / f"{i}.png")
    return root


def checked(root, config=HERE):
    task = make_task("pets", read_table(str(root)), Partition(), templates=("a {}",), contexts=())
    return check_task(task, config=config)


def messages(report):
    """What is found but notes: few images a class are no fault of these small splits."""
    return [(finding.level, finding.where, finding.message) for finding in told(report)]


def told(report):
    return [finding for finding in report.findings if finding.level != "note"]


def test_sound_data_are_ok_and_counted(tmp_path):
    report = checked(pets(tmp_path))
    assert (report.verdict, told(report)) == ("ok", [])
    assert report.splits["train"].classes == {"cat": 6, "dog": 6}
    assert report.domains == {"": 36, "sketch": 12}


def test_a_report_is_json(tmp_path):
    report = checked(pets(tmp_path))
    content = json.loads(report.to_json())
    assert content["verdict"] == "ok"
    assert content["splits"]["sketch"]["images"] == 12
    assert content["fingerprint"] == report.fingerprint


def test_a_report_reads_as_text(tmp_path):
    pets(tmp_path)
    (tmp_path / "test/dog/0.png").write_bytes(b"")
    assert checked(tmp_path).text().splitlines() == [
        "Task pets: errors",
        "  train            12 images, 2 classes of 6 to 6",
        "  validation       12 images, 2 classes of 6 to 6; interval 42.0",
        "  test             12 images, 2 classes of 6 to 6; interval 42.0",
        "  sketch           12 images, 2 classes of 6 to 6; interval 42.0",
        "  interval: points that the 95 % interval of an accuracy of 80 % spans on so many images",
        "error: test: 1 of 12 images cannot be read",
        "    test/dog/0.png: the file is empty (0 bytes)",
        "note: classes: classes with fewer than 20 images in a test, so that their own accuracies are vague",
        "    test: 2 classes, such as cat (6; 95 % interval 55 points wide)",
        "    sketch: 2 classes, such as cat (6; 95 % interval 55 points wide)",
    ]


def test_unreadable_images_are_errors_and_all_named(tmp_path):
    pets(tmp_path)
    for i in range(2):
        (tmp_path / f"test/dog/{i}.png").write_bytes(b"")
    report = checked(tmp_path)
    assert report.verdict == "errors"
    assert messages(report)[0] == ("error", "test", "2 of 12 images cannot be read")
    assert report.findings[0].examples == tuple(f"test/dog/{i}.png: the file is empty (0 bytes)" for i in range(2))
    assert checked(tmp_path, DataConfig(workers=0, on_bad_image="skip")).verdict == "warnings"


def test_images_in_train_and_test_are_counted(tmp_path):
    pets(tmp_path)
    (tmp_path / "test/dog/copy.png").write_bytes((tmp_path / "train/dog/3.png").read_bytes())
    report = checked(tmp_path)
    assert messages(report) == [("warning", "test", "1 of 13 images also stand in train, byte for byte")]
    assert report.findings[0].examples == ("train/dog/3.png = test/dog/copy.png",)


def test_an_image_with_two_labels_is_told(tmp_path):
    pets(tmp_path)
    (tmp_path / "train/dog/copy.png").write_bytes((tmp_path / "train/cat/3.png").read_bytes())
    assert "under more than one class" in messages(checked(tmp_path))[0][2]


def test_class_names_a_text_model_cannot_read_are_told(tmp_path):
    report = checked(pets(tmp_path, names=("n01440764", "traffic_light", "Traffic light", "17", "tree")))
    assert [finding.where for finding in told(report)] == ["classes", "classes"]
    assert report.findings[0].examples == ("Traffic light = traffic_light",)
    assert report.findings[1].examples == ("17", "n01440764", "traffic_light")


def test_few_and_unequal_training_images_are_told(tmp_path):
    pets(tmp_path, per_class=1)
    for i in range(40):
        Image.new("RGB", (5, 5), (i, 99, 99)).save(tmp_path / f"train/dog/more{i}.png")
    found = messages(checked(tmp_path))
    assert ("warning", "train", "classes with fewer than 5 training images: 1") in found
    assert ("warning", "train", "classes are unequal: dog has 41 training images, cat has 1") in found


def test_classes_absent_from_a_split_are_told_unless_masked(tmp_path):
    pets(tmp_path)
    for file in (tmp_path / "sketch/cat").iterdir():
        file.unlink()
    task = make_task("pets", read_table(str(tmp_path)), Partition(), templates=("a {}",), contexts=())
    assert messages(check_task(task, config=HERE)) == [("warning", "sketch", "classes without an image here: 1")]
    masked = replace(task.tests["sketch"], class_mask=(1,))
    assert check_task(replace(task, tests={**task.tests, "sketch": masked}), config=HERE).verdict == "ok"


def test_small_groups_are_told_where_there_are_groups(tmp_path):
    task = make_task("pets", read_table(str(pets(tmp_path))), Partition(), templates=("a {}",), contexts=())
    by_name = np.arange(12, dtype=np.int64) // 6
    train = replace(task.train, groups=np.where(np.arange(12) < 9, by_name, -1))
    report = check_task(replace(task, train=train, group_names=("in", "out")), config=HERE)
    assert messages(report) == [("warning", "train", "groups with fewer than 5 training images: 1")]
    assert report.findings[0].examples == ("out (3)",)
    assert report.splits["train"].groups == {"in": 6, "out": 3}
    tests = {**task.tests, "sketch": replace(task.tests["sketch"], groups=by_name)}
    report = check_task(replace(task, tests=tests, group_names=("in", "out")), config=HERE)
    assert messages(report) == [("warning", "sketch", "groups too small to measure, with fewer than 20 images: 2")]
    assert report.findings[0].examples[0] == "in (6; 95 % interval 55 points wide)"
    assert report.splits["sketch"].group_intervals == {"in": 55.2, "out": 55.2}


def test_the_tasks_own_notes_are_repeated(tmp_path):
    pets(tmp_path)
    (tmp_path / "val").rename(tmp_path / "elsewhere")
    assert "no validation split was given" in messages(checked(tmp_path))[0][2]


def shades(seed, size=(40, 40)):
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)


def test_images_that_look_like_training_images_are_told_nearest_first(tmp_path):
    pets(tmp_path)
    for i in range(3):
        shades(i).save(tmp_path / f"train/cat/shade{i}.png")
    shades(0, (64, 64)).save(tmp_path / "test/cat/larger.jpg", quality=80)
    shades(1).save(tmp_path / "test/cat/same.png")
    report = checked(tmp_path)
    assert messages(report) == [
        ("warning", "test", "1 of 14 images also stand in train, byte for byte"),
        ("warning", "test", "1 of 14 images look like one in train; see for yourself"),
    ]
    pair = report.findings[1].pairs[0]
    assert (pair.split, pair.path, pair.other_split, pair.other_path) == (
        *("train", "train/cat/shade0.png", "test", "test/cat/larger.jpg"),
    )
    assert report.findings[1].examples[0].startswith("train/cat/shade0.png ~ test/cat/larger.jpg (")


def test_how_much_may_differ_is_an_option(tmp_path):
    pets(tmp_path)
    shades(0).save(tmp_path / "train/cat/shade.png")
    shades(0).crop((0, 0, 39, 40)).save(tmp_path / "test/cat/cropped.png")
    task = make_task("pets", read_table(str(tmp_path)), Partition(), templates=("a {}",), contexts=())
    alike = [bool(told(check_task(task, config=HERE, look_alike=bits))) for bits in range(12)]
    assert not alike[0]
    assert alike[11]
    assert alike == [bits >= alike.index(True) for bits in range(12)]


class Same:
    name = "same"

    def __call__(self, image, index):
        return image


def test_splits_of_the_same_files_are_examined_once_and_all_counted(tmp_path):
    pets(tmp_path)
    (tmp_path / "sketch/dog/0.png").write_bytes(b"")
    task = make_task("pets", read_table(str(tmp_path)), Partition(), templates=("a {}",), contexts=())
    altered = replace(task.tests["sketch"], name="foggy", alter=Same())
    report = check_task(replace(task, tests={**task.tests, "foggy": altered}), config=HERE)
    assert messages(report) == [("error", "sketch", "1 of 12 images cannot be read")]
    assert report.splits["foggy"].images == 12


def test_a_class_in_the_test_only_is_told(tmp_path):
    task = make_task("pets", read_table(str(pets(tmp_path))), Partition(), templates=("a {}",), contexts=())
    cats = task.train.subset(np.flatnonzero(task.train.labels == 0))
    found = messages(check_task(replace(task, train=cats), config=HERE))
    assert ("warning", "train", "classes without an image here: 1") in found
    assert ("warning", "sketch", "classes that stand here but have no training image: 1") in found


def test_few_images_of_a_class_in_a_test_are_a_note_that_changes_no_verdict(tmp_path):
    report = checked(pets(tmp_path))
    assert report.verdict == "ok"
    assert [finding.level for finding in report.findings] == ["note"]
    assert report.findings[0].examples[0] == "test: 2 classes, such as cat (6; 95 % interval 55 points wide)"
