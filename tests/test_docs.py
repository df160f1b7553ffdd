"""The docs say what the code does: options and defaults, ranks, layout, links, and examples that run."""

import importlib.util
import re
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

import surefoot
from surefoot import plugins
from surefoot.config import PLUGINS, SECTIONS, check, parse_settings, read_yaml, resolve

DOCS = Path(__file__).parents[1] / "docs"
PACKAGE = Path(surefoot.__file__).parent
PAGES = sorted(DOCS.rglob("*.md"))
METHODS = plugins.names("methods")
HEADINGS = (
    "Formula",
    "When to use it",
    "Options",
    "Cost",
    "Published numbers",
    "Measured here",
    "Departures from the authors' code",
    "Paper",
)
IN_WORDS = {
    "data.workers",
    "iconshift task.root",
    "icongroups task.root",
    "folder task.templates",
    "folder task.contexts",
}
"""Options whose default is described, not written out."""

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(DOCS)))
every_method = pytest.mark.parametrize("name", METHODS)


def rows(page: Path, *header: str) -> Iterator[tuple[str, ...]]:
    """The rows of every table on a page that begins with these column names."""
    inside = False
    for line in page.read_text(encoding="utf-8").splitlines():
        cells = tuple(cell.strip() for cell in line.strip().strip("|").split("|"))
        if not line.startswith("|"):
            inside = False
        elif cells[: len(header)] == header:
            inside = True
        elif inside and set(line) - set("|-: "):
            yield cells


def documented(page: Path) -> dict[str, str]:
    """Option -> default as a page's option tables have them; every row explains itself."""
    found: dict[str, str] = {}
    for option, default, *meaning in rows(page, "option", "default", "meaning"):
        assert len(" | ".join(meaning)) > 10, f"{option} is not explained"
        assert option not in found, f"{option} stands twice"
        found[option.strip("`")] = default
    return found


def check_options(found: Mapping[str, str], section: str, model: type[BaseModel], *, page: str = "") -> None:
    """That a page has the options of `model`, all of them, with their defaults."""
    assert set(found) == {f"{section}.{name}" for name in model.model_fields}
    for option, default in found.items():
        name = option.removeprefix(f"{section}.")
        field = model.model_fields[name]
        if f"{page} {option}".strip() in IN_WORDS:
            assert not default.startswith("`")
        elif field.is_required():
            assert default == "required"
        elif field.get_default(call_default_factory=True) == "":
            assert default == "empty"
        else:
            needed = {other: "x" for other, that in model.model_fields.items() if that.is_required()}
            given = parse_settings([f"{name}={default.strip('`')}"])
            assert getattr(check(model, section, {**needed, **given}), name) == field.get_default(
                call_default_factory=True
            ), option


@every_method
def test_the_page_of_a_method_has_every_heading(name: str) -> None:
    text = (DOCS / "methods" / f"{name}.md").read_text(encoding="utf-8")
    assert text.startswith(f"# {name}\n")
    assert tuple(re.findall(r"^## (.+)$", text, re.MULTILINE)) == HEADINGS
    assert "https://arxiv.org/abs/" in text.partition("## Paper")[2]
    paper = plugins.find("methods", name, base=PLUGINS["method"][1]).paper  # type: ignore[attr-defined]
    assert paper.removeprefix("arXiv:") in text.partition("## Paper")[2]


@pytest.mark.parametrize(
    ("section", "name"),
    [(section, name) for section, (folder, _) in PLUGINS.items() for name in plugins.names(folder)],
)
def test_the_page_of_a_plugin_has_its_options_and_defaults(section: str, name: str) -> None:
    folder, base = PLUGINS[section]
    page = DOCS / folder / f"{name}.md"
    assert page.is_file(), f"docs/{folder}/{name}.md is missing"
    plugin: Any = plugins.find(folder, name, base=base)
    check_options(documented(page), section, plugin.Config, page=name)


@pytest.mark.parametrize("section", SECTIONS)
def test_the_page_of_settings_has_all_other_options_and_defaults(section: str) -> None:
    found = documented(DOCS / "settings.md")
    own = {option: default for option, default in found.items() if option.startswith(f"{section}.")}
    check_options(own, section, SECTIONS[section])
    assert {option.split(".")[0] for option in found} == set(SECTIONS)


@pytest.mark.parametrize(
    ("section", "name"),
    [(section, name) for section, (folder, _) in PLUGINS.items() for name in plugins.names(folder)],
)
def test_the_page_of_a_plugin_names_what_it_recommends(section: str, name: str) -> None:
    folder, base = PLUGINS[section]
    plugin: Any = plugins.find(folder, name, base=base)
    text = (DOCS / folder / f"{name}.md").read_text(encoding="utf-8")
    told = {option: float(value) for option, value in re.findall(r"`((?:\w+\.)?[a-z]+\.\w+)=([\d.e-]+)`", text)}
    for option, value in plugin.recommended.items():
        assert told.get(option) == value, f"{option}={value} is recommended, but the page does not say so"


@every_page
def test_links_inside_the_docs_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{target} leads nowhere"
        assert not anchor or anchor in anchors(file), f"{target}: no such heading"


def anchors(page: Path) -> set[str]:
    """The headings of a page as GitHub spells them in links."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_table_of_ranks_is_that_of_the_architecture_test() -> None:
    found = {
        part: int(rank)
        for rank, parts in rows(DOCS / "design.md", "rank", "parts")
        for part in re.findall("`(.+?)`", parts)
    }
    assert found == ranks()


def ranks() -> dict[str, int]:
    spec = importlib.util.spec_from_file_location("architecture", Path(__file__).with_name("test_architecture.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found: dict[str, int] = module.RANKS
    return found


def test_the_layout_names_every_file_but_plugins() -> None:
    text = (DOCS / "design.md").read_text(encoding="utf-8").partition("## Layout")[2].partition("\n## ")[0]
    named = re.findall(r"(\w+\.py) ", text)
    folders = [*(folder for folder, _ in PLUGINS.values()), "trackers"]
    plugin_files = {PACKAGE / folder / f"{name}.py" for folder in folders for name in plugins.names(folder)}
    paths = [path for path in PACKAGE.rglob("*.py") if "assets" not in path.parts]
    files = {path.name for path in paths if path.name != "__init__.py" and path not in plugin_files}
    assert sorted(set(named) - {"__init__.py"}) == sorted(files)


def test_the_settings_page_shows_yaml_that_works(tmp_path: Path) -> None:
    text = (DOCS / "settings.md").read_text(encoding="utf-8")
    (tmp_path / "settings.yaml").write_text("method: {name: wise_ft, alpha: 0.3}\nengine:\n  lr: 3e-5\n  epochs: 10\n")
    for line in (tmp_path / "settings.yaml").read_text(encoding="utf-8").splitlines():
        assert f"    {line}\n" in text
    config = resolve(read_yaml(tmp_path / "settings.yaml"))
    assert (config.method.name, config.engine.lr) == ("wise_ft", 3e-5)


def test_the_examples_of_classes_yaml_are_read() -> None:
    from surefoot.data.manifest import read_classes

    section = (
        (DOCS / "tasks" / "folder.md").read_text(encoding="utf-8").partition("## classes.yaml")[2].partition("\n## ")[0]
    )
    blocks = re.findall(r"(?:^ {4}.*\n)+", section, re.MULTILINE)
    assert len(blocks) == 2
    as_map, as_list = (read_classes(block.encode(), "the docs") for block in blocks)
    assert as_map.names == ("tench", "goldfish")
    assert as_map.templates[1] == "a {} in the water."
    assert as_list.complete
    assert as_list.index["home"] == as_list.index["house_01"] == 0


@pytest.fixture
def my_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The modules that docs/extend.md shows, written into a package that can be imported."""
    text = (DOCS / "extend.md").read_text(encoding="utf-8")
    blocks = re.findall(r"`my_package/(\w+)\.py`:\n\n```python\n(.*?)```", text, re.DOTALL)
    assert [name for name, _ in blocks] == ["my_method", "my_task", "my_backbone"]
    package = tmp_path / "my_package"
    package.mkdir()
    (package / "__init__.py").touch()
    for name, code in blocks:
        (package / f"{name}.py").write_text(code, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield package
    for name in [name for name in sys.modules if name.split(".")[0] == package.name]:
        del sys.modules[name]


def test_the_method_of_the_docs_trains(my_package: Path, tmp_path: Path, quick: dict[str, Any]) -> None:
    settings = {**quick, "method": "my_package.my_method", "method.weight": "0.1", "engine.epochs": 5}
    run = surefoot.train(tmp_path / "run", settings)
    assert run.results["method"] == "my_package.my_method"
    assert run.results["splits"]["test"]["accuracy"] > 0.5
    first = (tmp_path / "run" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()[0]
    assert yaml.safe_load(first)["loss"]["drift"] == pytest.approx(0, abs=1e-9)  # near itself at the start
    assert surefoot.Classifier.from_pretrained(tmp_path / "run" / "classifier").classes == ("blue", "green", "red")
    with pytest.raises(ValueError, match=r"did you mean method\.weight"):
        resolve({**settings, "method.wieght": 5})


def test_the_task_of_the_docs_trains(my_package: Path, tmp_path: Path, squares: Path, quick: dict[str, Any]) -> None:
    (tmp_path / "flat").mkdir()
    for file in squares.glob("train/*/*.png"):
        shutil.copy(file, tmp_path / "flat" / f"{file.stem}-{file.parent.name}.png")
    settings = {**quick, "task": "my_package.my_task", "task.root": str(tmp_path / "flat"), "engine.epochs": 1}
    run = surefoot.train(tmp_path / "run", settings)
    assert run.results["task"] == "named_files"
    assert run.results["classes"] == ["blue", "green", "red"]
    assert sum(split["count"] for split in run.results["splits"].values()) < 36


def test_the_backbone_of_the_docs_is_the_mean(my_package: Path, clip_folder: Path) -> None:
    one = str(clip_folder)
    config = resolve({"backbone": "my_package.my_backbone", **parse_settings([f"backbone.paths=[{one}, {one}]"])})
    soup = config.backbone.plugin(config.backbone.options).load()
    alone = surefoot.load_backbone(one)
    assert soup.name == "soup"
    for name, tensor in alone.state_dict().items():
        assert soup.state_dict()[name].allclose(tensor)
