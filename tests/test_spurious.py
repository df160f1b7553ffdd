from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from surefoot.data.manifest import ClassList
from surefoot.data.phrases import Fault
from surefoot.data.pools import read_pools
from surefoot.language_models.endpoint import Endpoint
from surefoot.language_models.local import LocalModel
from surefoot.spurious import MINIMUM, ROUNDS, Pool, ask, language_model, read_class_list, require_free, write_pool

PLACES = ["beach", "hill", "lawn", "road", "roof", "rug", "shelf", "sofa", "table", "wall"]
PETS = ClassList(names=("cat", "dog"), index={"cat": 0, "dog": 1, "hound": 1})


@dataclass
class Speaker:
    """A language model that gives these answers, and then the last one again and again."""

    answers: Sequence[str]
    asked: list[str] = field(default_factory=list)
    name: str = "speaker"

    def answer(self, request: str) -> str:
        self.asked.append(request)
        return self.answers[min(len(self.asked), len(self.answers)) - 1]


def on(*places: str) -> str:
    return "\n".join(f"on a {place}" for place in places)


def test_it_asks_again_for_what_is_missing_and_tells_what_it_has() -> None:
    speaker = Speaker([on(*PLACES[:4]), on(*PLACES[3:7]), on(*PLACES[7:])])
    pool = ask(speaker, PETS, count=9)
    assert pool.phrases == tuple(f"{{}} on a {place}" for place in PLACES[:9])
    assert pool.dropped == {Fault.repeated: 1}
    assert ["Write 9 short" in speaker.asked[0], "Write 5 short" in speaker.asked[1]] == [True, True]
    assert "write others: on a beach; on a hill; on a lawn; on a road." in speaker.asked[1]
    assert len(speaker.asked) == 3


def test_it_stops_when_an_answer_brings_nothing_new() -> None:
    speaker = Speaker([on(*PLACES)])
    assert len(ask(speaker, PETS, count=50).phrases) == 10
    assert len(speaker.asked) == 2


def test_the_rounds_are_bounded() -> None:
    speaker = Speaker([f"with {number} trees" for number in range(100)])
    assert len(ask(speaker, PETS, count=50).phrases) == ROUNDS == len(speaker.asked)


def test_synonyms_count_as_names_of_a_class() -> None:
    pool = ask(Speaker([on(*PLACES) + "\nbeside a hound\nwith two cats"]), PETS, count=10)
    assert pool.dropped == {Fault.names_class: 2}
    assert pool.summary() == "kept 10 phrases, dropped 2 lines (2 that name a class)"


def test_too_few_phrases_are_an_error_that_shows_the_answer() -> None:
    answer = "I cannot help\nwith that\x1b[2J\n" + on(*PLACES[: MINIMUM - 2])
    with pytest.raises(ValueError, match="--lm=speaker gave 3 phrases") as caught:
        ask(Speaker([answer, ""]), PETS, count=50)
    told = str(caught.value)
    assert r"begins 'I cannot help\nwith that\x1b[2J" in told
    assert "dropped 2 lines (1 with control characters, 1 that do not go on after a caption)" in told
    assert "Take a larger model that follows instructions; nothing was written" in told


def test_a_pool_is_written_so_that_it_is_read_again_and_says_where_it_is_from(tmp_path: Path) -> None:
    pool = Pool(("{} on a hill", "{} at sea"), {}, 12, "some\nmodel")
    write_pool(tmp_path / "new" / "pool.txt", pool)
    assert read_pools([str(tmp_path / "new" / "pool.txt")]) == pool.phrases
    lines = (tmp_path / "new" / "pool.txt").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "# Spurious phrases for 12 classes, by the language model some model."
    assert [line[0] for line in lines] == ["#", "#", "{", "{"]
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["pool.txt"]


def test_a_file_that_stands_is_replaced_by_force_only(tmp_path: Path) -> None:
    (tmp_path / "pool.txt").touch()
    with pytest.raises(ValueError, match=r"--output=.*pool\.txt exists; give another file, or --force"):
        require_free(tmp_path / "pool.txt", force=False)
    require_free(tmp_path / "pool.txt", force=True)
    require_free(tmp_path / "other.txt", force=False)
    with pytest.raises(ValueError, match="is a folder"):
        require_free(tmp_path, force=True)
    with pytest.raises(ValueError, match=r"--output=style is the name of a pool that ships; give .* style\.txt"):
        require_free(Path("style"), force=True)


def test_without_a_language_model_the_pools_that_ship_are_named() -> None:
    with pytest.raises(ValueError, match=r"^--lm is not given.*method\.pools=\[background,colour,.*texture\]"):
        language_model("", model="", key_env="", timeout=1)


def test_a_url_is_an_endpoint_and_all_else_a_local_model_which_has_one_name() -> None:
    assert isinstance(language_model("https://example.org/v1", model="m", key_env="", timeout=1), Endpoint)
    assert isinstance(language_model("folder", model="", key_env="", timeout=1), LocalModel)
    with pytest.raises(ValueError, match=r"--model=small is for an endpoint; --lm=folder names a local model"):
        language_model("folder", model="small", key_env="", timeout=1)


def test_classes_come_from_yaml_text_a_folder_or_a_task(tmp_path: Path, squares: Path) -> None:
    (tmp_path / "classes.yaml").write_text("classes: [{name: cat}, {name: dog, synonyms: [hound], folder: d1}]")
    found = read_class_list(str(tmp_path / "classes.yaml"))
    assert (found.names, set(found.index)) == (("cat", "dog"), {"cat", "dog", "hound", "d1"})
    (tmp_path / "classes.txt").write_text("# pets\ncat\n\n dog \n")
    assert read_class_list(str(tmp_path / "classes.txt")).names == ("cat", "dog")
    assert read_class_list(str(squares)).names == ("blue", "green", "red")
    assert "bicycle" in read_class_list("iconshift").names


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        (
            "none.yaml",
            None,
            r"--classes=.*none\.yaml cannot be read \(No such file or directory\); give a classes.yaml",
        ),
        ("none.txt", None, "cannot be read"),
        ("empty.yaml", "templates: ['a {}']", "it has no name; name the classes there"),
        ("empty.txt", "# nothing\n", "it has no name"),
        ("blank.yaml", "classes: [cat, '']", "a class has no name"),
        ("wrong.yaml", "class: [cat]", "expected the keys classes"),
        ("no_such_task", None, "there is no task 'no_such_task'"),
    ],
)
def test_what_names_no_classes_is_refused(name: str, content: str | None, told: str, tmp_path: Path) -> None:
    place = str(tmp_path / name) if "." in name else name
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=told):
        read_class_list(place)
