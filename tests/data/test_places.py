import pytest

from surefoot.data.places import Place, inventory, require

TRAIN = Place("train", "training images, a folder a class", "https://example.org/get", "research only")
SHARDS = Place("shards/*.tar", "shards", "https://example.org/shards", "not stated", needed=False)


def test_what_is_there_and_what_is_missing_is_told_with_where_to_get_it(tmp_path):
    (tmp_path / "train").mkdir()
    found = inventory(tmp_path, [TRAIN, SHARDS])
    assert (found.there, found.missing, found.lacking) == ((TRAIN,), (SHARDS,), ())
    assert "there    train: training images" in found.text()
    assert "optional shards/*.tar" in found.text()
    assert "https://example.org/shards (licence: not stated)" in found.text()


def test_a_pattern_is_there_with_one_file_that_fits(tmp_path):
    (tmp_path / "shards").mkdir()
    assert SHARDS in inventory(tmp_path, [SHARDS]).missing
    (tmp_path / "shards" / "0.tar").touch()
    assert SHARDS in inventory(tmp_path, [SHARDS]).there


def test_what_must_be_there_and_is_not_is_an_error_with_everything_to_get(tmp_path):
    with pytest.raises(ValueError, match=r"(?s)lacks 1 of 2 places.*MISSING  train.*research only"):
        require(tmp_path, [TRAIN, SHARDS])


@pytest.mark.parametrize(("root", "message"), [("", "task.root is empty"), ("nowhere", "no such folder")])
def test_a_root_that_is_not_there_is_named_with_all_that_is_expected_in_it(root, message):
    with pytest.raises(ValueError, match=rf"(?s){message}.*expected there:\n  MISSING  train: .*research only"):
        inventory(root, [TRAIN])


def test_a_file_as_root_is_named(tmp_path):
    (tmp_path / "sets.tar").touch()
    with pytest.raises(ValueError, match="is a file; unpack it and give the folder"):
        inventory(tmp_path / "sets.tar", [TRAIN])


def test_states_say_of_each_place_whether_it_is_there(tmp_path):
    (tmp_path / "train").mkdir()
    states = inventory(tmp_path, [SHARDS, TRAIN]).states()
    assert [(state.path, state.there) for state in states] == [("train", True), ("shards/*.tar", False)]
    assert states[1].licence == "not stated"
