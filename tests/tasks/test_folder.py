import csv
import zipfile

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from PIL import Image
from pydantic import ValidationError

from surefoot.tasks.folder import Folder


def put(root, *paths, count=1):
    """Write `count` small images into each of the folders (a trailing name without dot) or files."""
    for path in paths:
        files = [path] if "." in path else [f"{path}/{i}.png" for i in range(count)]
        for file in files:
            (root / file).parent.mkdir(parents=True, exist_ok=True)
            shade = len(list(root.rglob("*"))) % 256
            Image.new("RGB", (4, 4), (shade, 0, 0)).save(root / file)
    return root


def load(root, **options):
    return Folder(Folder.Config(root=str(root), **options)).load()


def zipped(folder, file):
    with zipfile.ZipFile(file, "w") as archive:
        for path in sorted(folder.rglob("*")):
            archive.write(path, path.relative_to(folder.parent))
    return file


def write_csv(root, rows, name="manifest.csv", encoding="utf-8"):
    with (root / name).open("w", newline="", encoding=encoding) as file:
        csv.writer(file).writerows(rows)
    return root / name


def sizes(task):
    return {name: len(split) for name, split in task.splits().items()}


# Folders


def test_split_folders_are_used_as_they_are(tmp_path):
    put(tmp_path, "train/cat", "train/dog", count=3)
    put(tmp_path, "val/cat", "val/dog", "test/dog", count=2)
    task = load(tmp_path)
    assert task.classes == ("cat", "dog")
    assert sizes(task) == {"train": 6, "validation": 4, "test": 2}
    assert task.tests["test"].labels.tolist() == [1, 1]
    assert task.notes == ()
    assert task.name == tmp_path.name


def test_other_folders_beside_train_are_shifts(tmp_path):
    put(tmp_path, "train/cat", "train/dog", "valid/cat", "test/cat", "sketch/cat", "blurry/dog", count=2)
    task = load(tmp_path)
    assert (task.home, task.shifts) == ("test", ("blurry", "sketch"))
    assert task.tests["sketch"].domain == "sketch"


def test_domains_without_splits_need_a_home(tmp_path):
    put(tmp_path, "photo/cat", "photo/dog", "sketch/cat", "sketch/dog", count=10)
    with pytest.raises(ValueError, match=r"domains \['photo', 'sketch'\].*set task\.home"):
        load(tmp_path)
    task = load(tmp_path, home="photo")
    assert sizes(task) == {"train": 14, "validation": 2, "photo": 4, "sketch": 20}
    assert (task.home, task.shifts) == ("photo", ("sketch",))
    with pytest.raises(ValueError, match=r"task\.home='foto' is no domain.*photo"):
        load(tmp_path, home="foto")


@pytest.mark.parametrize("layout", ["{split}/{domain}/{name}", "{domain}/{split}/{name}"])
def test_splits_and_domains_may_stand_in_either_order(tmp_path, layout):
    for split, domain in (("train", "photo"), ("val", "photo"), ("test", "photo"), ("test", "sketch")):
        put(tmp_path, *(layout.format(split=split, domain=domain, name=name) for name in ("cat", "dog")))
    task = load(tmp_path)
    assert sizes(task) == {"train": 2, "validation": 2, "photo": 2, "sketch": 2}
    assert task.notes == ()


def test_a_shift_with_splits_is_tested_on_its_test_split_and_says_so(tmp_path):
    for domain in ("photo", "sketch"):
        put(tmp_path, f"train/{domain}/cat", f"train/{domain}/dog", count=5)
        put(tmp_path, f"val/{domain}/cat", f"test/{domain}/cat", count=2)
    task = load(tmp_path, home="photo")
    assert len(task.tests["sketch"]) == 2
    assert task.notes == ("sketch: 12 images that are not in its test split are not used",)


def test_one_folder_is_parted_by_class_and_the_task_notes_it(tmp_path):
    put(tmp_path, "cat", count=20)
    put(tmp_path, "dog", count=10)
    put(tmp_path, "rare", count=3)
    task = load(tmp_path)
    counts = {name: np.bincount(split.labels).tolist() for name, split in task.splits().items()}
    assert counts == {"train": [14, 7, 1], "validation": [2, 1, 1], "test": [4, 2, 1]}
    assert [note.split(":")[0] for note in task.notes] == ["no test split was given", "no validation split was given"]
    paths = [path for split in task.splits().values() for path in split.paths]
    assert len(set(paths)) == len(paths) == 33


def test_the_parting_follows_its_own_seed_only(tmp_path):
    put(tmp_path, "cat", "dog", count=20)
    source = Folder(Folder.Config(root=str(tmp_path)))
    assert source.load().fingerprint() == source.load().fingerprint()
    assert load(tmp_path, split_seed=1).fingerprint() != load(tmp_path).fingerprint()


def test_a_missing_validation_split_is_taken_from_training_images_only(tmp_path):
    put(tmp_path, "train/cat", "train/dog", count=10)
    put(tmp_path, "test/cat", "test/dog", count=5)
    task = load(tmp_path)
    assert sizes(task) == {"train": 18, "validation": 2, "test": 10}
    assert "2 of 20 training images were taken" in task.notes[0]


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        (["a.png", "b.png"], r"\[0\] folders deep \(a\.png\)"),
        (["cat/a.png", "x/cat/a.png"], r"\[1, 2\] folders deep \(cat/a\.png, x/cat/a\.png\)"),
        (["train/a.png", "test/a.png"], "in a split but in no class folder"),
        (["val/cat/a.png", "test/cat/a.png"], r"found \['test', 'val'\] but no train folder"),
        (["a/b/cat/a.png", "c/d/dog/a.png"], "neither the first nor the second"),
    ],
)
def test_a_wrong_layout_says_what_was_found_and_what_is_expected(tmp_path, paths, message):
    put(tmp_path, *paths)
    with pytest.raises(ValueError, match=message) as error:
        load(tmp_path)
    assert "expected one of\n  train/<class>/*.jpg" in str(error.value)


def test_a_folder_without_images_says_so(tmp_path):
    (tmp_path / "train").mkdir()
    (tmp_path / "readme.txt").write_text("no images")
    with pytest.raises(ValueError, match="holds no images"):
        load(tmp_path)


def test_one_class_is_not_enough(tmp_path):
    put(tmp_path, "train/cat", count=5)
    with pytest.raises(ValueError, match="found 1 class"):
        load(tmp_path)


def test_a_class_without_training_images_is_named(tmp_path):
    put(tmp_path, "train/cat", "train/dog", "test/eel", count=4)
    with pytest.raises(ValueError, match=r"1 of 3 classes have no training image.*\['eel'\]"):
        load(tmp_path)


@pytest.mark.parametrize("file", ["", "1.heic"])
def test_a_class_folder_without_an_image_is_named_and_not_passed_over(tmp_path, file):
    pets = put(tmp_path / "pets", "train/cat", "train/dog", count=5)
    (pets / "train" / "eel").mkdir()
    if file:
        (pets / "train" / "eel" / file).touch()
    for root in (pets, zipped(pets, tmp_path / "pets.zip")):
        with pytest.raises(ValueError, match=r"no image \(.*\) lies in the class folders .*train/eel; add some"):
            load(root)


def test_a_test_split_may_lack_a_class_and_other_folders_are_passed_over(tmp_path):
    put(tmp_path, "train/cat", "train/dog", "test/cat", count=5)
    (tmp_path / "test" / "dog").mkdir()
    (tmp_path / "papers").mkdir()
    assert sizes(load(tmp_path))["test"] == 5


@pytest.mark.parametrize(("root", "message"), [("", "task.root is empty"), ("/no/such", "no such file or folder")])
def test_a_root_that_is_not_there_is_an_error(root, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        load(root)


def test_a_root_of_another_kind_is_an_error(tmp_path):
    file = tmp_path / "data.tar"
    file.touch()
    with pytest.raises(ValueError, match=r"\.tar file; give a folder"):
        load(file)


def test_hidden_files_and_other_files_are_passed_over(tmp_path):
    put(tmp_path, "cat", "dog", "cat/.thumb.png", ".cache/cat/a.png", count=5)
    (tmp_path / "cat" / "notes.txt").write_text("soft")
    assert sum(sizes(load(tmp_path)).values()) == 10


def test_fractions_must_leave_something():
    with pytest.raises(ValidationError, match="leave nothing to train on"):
        Folder.Config(validation_fraction=0.5, test_fraction=0.5)


# classes.yaml


def test_a_map_renames_classes(tmp_path):
    put(tmp_path, "n01440764", "dog", count=5)
    (tmp_path / "classes.yaml").write_text(
        "classes: {n01440764: tench}\ntemplates: ['a {}.']\ncontexts: ['a drawn {}.']"
    )
    task = load(tmp_path)
    assert task.classes == ("dog", "tench")
    assert (task.templates, task.contexts) == (("a {}.",), ("a drawn {}.",))


def test_a_list_orders_classes_and_merges_synonyms(tmp_path):
    put(tmp_path, "house", "home", "t_01", count=5)
    (tmp_path / "classes.yaml").write_text("classes: [{name: tree, folder: t_01}, {name: house, synonyms: [home]}]")
    task = load(tmp_path)
    assert task.classes == ("tree", "house")
    assert sum((split.labels == 1).sum() for split in task.splits().values()) == 10


@pytest.mark.parametrize(
    ("chosen", "names"),
    [
        ("name", (("tree",), ("pet",))),
        ("synonyms", (("tree",), ("cat", "dog"))),
        ("both", (("tree",), ("pet", "cat", "dog"))),
    ],
)
def test_sentences_may_call_a_class_by_its_synonyms(tmp_path, chosen, names):
    put(tmp_path, "cat", "dog", "tree", count=5)
    (tmp_path / "classes.yaml").write_text("classes: [tree, {name: pet, synonyms: [cat, dog, cat]}]")
    task = load(tmp_path, prompt_names=chosen)
    assert (task.classes, task.names) == (("tree", "pet"), names)
    assert task.fingerprint() == load(tmp_path).fingerprint()


@pytest.mark.parametrize("text", ["templates: ['a {}.']", "classes: {cat: kitten}", "classes: [cat, dog]"])
def test_synonyms_that_are_wanted_but_not_there_are_an_error(tmp_path, text):
    put(tmp_path, "cat", "dog", count=5)
    (tmp_path / "classes.yaml").write_text(text)
    with pytest.raises(ValueError, match=r"task\.prompt_names=both: .* no synonyms; list all classes"):
        load(tmp_path, prompt_names="both")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("classes: [cat]", r"lie outside the list of 1 classes: \['dog'\]"),
        ("classes: [cat, dog, cat]", "'cat' stands for two classes"),
        ("classes: {cta: Cat}", r"names \['Cat'\], but no label is one; labels are \['cat', 'dog'\]"),
        ("classes: {cat: pet, dog: pet}", "cat and dog are both called 'pet'"),
        ("classes: cat", "list or a map"),
        ("clases: [cat]", r"found \['clases'\]"),
        ("classes: [{name: cat, synonym: [pussy]}]", "name, synonyms and folder"),
        ("classes: [{name: cat, synonyms: tom}]", "must be a list"),
        ("templates: 'a {}'", "list of sentences"),
        ("templates: ['a cat']", "exactly once"),
        ("classes: [", "not valid YAML"),
        ("classes: !!python/object/apply:os.getcwd []", "not valid YAML"),
    ],
)
def test_mistakes_in_classes_yaml_are_named(tmp_path, text, message):
    put(tmp_path, "cat", "dog", count=5)
    (tmp_path / "classes.yaml").write_text(text)
    with pytest.raises(ValueError, match=message):
        load(tmp_path)


def test_a_class_of_the_list_without_images_is_named(tmp_path):
    put(tmp_path, "cat", "dog", count=5)
    (tmp_path / "classes.yaml").write_text("classes: [cat, dog, eel]")
    with pytest.raises(ValueError, match=r"\['eel'\]"):
        load(tmp_path)


# Tables


def test_a_csv_gives_splits_domains_and_groups(tmp_path):
    put(tmp_path, "a.png", "b.png", "c.png", "d.png", "e.png")
    rows = [
        ["path", "label", "split", "domain", "group", "remark"],
        ["a.png", "cat", "train", "photo", "indoor", "x"],
        ["b.png", "dog", "train", "photo", "outdoor", ""],
        ["c.png", "dog", "val", "photo", "", "y"],
        ["./d.png", "cat", "test", "photo", "indoor", "z"],
        ["e.png", "cat", "", "sketch", "", ""],
    ]
    for encoding in ("utf-8", "utf-8-sig"):
        task = load(write_csv(tmp_path, rows, encoding=encoding))
        assert sizes(task) == {"train": 2, "validation": 1, "photo": 1, "sketch": 1}
        assert task.group_names == ("indoor", "outdoor")
        assert task.train.groups.tolist() == [0, 1]
        assert task.validation.groups.tolist() == [-1]
    assert load(tmp_path).fingerprint() == task.fingerprint()  # a folder with manifest.csv


def test_numbers_count_the_classes_of_the_list(tmp_path):
    put(tmp_path, "i", count=8)
    rows = [["path", "label"], *([f"i/{i}.png", str(i % 2)] for i in range(8))]
    write_csv(tmp_path, rows)
    assert load(tmp_path).classes == ("0", "1")
    (tmp_path / "classes.yaml").write_text("classes: [cat, dog]")
    assert load(tmp_path).classes == ("cat", "dog")
    rows[1][1] = "2"
    write_csv(tmp_path, rows)
    with pytest.raises(ValueError, match=r"1 labels lie outside the list of 2 classes: \['2'\]"):
        load(tmp_path)


def test_a_parquet_file_reads_like_a_csv(tmp_path):
    put(tmp_path, "i", count=8)
    columns = {"path": [f"i/{i}.png" for i in range(8)], "label": [i % 2 for i in range(8)], "size": [1.5] * 8}
    pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / "pets.parquet")
    write_csv(tmp_path, [["path", "label"], *([f"i/{i}.png", i % 2] for i in range(8))])
    assert load(tmp_path / "pets.parquet").fingerprint() == load(tmp_path / "manifest.csv").fingerprint()
    (tmp_path / "half.parquet").write_bytes((tmp_path / "pets.parquet").read_bytes()[:100])
    with pytest.raises(ValueError, match="not a whole Parquet file"):
        load(tmp_path / "half.parquet")


def test_images_may_lie_elsewhere(tmp_path):
    put(tmp_path, "pictures/i", count=8)
    (tmp_path / "tables").mkdir()
    file = write_csv(tmp_path / "tables", [["path", "label"], *([f"i/{i}.png", "ab"[i % 2]] for i in range(8))])
    assert sum(sizes(load(file, images=str(tmp_path / "pictures"))).values()) == 8
    with pytest.raises(FileNotFoundError, match=r"8 of 8 images are not in .*task\.images"):
        load(file)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([["file", "label"], ["a.png", "cat"]], r"no column path; found the columns \['file', 'label'\]"),
        ([["path", "label"]], "has no rows"),
        ([], "no column path and no label"),
        ([["path", "label"], ["a.png", ""]], "row 1 has no label"),
        ([["path", "label"], ["a.png"]], "row 1 has 1 values for 2 columns"),
        ([["path", "label", "split"], ["a.png", "cat", "tset"]], r"split holds \['tset'\]; known are"),
        ([["path", "label", "split"], ["a.png", "cat", "train"], ["a.png", "dog", ""]], "1 of 2 home rows have no"),
        ([["path", "label", "split"], ["a.png", "cat", "test"], ["a.png", "dog", "test"]], "nothing to train on"),
        ([["path", "label"], ["z.png", "cat"]], r"1 of 1 images are not in folder .*first: z\.png"),
    ],
)
def test_mistakes_in_a_table_are_named(tmp_path, rows, message):
    put(tmp_path, "a.png")
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        load(write_csv(tmp_path, rows))


def test_a_table_in_another_encoding_is_refused(tmp_path):
    (tmp_path / "x.csv").write_bytes("path,label\na.png,Kätzchen".encode("latin-1"))
    with pytest.raises(ValueError, match=r"not in UTF-8: line 2 holds the byte 0xe4 \(near 'a\.png,Kätzchen'"):
        load(tmp_path / "x.csv")


@pytest.mark.parametrize("by", [";", "\t", "|"])
def test_a_table_may_have_other_separators(tmp_path, by):
    put(tmp_path, "i", count=8)
    file = write_csv(tmp_path, [["path", "label"], *([f"i/{i}.png", "a,b"[i % 2 * 2]] for i in range(8))])
    expected = load(file).fingerprint()
    file.write_text(file.read_text().replace(",", by))
    assert load(file).fingerprint() == expected


def test_images_without_a_row_are_noted_in_folders_and_zips(tmp_path):
    folder = put(tmp_path / "pets", "i", count=9)
    (folder / "i" / "readme.txt").touch()
    write_csv(folder, [["path", "label"], *([f"i/{i}.png", "ab"[i % 2]] for i in range(8))])
    for root in (folder, folder / "manifest.csv", zipped(folder, tmp_path / "pets.zip")):
        assert load(root).notes[0].startswith("1 images that lie beside those of")
        assert load(root).notes[0].endswith("i/8.png)")


def test_a_group_that_has_no_training_image_is_noted(tmp_path):
    put(tmp_path, "i", count=6)
    rows = [[f"i/{i}.png", "ab"[i % 2], ("train", "val", "test")[i // 2], "in"] for i in range(6)]
    rows[5][3] = "im"
    write_csv(tmp_path, [["path", "label", "split", "group"], *rows])
    assert load(tmp_path).notes == ("groups without a training image: 1 (im (1 elsewhere))",)


# Zips


@pytest.mark.parametrize("wrapped", [True, False])
def test_a_zip_reads_like_its_folder(tmp_path, wrapped):
    folder = put(tmp_path / "pets", "train/cat", "train/dog", "test/cat", count=5)
    (folder / "classes.yaml").write_text("classes: {cat: kitten}")
    file = zipped(folder, tmp_path / "pets.zip")
    if not wrapped:
        with zipfile.ZipFile(file) as archive, zipfile.ZipFile(tmp_path / "flat.zip", "w") as flat:
            for item in archive.namelist():
                flat.writestr(item.removeprefix("pets/") or "x/", archive.read(item))
        file = tmp_path / "flat.zip"
    task = load(file)
    assert task.classes == load(folder).classes == ("kitten", "dog")
    assert sizes(task) == sizes(load(folder))
    assert task.train.source.read(task.train.paths[0]).startswith(b"\x89PNG")


def test_a_zip_with_a_manifest_reads_it(tmp_path):
    folder = put(tmp_path / "pets", "i", count=8)
    write_csv(folder, [["path", "label"], *([f"i/{i}.png", "ab"[i % 2]] for i in range(8))])
    assert load(zipped(folder, tmp_path / "pets.zip")).classes == ("a", "b")


def test_half_a_zip_is_refused(tmp_path):
    whole = zipped(put(tmp_path / "pets", "cat", "dog", count=5), tmp_path / "pets.zip").read_bytes()
    (tmp_path / "pets.zip").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="not a whole zip file"):
        load(tmp_path / "pets.zip")


def test_a_class_renamed_to_another_classes_name_is_refused(tmp_path):
    put(tmp_path, "train/cat", "train/dog", "train/owl", count=3)
    (tmp_path / "classes.yaml").write_text("classes: {cat: dog}\n")
    with pytest.raises(ValueError, match="cat and dog are both called 'dog'"):
        load(tmp_path)


@pytest.mark.parametrize("split", ["test", "validation"])
def test_a_split_folder_without_images_is_refused(tmp_path, split):
    put(tmp_path, "train/cat", "train/dog", count=6)
    (tmp_path / split / "cat").mkdir(parents=True)
    with pytest.raises(ValueError, match=f"the split folder {split} holds no image"):
        load(tmp_path)
