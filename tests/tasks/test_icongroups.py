import csv
import io
import zipfile
from collections import Counter
from pathlib import PurePosixPath

import pytest
from PIL import Image

from surefoot.data.prompts import Prompts
from surefoot.data.scan import duplicates, unreadable
from surefoot.tasks.icongroups import ARCHIVE, IconGroups

pytestmark = pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")  # Python 3.12 and later

CLASSES = "classes: [{name: animal, synonyms: [cat, dog]}, {name: vehicle, synonyms: [bus]}]\n"
GROUPS = ("animal on grass", "animal on water", "vehicle on grass", "vehicle on water")


@pytest.fixture
def small(tmp_path):
    """An archive of the shape of the real one."""
    rows, images = [], {}
    for split in ("train", "validation", "test"):
        for place, group in enumerate(GROUPS):
            path = f"{split}/{group.replace(' ', '-')}.png"
            rows.append([path, group.split()[0], split, ("line", "emoji")[place % 2], group, "cat"])
            images[path] = io.BytesIO()
            Image.new("RGB", (64, 64), (len(rows), 0, 0)).save(images[path], "PNG")
    table = io.StringIO()
    csv.writer(table).writerows([["path", "label", "split", "domain", "group", "member"], *rows])
    with zipfile.ZipFile(tmp_path / "small.zip", "w") as archive:
        archive.writestr("manifest.csv", table.getvalue())
        archive.writestr("classes.yaml", f"{CLASSES}templates: ['a {{}} on grass']\ncontexts: ['a {{}} on water']")
        for path, image in images.items():
            archive.writestr(path, image.getvalue())
    return tmp_path / "small.zip"


def test_all_styles_make_one_test_split_with_four_groups(small):
    task = IconGroups(IconGroups.Config(root=str(small))).load()
    assert (task.name, task.home, task.shifts, task.notes) == ("icongroups", "test", (), ())
    assert (task.classes, task.group_names) == (("animal", "vehicle"), GROUPS)
    for split in task.splits().values():
        assert split.labels.tolist() == [0, 0, 1, 1]
        assert split.groups.tolist() == [0, 1, 2, 3]


def test_sentences_name_the_members_unless_told_otherwise(small):
    def sentences(**options):
        task = IconGroups(IconGroups.Config(root=str(small), **options)).load()
        return Prompts.from_task(task).class_sentences()

    assert sentences() == [["a cat on grass", "a dog on grass"], ["a bus on grass"]]
    assert sentences(prompt_names="name") == [["a animal on grass"], ["a vehicle on grass"]]
    assert sentences(prompt_names="both")[1] == ["a vehicle on grass", "a bus on grass"]


@pytest.fixture(scope="module")
def embedded():
    return IconGroups(IconGroups.Config()).load()


def test_in_training_class_and_background_agree_in_19_of_20_images(embedded):
    counts = embedded.group_counts(embedded.train)
    assert counts == dict(zip(GROUPS, (237, 13, 10, 191), strict=True))
    assert (counts[GROUPS[0]] + counts[GROUPS[3]]) / len(embedded.train) == pytest.approx(0.95, abs=0.005)


@pytest.mark.parametrize("name", ["validation", "test"])
def test_outside_training_every_icon_stands_on_both_backgrounds(embedded, name):
    split = embedded.splits()[name]
    counts = embedded.group_counts(split)
    assert counts[GROUPS[0]] == counts[GROUPS[1]] > 30
    assert counts[GROUPS[2]] == counts[GROUPS[3]] > 30
    icons = Counter(path.replace("-on-grass", "").replace("-on-water", "") for path in split.paths)
    assert set(icons.values()) == {2}


def test_no_icon_set_is_in_two_splits(embedded):
    sets = [{PurePosixPath(path).parent.name for path in split.paths} for split in embedded.splits().values()]
    assert len(set().union(*sets)) == sum(map(len, sets))


def test_every_image_can_be_read_and_none_is_in_two_splits(embedded):
    assert ARCHIVE.exists()
    assert not any(unreadable(split) for split in embedded.splits().values())
    assert not duplicates(embedded.train, embedded.validation)
    assert not duplicates(embedded.train, embedded.tests["test"])
    assert not duplicates(embedded.validation, embedded.tests["test"])
