import csv
import io
import zipfile

import numpy as np
import pytest
from PIL import Image

from surefoot.data.batch import DataConfig, evaluation_batches
from surefoot.data.images import ImageSpec
from surefoot.data.scan import duplicates, unreadable
from surefoot.tasks.iconshift import ARCHIVE, IconShift

pytestmark = pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")  # Python 3.12 and later

SPEC = ImageSpec(64, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25), 64)


@pytest.fixture
def small(tmp_path):
    """An archive of the shape of the real one."""
    rows, images = [], {}
    for domain, split in (("line", "train"), ("line", "validation"), ("line", "test"), ("emoji", "test")):
        for label in ("cat", "dog"):
            path = f"images/{domain}/{split}-{label}.png"
            rows.append([path, label, split, domain, "a-set", f"{label}-outline", "MIT"])
            images[path] = io.BytesIO()
            Image.new("RGB", (64, 64), (len(rows), 0, 0)).save(images[path], "PNG")
    table = io.StringIO()
    csv.writer(table).writerows([["path", "label", "split", "domain", "icon_set", "name", "licence"], *rows])
    with zipfile.ZipFile(tmp_path / "small.zip", "w") as archive:
        archive.writestr("manifest.csv", table.getvalue())
        archive.writestr("classes.yaml", "classes: [dog, cat]\ntemplates: ['an icon of a {}.']\ncontexts: ['a {}.']")
        for path, image in images.items():
            archive.writestr(path, image.getvalue())
    return tmp_path / "small.zip"


def test_the_archive_is_read_with_line_at_home(small):
    task = IconShift(IconShift.Config(root=str(small))).load()
    assert (task.name, task.home, task.shifts) == ("iconshift", "line", ("emoji",))
    assert task.classes == ("dog", "cat")
    assert {name: split.labels.tolist() for name, split in task.splits().items()} == {
        "train": [1, 0],
        "validation": [1, 0],
        "line": [1, 0],
        "emoji": [1, 0],
    }
    assert task.notes == ()
    batch = next(evaluation_batches(task.tests["emoji"], SPEC, DataConfig(workers=1)))
    assert batch.images.shape == (2, 3, 64, 64)


@pytest.mark.skipif(not ARCHIVE.exists(), reason="the embedded archive has not been built")
def test_the_embedded_archive_is_whole():
    task = IconShift(IconShift.Config()).load()
    assert task.home == "line"
    assert {"solid", "colour", "emoji", "emoji_3d"} <= set(task.shifts)
    assert 100 <= len(task.classes) <= 250
    assert np.bincount(task.train.labels, minlength=len(task.classes)).min() > 0
    assert not any(unreadable(split) for split in task.splits().values())
    assert not any(duplicates(task.train, task.tests[name]) for name in task.tests)
