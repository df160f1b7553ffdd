import importlib.util
import json
import os
import pickle
import re
import shlex
import signal
import subprocess
import sys
from itertools import islice
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
from PIL import Image

from surefoot.config import check as check_options
from surefoot.config import parse_settings
from surefoot.data.batch import DataConfig, evaluation_batches, training_batches
from surefoot.data.images import ImageSpec
from surefoot.data.scan import unreadable
from surefoot.data.storage import Unreachable
from surefoot.tasks import _hub
from surefoot.tasks.hf_dataset import HfDataset

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning"),  # Python 3.12 and later
    pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning"),  # where there is one core
]

PATH = Path(__file__).parents[1] / "stand_ins" / "hf_dataset.py"
SPEC = ImageSpec(size=8, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25), resize=8)


def stand_in():
    spec = importlib.util.spec_from_file_location("stand_in_hf_dataset", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


STAND_IN = stand_in()
image, rows = STAND_IN.image, STAND_IN.rows


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hf")
    datasets.disable_progress_bars()


def load(root, **options):
    return HfDataset(HfDataset.Config(root=str(root), **options)).load()


@pytest.fixture
def saved(tmp_path):
    return STAND_IN.make(tmp_path)


def write_parquet(root, splits, files=2, group=5):
    """As on the hub: data/<split>-0000i-of-0000n.parquet, in row groups of `group` rows."""
    (root / "data").mkdir(parents=True)
    for name, part in splits.items():
        for number in range(files):
            path = root / "data" / f"{name}-{number:05d}-of-{files:05d}.parquet"
            part.shard(files, number, contiguous=True).to_parquet(str(path), batch_size=group)
    return root


@pytest.fixture
def parquet(tmp_path):
    return write_parquet(tmp_path / "pets", STAND_IN.splits())


@pytest.fixture
def streamed(parquet, tmp_path):
    return {"root": parquet, "shifts": ("sketch",), "stream": True, "cache": str(tmp_path / "cache")}


def check(task):
    assert (task.classes, task.home, task.shifts) == (("cat", "dog", "eel"), "test", ("sketch",))
    sizes = {"train": (0, 24), "validation": (100, 6), "test": (200, 6), "sketch": (300, 6)}
    for name, split in task.splits().items():
        first, count = sizes[name]
        assert split.paths == tuple(f"{name}/{row}" for row in range(count))
        assert split.labels.tolist() == [(first + row) % 3 for row in range(count)]
        for row, path in enumerate(split.paths):
            assert split.source.read(path) == image(first + row, (first + row) % 3)


# Arrow files


def test_a_saved_data_set_is_read_where_it_lies(saved, tmp_path):
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    task = load(**saved)
    check(task)
    assert task.name == "saved"
    assert len(task.train.blocks) == 0
    assert task.notes == ()
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_one_saved_split_is_train(tmp_path):
    rows(0, 24).save_to_disk(str(tmp_path / "one"))
    task = load(tmp_path / "one")
    assert sum(map(len, task.splits().values())) == 24
    assert len(task.notes) == 2  # validation and test were taken from it


def test_a_selection_that_was_saved_keeps_its_order(tmp_path):
    datasets.DatasetDict({"train": rows(0, 30).select([7, 3, 20, 11, 0, 1, 2, 4, 5])}).save_to_disk(str(tmp_path / "s"))
    task = load(tmp_path / "s")
    for split in task.splits().values():
        for path, label in zip(split.paths, split.labels, strict=True):
            key = [7, 3, 20, 11, 0, 1, 2, 4, 5][int(path.partition("/")[2])]
            assert split.source.read(path) == image(key, int(label))


def test_a_folder_of_parquet_files_is_read(parquet):
    check(load(parquet, shifts=("sketch",)))


def test_a_folder_of_images_is_read(tmp_path):
    for split, start in (("train", 0), ("test", 90)):
        for key in range(start, start + 9):
            folder = tmp_path / "pets" / split / STAND_IN.CLASSES[key % 3]
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{key}.png").write_bytes(image(key, key % 3))
    near = load(tmp_path / "pets")
    far = load(tmp_path / "pets", stream=True, cache=str(tmp_path / "cache"))
    for task in (near, far):
        assert task.classes == ("cat", "dog", "eel")
        assert (len(task.train) + len(task.validation), len(task.tests["test"])) == (9, 9)
        assert all(unreadable(split) == [] for split in task.splits().values())
    assert near.fingerprint() == far.fingerprint()
    assert [near.train.source.read(p) for p in near.train.paths] == [far.train.source.read(p) for p in far.train.paths]


def test_columns_may_be_named_and_text_can_be_the_label(tmp_path):
    part = rows(0, 24, species=lambda key: ("ant", "bee")[key % 2], place=lambda key: ("land", "sea")[key // 12])
    cells = part.cast_column("image", datasets.Image(decode=False))["image"][:]
    part = part.rename_column("image", "photo").add_column("mask", cells, feature=datasets.Image())
    datasets.DatasetDict({"train": part, "test": part.select(range(8))}).save_to_disk(str(tmp_path / "s"))
    with pytest.raises(ValueError, match=r"2 columns of images \['photo', 'mask'\]; set task\.image"):
        load(tmp_path / "s")
    task = load(tmp_path / "s", image="photo", label="species", group="place")
    assert task.classes == ("ant", "bee")
    assert task.group_names == ("land", "sea")
    assert task.tests["test"].groups.tolist() == [0] * 8


def test_a_column_of_domains_gives_home_and_shifts(tmp_path):
    part = rows(0, 40, domain=lambda key: ("photo", "art")[key // 24])
    datasets.DatasetDict({"train": part}).save_to_disk(str(tmp_path / "s"))
    task = load(tmp_path / "s", domain="domain", home="photo")
    assert (task.home, task.shifts, len(task.tests["art"])) == ("photo", ("art",), 16)
    assert len(task.train) + len(task.validation) + len(task.tests["photo"]) == 24


def test_a_test_split_without_labels_is_left_out_unless_it_is_asked_for(tmp_path):
    bare = rows(200, 6).map(lambda row: {"label": -1}, load_from_cache_file=False, keep_in_memory=True)
    datasets.DatasetDict({"train": rows(0, 24), "test": bare}).save_to_disk(str(tmp_path / "s"))
    task = load(tmp_path / "s")
    assert task.notes[0] == "the split test has no labels and is not used"
    with pytest.raises(ValueError, match=r"task\.test 'test' .*6 of 6 rows have no label .*'label' \(first: row 0\)"):
        load(tmp_path / "s", test="test")


def test_classes_may_get_better_names(saved, tmp_path):
    (tmp_path / "classes.yaml").write_text("classes: {cat: wild cat}\n")
    assert "wild cat" in load(**saved, classes=str(tmp_path / "classes.yaml")).classes


def test_splits_that_number_their_classes_in_different_ways_are_refused(tmp_path):
    def encoded(*labels):
        shown = [{"bytes": image(i, 0), "path": None} for i in range(len(labels))]
        made = datasets.Dataset.from_dict({"image": shown, "label": list(labels)})
        return made.cast_column("image", datasets.Image()).class_encode_column("label")

    splits = {"train": encoded("cat", "dog", "fox"), "test": encoded("dog", "fox")}
    datasets.DatasetDict(splits).save_to_disk(tmp_path / "pets")
    with pytest.raises(ValueError, match="train and test number the classes of the column 'label' in different ways"):
        load(tmp_path / "pets")


def test_class_names_that_are_numbers_stay_with_their_images(tmp_path):
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["1", "0"])})
    cells = [{"bytes": image(key, 0), "path": None} for key in range(20)]
    part = datasets.Dataset.from_dict({"image": cells, "label": [key % 2 for key in range(20)]}, features=features)
    part.save_to_disk(str(tmp_path / "s"))
    task = load(tmp_path / "s")
    assert task.classes == ("1", "0")
    for split in task.splits().values():
        assert split.labels.tolist() == [int(path.partition("/")[2]) % 2 for path in split.paths]


# Streams


def test_a_stream_is_the_same_task(streamed, parquet):
    far, near = load(**streamed), load(parquet, shifts=("sketch",))
    check(far)
    assert far.fingerprint() == near.fingerprint()
    # two files of 12 rows, in row groups of 5
    assert far.train.blocks.tolist() == np.repeat(range(6), [5, 5, 2, 5, 5, 2]).tolist()
    assert far.train.window == 32


@pytest.mark.parametrize(
    ("workers", "keep"), [(0, 4), (2, 6)]
)  # two workers may be an epoch apart, so all six are kept
def test_a_stream_holds_no_more_pieces_than_it_may_and_reads_each_once(streamed, tmp_path, monkeypatch, workers, keep):
    task = load(**streamed, window=2, keep=keep)
    fetched = tmp_path / "fetched"
    fetch = _hub.StreamSource._fetch

    def noted(self, split, piece, to):
        with fetched.open("a") as file:
            file.write(f"{split} {piece}\n")
        fetch(self, split, piece, to)

    monkeypatch.setattr(_hub.StreamSource, "_fetch", noted)
    batches = training_batches(task.train, SPEC, DataConfig(workers=workers), batch_size=4, seed=0)
    epoch = list(islice(batches, 6))
    batches.close()
    assert sorted(torch.cat([batch.index for batch in epoch]).tolist()) == list(range(24))
    assert sorted(fetched.read_text().splitlines()) == [f"train {piece}" for piece in range(6)]
    assert 0 < len(list((tmp_path / "cache" / "pieces").iterdir())) <= keep


def test_another_image_column_of_a_stream_is_not_read_from_the_pieces_of_the_first(tmp_path):
    made = datasets.Dataset.from_dict(
        {
            "front": [{"bytes": image(i, 0), "path": None} for i in range(6)],
            "back": [{"bytes": image(i, 1), "path": None} for i in range(6)],
            "label": ["cat", "dog"] * 3,
        }
    )
    both = made.cast_column("front", datasets.Image()).cast_column("back", datasets.Image())
    root = write_parquet(tmp_path / "pets", {"train": both, "test": both}, files=1)
    for column, shade in (("front", 0), ("back", 1)):
        test = load(root, stream=True, cache=str(tmp_path / "cache"), image=column, validation_fraction=0.34).tests[
            "test"
        ]
        assert test.source.read(test.paths[0]) == image(0, shade)


def test_evaluation_reads_a_stream_in_data_workers_too(streamed):
    task = load(**streamed)
    here, there = (
        torch.cat([b.images for b in evaluation_batches(task.train, SPEC, DataConfig(workers=w, eval_batch_size=4))])
        for w in (0, 2)
    )
    assert torch.equal(here, there)


def test_only_the_label_is_read_in_the_first_pass(streamed, monkeypatch):
    columns = []
    batches = _hub._batches

    def noted(stream):
        for some in batches(stream):
            columns.append(set(some))
            yield some

    monkeypatch.setattr(_hub, "_batches", noted)
    load(**streamed)
    assert {frozenset(some) for some in columns} == {frozenset({"label"})}


def test_labels_are_read_once_and_anew_when_the_files_change(streamed, parquet, monkeypatch):
    first = load(**streamed)
    with monkeypatch.context() as patched:
        patched.setattr(_hub, "_go_on", None)
        assert load(**streamed).fingerprint() == first.fingerprint()
    write_parquet(parquet / "new", {"train": rows(50, 24)}, files=2)
    for path in (parquet / "new" / "data").iterdir():
        path.replace(parquet / "data" / path.name)
    assert load(**streamed).train.labels.tolist() == [(50 + row) % 3 for row in range(24)]


PASS = """
import json, os, signal, sys
from surefoot.tasks import _hub
from surefoot.tasks.hf_dataset import HfDataset

_hub.ROWS, _hub.SAVE_EVERY, left = 2, 0.0, int(sys.argv[2])
write, read = _hub._write_pass, 0

def write_and_die(found, file):
    global left
    write(found, file)
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)

batches = _hub._batches

def counted(stream):
    global read
    for rows in batches(stream):
        read += len(rows["label"])
        yield rows

_hub._write_pass, _hub._batches = write_and_die, counted
task = HfDataset(HfDataset.Config(**json.loads(sys.argv[1]))).load()
print(json.dumps([read, task.fingerprint(), task.train.blocks.tolist()]))
"""


def first_pass(options, *, kill_after=-1):
    options = options | {"root": str(options["root"])}
    words = [sys.executable, "-W", "ignore", "-c", PASS, json.dumps(options), str(kill_after)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == (-signal.SIGKILL if kill_after > 0 else 0), done.stderr
    return json.loads(done.stdout) if done.stdout else None


def test_a_first_pass_that_is_killed_inside_a_piece_goes_on_at_the_exact_row(streamed, tmp_path):
    rows_read, fingerprint, blocks = first_pass(streamed | {"cache": str(tmp_path / "other")})
    assert rows_read == 42
    first_pass(streamed, kill_after=2)  # after 4 of the 5 rows of the first piece
    (half,) = (json.loads(path.read_text()) for path in (tmp_path / "cache" / "labels").glob("*.json"))
    assert (half["piece"], half["counts"], half["done"]) == (0, [4], False)
    assert half["state"]
    first_pass(streamed, kill_after=5)
    left = 42 - 4 - 1 - 5 - 2  # rows 4 | 5 to 9 | 10 and 11 had been read, each piece by itself
    assert first_pass(streamed) == [left, fingerprint, blocks]


def test_a_streamed_epoch_that_is_killed_goes_on_at_the_exact_sample(streamed, stream):
    options = streamed | {"window": 2, "keep": 4}
    whole = stream("hf_dataset", options, start=0, last=11)
    assert [step for step, _, _ in whole] == list(range(12))
    first = stream("hf_dataset", options, start=0, last=11, workers=2, kill_after=4)
    assert first + stream("hf_dataset", options, start=4, last=11) == whole


def test_the_sources_travel_to_worker_processes(streamed, saved):
    for options in (streamed, saved):
        split = load(**options).train
        copy = pickle.loads(pickle.dumps(split))
        assert copy.source.read(split.paths[3]) == split.source.read(split.paths[3])


# Bad input


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"root": ""}, r"task\.root is empty"),
        ({"root": "/nowhere"}, r"task\.root=/nowhere: there is no such folder"),
        ({"train": "training"}, r"task\.train='training' is no split .*did you mean train\? It has train, validation"),
        ({"test": "train"}, r"task\.test='train' already serves as train"),
        ({"label": "lable"}, r"task\.label='lable' is no column; did you mean label\? There are image, label"),
        ({"image": "photo"}, r"task\.image='photo' is no column"),
        ({"group": "place"}, r"task\.group='place' is no column"),
        ({"classes": "/nowhere.yaml"}, r"task\.classes='/nowhere.yaml'"),
        ({"label": "image"}, r"a label, group or domain is \{'bytes"),
    ],
)
def test_options_that_lead_nowhere_are_named(saved, options, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        load(**{**saved, **options})


def test_options_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match=r"task\.keep=10 holds fewer pieces than two windows of task\.window=8"):
        HfDataset.Config(window=8, keep=10)
    with pytest.raises(ValueError, match="leave nothing to train on"):
        HfDataset.Config(validation_fraction=0.6, test_fraction=0.5)


def test_a_data_set_without_images_or_classes_is_named(tmp_path):
    datasets.Dataset.from_dict({"text": ["a", "b"], "n": [1, 2]}).save_to_disk(str(tmp_path / "s"))
    with pytest.raises(ValueError, match=r"0 columns of images \[\]; set task\.image to one of text, n"):
        load(tmp_path / "s")
    rows(0, 9).rename_column("label", "a").add_column("b", [0] * 9).remove_columns("a").save_to_disk(
        str(tmp_path / "t")
    )
    with pytest.raises(ValueError, match=r"0 columns of classes \[\]; set task\.label to one of image, b"):
        load(tmp_path / "t")


def test_rows_without_image_or_label_are_named(tmp_path):
    part = rows(0, 24)
    cells = part.cast_column("image", datasets.Image(decode=False))["image"][:]
    cells[5] = None
    features = part.features
    datasets.Dataset.from_dict({"image": cells, "label": part["label"][:]}, features=features).save_to_disk(
        str(tmp_path / "s")
    )
    write_parquet(tmp_path / "p", {"train": datasets.load_from_disk(str(tmp_path / "s"))})
    for options in ({"root": tmp_path / "s"}, {"root": tmp_path / "p", "stream": True, "cache": str(tmp_path / "c")}):
        task = load(**options)
        reasons = [bad.reason for split in task.splits().values() for bad in unreadable(split)]
        assert len(reasons) == 1
        assert reasons[0].startswith("train/5: ")
        assert "the row has no image" in reasons[0]
    labels = [None if key == 3 else key % 3 for key in range(24)]
    datasets.Dataset.from_dict({"image": part["image"][:], "label": labels}, features=features).save_to_disk(
        str(tmp_path / "t")
    )
    with pytest.raises(ValueError, match=r"task\.train 'train' of .*1 of 24 rows have no label .*\(first: row 3\)"):
        load(tmp_path / "t")


def test_a_broken_image_is_found_like_any_other(tmp_path):
    part = rows(0, 24)
    cells = part.cast_column("image", datasets.Image(decode=False))["image"][:]
    cells[5] = {"bytes": b"broken", "path": None}
    broken = datasets.Dataset.from_dict({"image": cells, "label": part["label"][:]}, features=part.features)
    broken.save_to_disk(str(tmp_path / "s"))
    task = load(tmp_path / "s")
    reasons = [bad.reason for split in task.splits().values() for bad in unreadable(split)]
    assert reasons == ["train/5: not an image, or a format that is not supported"]


@pytest.mark.parametrize("streaming", [False, True])
def test_a_half_downloaded_file_is_named(parquet, tmp_path, streaming):
    path = parquet / "data" / "train-00001-of-00002.parquet"
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(ValueError, match=r"task\.root=.*pets cannot be opened: .*(Parquet|parquet)"):
        load(parquet, stream=streaming, cache=str(tmp_path / "cache"))


def test_an_empty_folder_is_named(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"task\.root=.*empty cannot be opened"):
        load(tmp_path / "empty")


def test_a_piece_that_cannot_be_read_any_more_stops_the_run(streamed, parquet):
    task = load(**streamed)
    for path in (parquet / "data").glob("train*"):
        path.unlink()
    with pytest.raises(Unreachable, match=r"\(streamed\): a piece of the split 'train' cannot be read"):
        next(training_batches(task.train, SPEC, DataConfig(workers=0), batch_size=4, seed=0))


WHY = """
import json, sys
from surefoot.tasks.hf_dataset import HfDataset

said = []
for options in json.loads(sys.argv[1]):
    try:
        HfDataset(HfDataset.Config(**options)).load()
    except ValueError as error:
        said.append(str(error))
print(json.dumps(said))
"""


def why(options, cache, **environment):
    """What it says to each of these, in a process of its own: the hub's settings are read once."""
    kept = {k: v for k, v in os.environ.items() if "proxy" not in k.lower() and not k.startswith("HF_")}
    words = [sys.executable, "-W", "ignore", "-c", WHY, json.dumps(options)]
    environment = {**kept, "HF_HOME": str(cache), "PYTHONPATH": os.pathsep.join(sys.path), **environment}
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_gated_and_missing_data_sets_and_revisions_are_explained(refusing_hub, tmp_path):
    asked = [{"root": "some/gated"}, {"root": "some/missing"}, {"root": "some/set", "revision": "no-such-revision"}]
    gated, missing, revision, streamed = why(
        [*asked, {"root": "some/gated", "stream": True}],
        tmp_path,
        HF_ENDPOINT=refusing_hub,
    )
    assert "task.root=some/gated cannot be opened: the data set is gated; ask for access" in gated
    assert "no such folder, and no such data set on the hub" in missing
    assert "no revision 'no-such-revision'" in revision
    assert "the data set is gated" in streamed


def test_offline_nothing_is_asked_of_the_hub(tmp_path):
    (offline,) = why([{"root": "some/set"}], tmp_path, HF_HUB_OFFLINE="1", HF_ENDPOINT="http://127.0.0.1:9")
    assert "HF_HUB_OFFLINE is set and the data set is not in the cache" in offline


def test_a_missing_library_is_named(saved, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ValueError, match=r"pip install 'surefoot\[hf\]'"):
        load(**saved)


def test_an_image_of_any_mode_comes_out(tmp_path):
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b"])})
    grey = Image.fromarray(np.full((9, 9), 7, np.uint8))
    part = datasets.Dataset.from_dict({"image": [grey] * 20, "label": [0, 1] * 10}, features=features)
    part.save_to_disk(str(tmp_path / "s"))
    assert next(evaluation_batches(load(tmp_path / "s").train, SPEC, DataConfig(workers=0))).images.shape[1:] == (
        3,
        8,
        8,
    )


def test_the_commands_of_the_page_are_understood():
    page = Path(__file__).parents[2] / "docs" / "tasks" / "hf_dataset.md"
    commands = [shlex.split(line) for line in re.findall(r"^    surefoot (.+)$", page.read_text(), re.MULTILINE)]
    assert len(commands) == 4
    for words in commands:
        assert "hf_dataset" in words
        given = parse_settings(word for word in words if word.startswith("task."))
        options = {name.removeprefix("task."): value for name, value in given.items()}
        check_options(HfDataset.Config, "task", {"root": words[words.index("--root") + 1], **options})
