"""Finding plug-ins by name: real ones of the library, and modules made on the spot."""

import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from surefoot import plugins
from surefoot.methods.base import Method

FOLDERS = ["tasks", "backbones", "methods"]


class Base(ABC):
    """What the modules made here derive from."""

    @abstractmethod
    def forward(self) -> str: ...


HEADER = f"from {__name__} import Base\n"
WHOLE = "    class Config: pass\n    def forward(self): return 'here'\n"
Write = Callable[[str, str], None]


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """A function that writes a module of the importable package `my_package`."""
    monkeypatch.syspath_prepend(tmp_path)
    folder = tmp_path / "my_package"
    folder.mkdir()
    (folder / "__init__.py").touch()

    def write(name: str, text: str) -> None:
        (folder / f"{name}.py").write_text(text)

    yield write
    for name in [name for name in sys.modules if name.split(".")[0] == "my_package"]:
        del sys.modules[name]


def find(name: str) -> type[Base]:
    return plugins.find("methods", name, base=Base)


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_names_are_the_files(folder: str) -> None:
    files = {path.stem for path in (Path(plugins.__file__).parent / folder).glob("*.py")}
    found = plugins.names(folder)
    assert found == sorted(found)
    assert set(found) == {name for name in files if name != "base" and not name.startswith("_")}


def test_names_are_listed_without_importing_any() -> None:
    program = (
        "import sys; from surefoot import plugins; plugins.names('methods'); "
        "print(sorted({name.split('.')[0] for name in sys.modules} & {'torch', 'numpy', 'pydantic'}),"
        " [name for name in sys.modules if name.startswith('surefoot.methods')])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[] []"


def test_a_folder_that_is_none_is_refused() -> None:
    for folder in ("recipes", "cli"):
        with pytest.raises(ValueError, match=f"'{folder}'; there are tasks, backbones, methods and trackers"):
            plugins.names(folder)


def test_every_method_of_the_library_is_found_by_its_file_s_name() -> None:
    for name in plugins.names("methods"):
        found = plugins.find("methods", name, base=Method)
        assert issubclass(found, Method)
        assert found.__module__ == f"surefoot.methods.{name}"


@pytest.mark.parametrize("wrong", ["flip", "FLYP", "fly-p"])
def test_an_unknown_name_is_refused_with_the_known_ones_and_the_nearest(wrong: str) -> None:
    with pytest.raises(ValueError, match=rf"no method '{wrong}'; did you mean flyp\? Known: .*fine_tune, flyp"):
        plugins.find("methods", wrong, base=Method)


@pytest.mark.parametrize("wrong", ["", "zzzzzz", "../methods/flyp", "base", "__init__"])
def test_a_name_that_is_near_none_or_no_plug_in_is_refused_without_a_guess(wrong: str) -> None:
    with pytest.raises(ValueError, match=r"Known: .*flyp|there is no module"):
        plugins.find("methods", wrong, base=Method)


def test_a_module_of_one_s_own_is_found_by_its_dotted_name(package: Write) -> None:
    package("mine", HEADER + "class Mine(Base):\n" + WHOLE)
    assert find("my_package.mine")().forward() == "here"


def test_what_a_module_imports_aliases_or_leaves_abstract_does_not_count(package: Write) -> None:
    package("parent", HEADER + "class Parent(Base):\n" + WHOLE)
    package(
        "child",
        HEADER
        + "from my_package.parent import Parent\nclass Half(Base): pass\nclass Child(Half):\n"
        + WHOLE
        + "X = Child",
    )
    assert find("my_package.child").__name__ == "Child"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "none"),
        ("class Other: pass\n", "none"),
        (f"class B(Base):\n{WHOLE}class A(Base):\n{WHOLE}", "A, B"),
        ("class Half(Base):\n    class Config: pass\n", "Half without forward"),
    ],
    ids=["empty", "of another kind", "two", "unfinished"],
)
def test_a_module_without_exactly_one_plug_in_is_refused(text: str, told: str, package: Write) -> None:
    package("wrong", HEADER + text)
    with pytest.raises(ValueError, match=rf"my_package.wrong must define exactly one subclass of .*Base, .*{told}$"):
        find("my_package.wrong")


def test_a_plug_in_without_a_config_is_refused(package: Write) -> None:
    package("bare", HEADER + "class Bare(Base):\n    def forward(self): return ''\n")
    with pytest.raises(ValueError, match=r"my_package.bare.Bare needs a nested class Config"):
        find("my_package.bare")


def test_a_config_may_be_inherited(package: Write) -> None:
    package(
        "heir", HEADER + "class Root(Base):\n    class Config: pass\nclass Heir(Root):\n    def forward(self): ...\n"
    )
    assert find("my_package.heir").__name__ == "Heir"


@pytest.mark.parametrize(
    "name", ["nowhere.at_all", "my_package.nothing", "math.nothing", ".mine", "my_package.", "a..b"]
)
def test_a_module_that_is_not_there_is_refused(name: str, package: Write) -> None:
    with pytest.raises(ValueError, match=r"there is no module .* for a method; give the dotted name"):
        find(name)


def test_an_import_that_fails_inside_a_plug_in_is_shown_as_it_is(package: Write) -> None:
    package("broken", "import a_library_that_is_not_installed\n")
    with pytest.raises(ModuleNotFoundError, match="a_library_that_is_not_installed"):
        find("my_package.broken")


def test_an_import_that_fails_above_a_plug_in_is_shown_as_it_is(package: Write) -> None:
    package("__init__", "import a_library_that_is_not_installed\n")
    package("mine", HEADER + "class Mine(Base):\n" + WHOLE)
    with pytest.raises(ModuleNotFoundError, match="a_library_that_is_not_installed"):
        find("my_package.mine")


def test_an_error_inside_a_plug_in_is_shown_as_it_is(package: Write) -> None:
    package("broken", "1 / 0\n")
    with pytest.raises(ZeroDivisionError):
        find("my_package.broken")
