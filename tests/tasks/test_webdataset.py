import importlib.util
import io
import json
import multiprocessing
import os
import pickle
import re
import shlex
import signal
import subprocess
import sys
import tarfile
from itertools import islice
from pathlib import Path

import fsspec
import numpy as np
import pytest
import torch

from surefoot.backbones.base import load_backbone
from surefoot.config import check as check_options
from surefoot.config import parse_settings
from surefoot.data import storage
from surefoot.data.batch import DataConfig, evaluation_batches, training_batches
from surefoot.data.images import ImageSpec
from surefoot.data.scan import unreadable
from surefoot.data.shards import find_shards
from surefoot.data.sources import MAX_FILE_BYTES
from surefoot.data.storage import Unreachable
from surefoot.tasks.webdataset import WebDataset

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning"),  # Python 3.12 and later
    pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning"),  # where there is one core
]

PATH = Path(__file__).parents[1] / "stand_ins" / "webdataset.py"
SPEC = ImageSpec(size=8, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25), resize=8)
HERE = DataConfig(workers=0)


def stand_in():
    spec = importlib.util.spec_from_file_location("stand_in_webdataset", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


STAND_IN = stand_in()
image, samples, write_tar = STAND_IN.image, STAND_IN.samples, STAND_IN.write_tar


def load(**options):
    return WebDataset(WebDataset.Config(**options)).load()


def one_shard(tmp_path, members, **options):
    write_tar(tmp_path / "set" / "train.tar", members)
    return load(**({"root": str(tmp_path / "set"), "train": "train.tar", "cache": str(tmp_path / "cache")} | options))


@pytest.fixture
def made(tmp_path):
    return STAND_IN.make(tmp_path)


@pytest.fixture
def remote(file_server, tmp_path):
    """The stand-in behind a web server."""
    options = STAND_IN.make(file_server.root)
    return options | {
        "root": f"{file_server.url}/shards",
        "shifts": {"night": "night/000.tar"},
        "classes": str(file_server.root / "shards" / "classes.yaml"),
        "keep": 4,
        "cache": str(tmp_path / "cache"),
    }


# What is read


def test_splits_labels_classes_and_shifts_are_those_of_the_shards(made):
    task = load(**made)
    assert (task.name, task.classes, task.home, task.shifts) == ("shards", ("cat", "dog", "eel"), "test", ("night",))
    assert {name: len(split) for name, split in task.splits().items()} == {
        "train": 36,
        "validation": 6,
        "test": 6,
        "night": 6,
    }
    assert task.train.paths[:2] == ("train-000.tar::000000.png", "train-000.tar::000001.png")
    assert task.tests["night"].paths[0] == "night/000.tar::003000.png"
    for split in task.splits().values():
        keys = [int(path.partition("::")[2].removesuffix(".png")) for path in split.paths]
        assert split.labels.tolist() == [key % 3 for key in keys]
        for path, key, label in zip(split.paths, keys, split.labels, strict=True):
            assert split.source.read(path) == image(key, int(label))
    assert task.notes == ()


def test_training_mixes_a_window_of_shards(made):
    task = load(**made)
    assert task.train.blocks.tolist() == np.repeat(range(4), 9).tolist()
    assert task.train.window == 2
    assert len(task.tests["test"].blocks) == 0
    assert len(load(**made | {"window": 0}).train.blocks) == 0


def test_class_names_may_stand_in_the_shards_as_text_or_in_a_json(tmp_path):
    texts = one_shard(tmp_path / "a", samples(0, 12, kind="txt"), label="txt")
    assert texts.classes == ("cat", "dog", "eel")
    named = [(name, json.dumps({"species": "ant", "label": 7}).encode()) for name, _ in samples(0, 1, kind="json")[1:]]
    members = [*samples(0, 9, kind="json")[2:], samples(0, 1)[0], *named]
    assert one_shard(tmp_path / "b", members).classes == ("0", "1", "2", "7")
    with pytest.raises(ValueError, match=r"8 of 9 images have no label \(first: 000001\.png\).*field 'species'"):
        one_shard(tmp_path / "c", members, label_field="species")


def test_a_cls_is_the_label_also_where_there_is_a_json(tmp_path):
    both = [(f"{key:06d}.json", b'{"label": 2}') for key in range(9)]
    assert one_shard(tmp_path, [*both, *samples(0, 9)]).classes == ("0", "1", "2")


def test_without_validation_and_test_some_images_of_train_are_taken(made):
    task = load(**made | {"validation": (), "test": (), "shifts": {}})
    assert len(task.train) + len(task.validation) + len(task.tests["test"]) == 36
    assert len(task.notes) == 2
    assert len(task.train.blocks) == len(task.train)
    assert len(task.validation.blocks) == len(task.validation)


def test_folders_hidden_files_and_other_members_are_passed_over(tmp_path):
    members = [("a/._0.png", b"mac"), ("README", b"read me"), ("a/stats.json", b"{}"), ("x.seg.png", b"mask")]
    task = one_shard(tmp_path, [*members, *((f"./a/{name}", data) for name, data in samples(0, 9))])
    assert sorted(p for s in task.splits().values() for p in s.paths)[0] == "train.tar::a/000000.png"
    assert sum(map(len, task.splits().values())) == 9


def test_a_dot_in_a_folder_name_is_not_an_extension(tmp_path):
    task = one_shard(tmp_path, [(f"v1.0/{name}", data) for name, data in samples(0, 9)])
    assert task.classes == ("0", "1", "2")


def test_extensions_may_be_named(tmp_path):
    two = [(f"{key:06d}.seg.png", image(900 + key, 0)) for key in range(9)]
    task = one_shard(tmp_path, [*two, *samples(0, 9)], image=".SEG.png")
    assert all(path.endswith(".seg.png") for path in task.train.paths)


def test_shards_that_are_sorted_by_class_are_told(tmp_path):
    for shard in range(6):
        part = [m for key in range(30) if key % 3 == shard // 2 for m in samples(1000 * shard * 3 + key, 1)]
        write_tar(tmp_path / "set" / f"train{shard}.tar", part)
    options = {"root": str(tmp_path / "set"), "cache": str(tmp_path / "cache"), "window": 2}
    assert "sorted by class, and 2 are mixed at a time" in load(**options).notes[-1]
    assert not any("sorted" in note for note in load(**options | {"window": 6}).notes)


# The index


def test_the_index_is_made_once_and_nothing_is_written_beside_the_data(made, tmp_path):
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "shards").rglob("*")}
    task = load(**made)
    written = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*")}
    assert len([path for path in written if path.suffix == ".npz"]) == 7
    assert load(**made).fingerprint() == task.fingerprint()
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*")} == written
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "shards").rglob("*")} == before


def test_another_shard_or_another_layout_gets_another_index(made, tmp_path):
    load(**made)
    write_tar(tmp_path / "shards" / "train-000.tar", samples(5000, 12))
    task = load(**made)
    assert task.train.paths[0] == "train-000.tar::005000.png"
    with pytest.raises(ValueError, match=r"000\.tar holds no images \(jpg\)"):
        load(**made | {"image": "jpg"})


def test_half_an_index_is_made_anew(made, tmp_path):
    task = load(**made)
    for path in (tmp_path / "cache").rglob("*.npz"):
        path.write_bytes(path.read_bytes()[:100])
    assert load(**made).fingerprint() == task.fingerprint()


def test_the_index_holds_no_pickle(made, tmp_path):
    load(**made)
    for path in (tmp_path / "cache").rglob("*.npz"):
        with np.load(path, allow_pickle=False) as stored:
            assert {stored[name].dtype.kind for name in stored.files} <= {"S", "i"}


# Behind a URL


@pytest.mark.parametrize("keep", [0, 4])
def test_remote_shards_are_the_same_task(remote, made, keep):
    far, near = load(**remote | {"keep": keep}), load(**made)
    assert far.fingerprint() == near.fingerprint()
    for a, b in zip(far.splits().values(), near.splits().values(), strict=True):
        assert all(a.source.read(path) == b.source.read(path) for path in a.paths)


def test_an_epoch_fetches_each_shard_once_whatever_the_number_of_workers(remote, file_server):
    task = load(**remote)
    file_server.asked.clear()
    batches = training_batches(task.train, SPEC, DataConfig(workers=2), batch_size=4, seed=0)
    epoch = list(islice(batches, 9))
    batches.close()
    assert sorted(torch.cat([batch.index for batch in epoch]).tolist()) == list(range(36))
    train = [path for path in file_server.asked if "train" in path]
    assert sorted(set(train)) == sorted(train)
    shards = list((Path(remote["cache"]) / "shards").iterdir())
    assert len(shards) <= 4


def test_an_epoch_by_byte_range_reads_each_image_and_no_more(remote, file_server):
    task = load(**remote | {"keep": 0})
    file_server.asked.clear()
    file_server.sent = 0
    batches = training_batches(task.train, SPEC, DataConfig(workers=2), batch_size=4, seed=0)
    list(islice(batches, 9))
    batches.close()
    size = sum(len(image(key, key % 3)) for shard in range(4) for key in range(100 * shard, 100 * shard + 9))
    assert size <= file_server.sent <= size * 1.5  # workers read ahead into the next epoch
    assert not (Path(remote["cache"]) / "shards").exists()


def test_without_byte_ranges_whole_shards_are_fetched(remote, file_server, monkeypatch):
    monkeypatch.setattr(storage, "PAUSES", (0.0, 0.0, 0.0))
    file_server.ranges = False
    task = load(**remote)
    assert len(task.train.source.read(task.train.paths[-1])) > 100
    by_range = load(**remote | {"keep": 0}).train
    with pytest.raises(Unreachable, match=r"task\.keep"):
        by_range.source.read(by_range.paths[0])


def test_a_shard_that_is_replaced_while_it_is_used_is_not_mixed_with_its_old_index(remote, file_server):
    task = load(**remote)
    for path in (Path(remote["cache"]) / "shards").iterdir():
        path.unlink()
    write_tar(file_server.root / "shards" / "train-000.tar", samples(0, 2))
    with pytest.raises(ValueError, match=r"train-000\.tar: \d+ bytes came, it should have"):
        task.train.source.read(task.train.paths[0])


def test_a_server_that_is_down_stops_the_run_and_no_image_is_called_broken(remote, file_server, monkeypatch):
    monkeypatch.setattr(storage, "PAUSES", (0.0, 0.0, 0.0))
    task = load(**remote | {"keep": 0})
    file_server.fail = 10**6
    with pytest.raises(Unreachable, match=r"train-00\d\.tar cannot be read"):
        next(training_batches(task.train, SPEC, HERE, batch_size=4, seed=0))


def test_the_source_travels_to_worker_processes(remote):
    split = load(**remote).train
    copy = pickle.loads(pickle.dumps(split))
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.map(copy.source.read, [split.paths[0]]) == [split.source.read(split.paths[0])]


def test_keeping_fewer_shards_than_training_reads_at_a_time_is_refused(remote):
    with pytest.raises(ValueError, match=r"task\.keep=3: training with task\.window=2 .* up to 4 remote shards"):
        load(**remote | {"keep": 3})
    load(**remote | {"keep": 1, "window": 0, "train": "train-000.tar", "validation": (), "test": (), "shifts": {}})


@pytest.mark.parametrize("keep", [0, 4])
def test_an_epoch_over_http_that_is_killed_goes_on_at_the_exact_sample(remote, file_server, keep, stream):
    options = remote | {"keep": keep}
    whole = stream("webdataset", options, start=0, last=14)
    assert [step for step, _, _ in whole] == list(range(15))
    assert len({path for _, paths, _ in whole[:7] for path in paths}) == 35  # of 36: 2.08 epochs in all
    for path in (Path(remote["cache"]) / "shards").glob("*"):
        path.unlink()
    first = stream("webdataset", options, start=0, last=14, workers=2, kill_after=4)
    file_server.asked.clear()
    second = stream("webdataset", options, start=4, last=14)
    assert first + second == whole
    if keep == 0:  # one request for each image, from the first that was not yet seen; small ones are then remembered
        asked = [path.rpartition("/")[2] for path in file_server.asked if "train" in path]
        needed = dict.fromkeys(path for _, paths, _ in second for path in paths)
        assert asked == [path.partition("::")[0] for path in needed]


def test_a_run_over_http_that_is_killed_ends_as_an_undisturbed_one(remote, file_server, tmp_path):
    from safetensors.torch import load_file

    given = {key: json.dumps(value) if isinstance(value, dict) else value for key, value in remote.items()}
    words = ["--task", "webdataset", *(f"task.{key}={value}" for key, value in given.items()), "engine.batch_size=6"]
    small = ["--backbone", "tiny", "--method", "flyp", "engine.epochs=3", "engine.precision=32", "engine.save_every=2"]

    def command(folder):
        return [sys.executable, "-m", "surefoot", "train", *words, *small, "data.workers=0", "-o", str(folder)]

    subprocess.run(command(tmp_path / "whole"), check=True, stderr=subprocess.DEVNULL)
    metrics = tmp_path / "killed" / "metrics.jsonl"
    process = subprocess.Popen(command(tmp_path / "killed"), start_new_session=True, stderr=subprocess.DEVNULL)
    while process.poll() is None and (not metrics.is_file() or len(metrics.read_text().splitlines()) < 9):
        pass
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "killed" / "results.json").exists(), "the run was over before it was killed"
    subprocess.run(command(tmp_path / "killed"), check=True, stderr=subprocess.DEVNULL)
    ours, theirs = (load_file(tmp_path / name / "classifier" / "model.safetensors") for name in ("whole", "killed"))
    assert all(ours[name].equal(theirs[name]) for name in ours)


# Bad input


def bad(tmp_path, members, message, **options):
    with pytest.raises((ValueError, OSError), match=message):
        one_shard(tmp_path, members, **options)


FINE = samples(0, 9)


def test_keys_without_image_or_label_and_keys_that_come_twice_are_named(tmp_path):
    shard = r"train\.tar: "
    bad(tmp_path, [*FINE, ("a.png", b"x")], shard + r"1 of 10 images have no label \(first: a\.png\)")
    bad(tmp_path, [*FINE, ("a.cls", b"1")], shard + r"1 labels have no image .* \(first: a\)")
    bad(tmp_path, [*FINE, *samples(3, 1)], shard + r"the key '000003' stands for two images")
    bad(
        tmp_path,
        [*FINE, ("000003.jpg", b"x")],
        shard + r"the key '000003' .*\(000003\.png, 000003\.jpg\)(.|\n)*task\.image",
    )
    bad(tmp_path, [*FINE, ("000003.cls", b"1")], shard + r"000003\.cls stands there twice")


def test_labels_that_are_none_are_named(tmp_path):
    for content, reason in ((b"\xff\xfe", "codec"), (b"a\nb", "no class name"), (b"x" * 600, "no class name")):
        bad(tmp_path, [("a.png", b"x"), ("a.cls", content)], rf"train\.tar, a\.cls: .*{reason}")
    bad(tmp_path, [("a.png", b"x"), ("a.cls", b" ")], r"1 of 1 images have no label")
    bad(tmp_path, [("a.png", b"x"), ("a.cls", b"1" * (2**20 + 1))], r"a\.cls has 1048577 bytes")
    for content in (b"{", b'{"label": true}', b'{"label": 1.5}', b'{"label": [1]}', b"[" * 100_000):
        bad(tmp_path, [("a.png", b"x"), ("a.json", content)], r"a\.json: no label can be read")
    for content in (b"[]", b'{"other": 1}'):
        bad(tmp_path, [("a.png", b"x"), ("a.json", content)], r"have no label .*field 'label'")


def test_a_label_outside_the_class_list_is_named(made, tmp_path):
    write_tar(tmp_path / "shards" / "test.tar", [("a.png", image(1, 1)), ("a.cls", b"3")])
    with pytest.raises(ValueError, match=r"1 labels lie outside the list of 3 classes: \['3'\]"):
        load(**made)


def test_a_class_that_only_a_test_shard_has_is_named(made, tmp_path):
    (tmp_path / "shards" / "classes.yaml").unlink()
    write_tar(tmp_path / "shards" / "test.tar", [("a.png", image(1, 1)), ("a.cls", b"3")])
    with pytest.raises(ValueError, match=r"1 of 4 classes have no training image .*\['3'\]"):
        load(**made)


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("../0.png", tarfile.REGTYPE, "'../0.png', a path that leads out"),
        ("/0.png", tarfile.REGTYPE, "'/0.png', a path that leads out"),
        ("0.png", tarfile.SYMTYPE, "a symbolic link"),
        ("0.png", tarfile.LNKTYPE, "a hard link"),
        ("0.png", tarfile.CHRTYPE, "a character device"),
    ],
)
def test_a_shard_with_members_that_lead_elsewhere_is_refused(tmp_path, name, kind, message):
    (tmp_path / "set").mkdir()
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, "/etc/passwd"
    with tarfile.open(tmp_path / "set" / "train.tar", "w") as archive:
        archive.addfile(info, io.BytesIO())
    with pytest.raises(ValueError, match=rf"train\.tar.*{message}"):
        load(root=str(tmp_path / "set"), train="train.tar", cache=str(tmp_path / "cache"))


@pytest.mark.parametrize("share", [0.2, 0.5, 0.93])
def test_a_half_downloaded_shard_is_named(made, tmp_path, share):
    path = tmp_path / "shards" / "train-002.tar"
    end = 9 * 1024 + sum(512 + -(-len(image(200 + key, (200 + key) % 3)) // 512) * 512 for key in range(9))
    path.write_bytes(path.read_bytes()[: int(end * share)])
    with pytest.raises(ValueError, match=r"train-002\.tar.*cut short\?"):
        load(**made)


def test_a_shard_that_a_server_cuts_short_is_named(remote, file_server):
    path = file_server.root / "shards" / "train-002.tar"
    path.write_bytes(path.read_bytes()[:3000])
    for keep in (0, 4):
        with pytest.raises(ValueError, match=r"http.*train-002\.tar.*cut short\?"):
            load(**remote | {"keep": keep})


def test_an_image_member_that_is_larger_than_any_image_is_refused(tmp_path):
    info = tarfile.TarInfo("a.png")
    info.size = MAX_FILE_BYTES + 1
    (tmp_path / "set").mkdir()
    with (tmp_path / "set" / "train.tar").open("wb") as file:
        file.write(info.tobuf())
        file.truncate(512 + -(-info.size // 512) * 512 + 1024)  # a sparse file: takes no room on the disk
    with pytest.raises(ValueError, match=rf"train\.tar: a\.png has {info.size} bytes"):
        load(root=str(tmp_path / "set"), train="train.tar", cache=str(tmp_path / "cache"))


def test_a_broken_image_is_found_like_any_other(tmp_path):
    members = samples(0, 12)
    members[4] = (members[4][0], b"broken")
    task = one_shard(tmp_path, members)
    reasons = [bad.reason for split in task.splits().values() for bad in unreadable(split)]
    assert reasons == ["train.tar::000002.png: not an image, or a format that is not supported"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"root": ""}, r"task\.root is empty"),
        ({"root": "/nowhere"}, r"task\.root=/nowhere: there is no such folder"),
        ({"train": ()}, r"task\.train is empty"),
        ({"train": "train-{000..009}.tar"}, r"train-004\.tar: there is no such file"),
        ({"train": "no*.tar"}, r"task\.train='.*no\*\.tar': no file has such a name"),
        ({"test": "train-001.tar"}, r"task\.test names .*train-001\.tar, which train has too"),
        ({"classes": "/nowhere.yaml"}, r"task\.classes='/nowhere.yaml'"),
    ],
)
def test_options_that_lead_nowhere_are_named(made, options, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        load(**made | options)


def test_a_read_of_what_is_not_there_says_so(made):
    source = load(**made).train.source
    for path in ("train-000.tar::x.png", "train-009.tar::000000.png", "x.png"):
        with pytest.raises(FileNotFoundError, match="there is no"):
            source.read(path)


def test_evaluation_reads_a_shard_from_its_beginning_to_its_end(remote, file_server):
    task = load(**remote | {"keep": 0})
    file_server.asked.clear()
    list(evaluation_batches(task.train, load_backbone("tiny").image_spec, HERE))
    names = [path.rpartition("/")[2] for path in file_server.asked]
    assert names == [f"train-{shard:03d}.tar" for shard in range(4) for _ in range(9)]


def test_the_commands_of_the_page_are_understood():
    page = Path(__file__).parents[2] / "docs" / "tasks" / "webdataset.md"
    commands = [shlex.split(line) for line in re.findall(r"^    surefoot (.+)$", page.read_text(), re.MULTILINE)]
    assert len(commands) == 4
    for words in commands:
        assert "webdataset" in words
        given = parse_settings(word for word in words if word.startswith("task."))
        options = {name.removeprefix("task."): value for name, value in given.items()}
        check_options(WebDataset.Config, "task", {"root": words[words.index("--root") + 1], **options})


def test_shards_that_only_their_queries_tell_apart_have_names_of_their_own():
    memory = fsspec.filesystem("memory")
    for name in ("a", "b"):
        memory.pipe(f"/get?f={name}.tar", b"0" * (512 + ord(name)))
    shards = find_shards(["memory://get?f=a.tar", "memory://get?f=b.tar"])
    assert len({shard.name for shard in shards}) == 2
