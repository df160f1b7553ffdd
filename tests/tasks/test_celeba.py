import shutil

import pytest

from surefoot.tasks.celeba import CelebA

GROUPS = ("blond men", "blond women", "not blond men", "not blond women")


@pytest.fixture
def root(tmp_path, stand_in):
    stand_in("celeba").make(tmp_path)
    return tmp_path


def load(root, **options):
    return CelebA(CelebA.Config(root=str(root), **options)).load()


def counts(task):
    return {name: list(task.group_counts(split).values()) for name, split in task.splits().items()}


def test_splits_labels_and_groups_are_those_of_the_lists(root):
    task = load(root)
    assert task.classes == ("not blond", "blond")
    assert task.names == (("person whose hair is not blond",), ("person with blond hair",))
    assert (task.home, task.shifts, task.group_names, task.notes) == ("test", (), GROUPS, ())
    assert counts(task) == {"train": [1, 4, 5, 5], "validation": [1, 2, 2, 2], "test": [2, 2, 3, 3]}
    for split in task.splits().values():
        assert [task.group_names[group].startswith("blond") for group in split.groups] == split.labels.tolist()
    assert task.train.paths[:2] == ("000001.jpg", "000002.jpg")
    assert task.train.source.read("000001.jpg").startswith(b"\xff\xd8")


def test_the_authors_text_files_read_like_the_csv_files(root, tmp_path_factory, stand_in):
    text = tmp_path_factory.mktemp("text")
    stand_in("celeba").make_text(text)
    assert load(text).fingerprint() == load(root).fingerprint()


@pytest.mark.parametrize("header", ["id,filename,split,y,a", "id,image_id,partition,Blond_Hair,Male"])
def test_one_metadata_file_reads_like_both_lists(root, header):
    expected = load(root).fingerprint()
    attributes = (root / "list_attr_celeba.csv").read_text().splitlines()[1:]
    partition = (root / "list_eval_partition.csv").read_text().splitlines()[1:]
    rows = [header]
    for number, (these, those) in enumerate(zip(attributes, partition, strict=True)):
        name, _, blond, male, _ = these.split(",")
        rows.append(f"{number},{name},{those.split(',')[1]},{max(0, int(blond))},{max(0, int(male))}")
    (root / "list_attr_celeba.csv").unlink()
    (root / "list_eval_partition.csv").unlink()
    (root / "metadata.csv").write_text("\n".join(rows))
    assert load(root).fingerprint() == expected


def test_the_order_of_the_partition_does_not_matter(root):
    expected = load(root).fingerprint()
    header, *rows = (root / "list_eval_partition.csv").read_text().splitlines()
    (root / "list_eval_partition.csv").write_text("\n".join([header, *reversed(rows)]))
    assert load(root).fingerprint() == expected


def test_images_may_lie_in_a_folder_of_the_same_name(root):
    expected = load(root).fingerprint()
    shutil.move(root / "img_align_celeba", root / "inner")
    (root / "img_align_celeba").mkdir()
    shutil.move(root / "inner", root / "img_align_celeba" / "img_align_celeba")
    assert load(root).fingerprint() == expected


# Bad input


def test_what_is_missing_is_told_with_where_to_get_it(root):
    (root / "list_eval_partition.csv").unlink()
    with pytest.raises(
        ValueError, match=r"(?s)lacks 1 of 3 places.*there    list_attr_celeba\.csv.*MISSING  list_eval"
    ):
        load(root)


def test_lists_that_do_not_fit_are_named(root):
    text = (root / "list_eval_partition.csv").read_text()
    (root / "list_eval_partition.csv").write_text("\n".join(text.splitlines()[:-2]))
    with pytest.raises(ValueError, match=r"list_eval_partition\.csv lacks 2 of 32 images \(first: 000031\.jpg\)"):
        load(root)
    (root / "list_eval_partition.csv").write_text(text + "999999.jpg,0\n")
    with pytest.raises(ValueError, match=r"list_attr_celeba\.csv lacks 1 of 33 images \(first: 999999\.jpg\)"):
        load(root)


def test_a_text_list_cut_short_is_named(tmp_path, stand_in):
    stand_in("celeba").make_text(tmp_path)
    file = tmp_path / "Anno" / "list_attr_celeba.txt"
    file.write_text(file.read_text()[:-5])
    with pytest.raises(ValueError, match=r"row 32 has 3 values for 5 columns; is the file whole"):
        load(tmp_path)


def test_a_value_that_is_neither_yes_nor_no_is_named(root):
    file = root / "list_attr_celeba.csv"
    file.write_text(file.read_text().replace("000003.jpg,-1,-1,", "000003.jpg,-1,?,"))
    with pytest.raises(ValueError, match=r"1 rows hold \['\?'\] .*first: row 3\); known are -1 \(not blond\)"):
        load(root)


def test_an_archive_that_was_not_unpacked_whole_is_named_or_skipped(root):
    (root / "img_align_celeba" / "000032.jpg").unlink()
    with pytest.raises(FileNotFoundError, match=r"1 of 32 images are not in .*first: 000032\.jpg.*on_missing=skip"):
        load(root)
    assert len(load(root, on_missing="skip").tests["test"]) == 9
