"""The design's import ranks and sizes, read from the source."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import surefoot

ROOT = Path(surefoot.__file__).parent
RANKS = {
    "surefoot": -1,  # resolves its names when they are used
    "losses": 0,
    "weights": 0,
    "loss_valley": 0,
    "evaluation.metrics": 0,
    "evaluation.selection": 0,
    "evaluation.abstention": 0,
    "evaluation.shift": 0,
    "plugins": 0,
    "cache_folder": 0,
    "occupied": 0,
    "options": 0,
    "permissions": 0,
    "evaluation.miscalibration": 1,
    "data": 1,
    "pretrained": 1,
    "tasks": 2,
    "backbones": 2,
    "language_models": 2,
    "classifier": 3,
    "evaluation.calibration": 3,
    "evaluation.forgetting": 3,
    "methods": 4,
    "checkpoint": 5,
    "engine": 6,
    "evaluation.evaluate": 6,
    "evaluation.meter": 6,
    "trackers": 6,
    "run_folder": 6,
    "interruption": 6,
    "first_rank": 7,
    "report": 7,
    "watching": 7,
    "config": 8,
    "run": 9,
    "catalogue": 9,
    "blending": 10,
    "converting": 10,
    "predicting": 10,
    "spurious": 10,
    "exit_codes": 10,
    "measuring": 10,
    "tuning": 10,
    "changed_images": 10,
    "variants": 10,
    "checking": 10,
    "preflight": 10,
    "probing": 10,
    "exporting": 10,
    "forgetting": 10,
    "comparison": 11,
    "arguments": 11,
    "app": 11,
    "prompts_command": 12,
    "export_command": 12,
    "predict_command": 12,
    "convert_command": 12,
    "preflight_command": 12,
    "forgetting_command": 12,
    "advise_command": 12,
    "cli": 13,
    "__main__": 14,
}
ALLOWED = {  # what a part may import from outside, beside the standard library
    "losses": {"torch"},
    "weights": {"torch"},
    "loss_valley": {"torch"},
    "evaluation.metrics": {"numpy"},
    "evaluation.selection": set(),
    "evaluation.abstention": {"numpy"},
    "evaluation.shift": {"numpy"},
    "evaluation.miscalibration": {"numpy"},
    "plugins": set(),
    "cache_folder": set(),
    "occupied": set(),
    "options": {"pydantic"},
    "permissions": set(),
    "report": {"numpy", "jinja2", "markupsafe", "rich"},
}
FILES = sorted(path for path in ROOT.rglob("*.py") if "assets" not in path.parts)


def part_of(module: str) -> str:
    """The ranked part that a module of Surefoot belongs to."""
    name = module.removeprefix("surefoot").lstrip(".")
    matches = [part for part in RANKS if name == part or name.startswith(part + ".")]
    if not name or name == "evaluation":
        return "surefoot"
    assert matches, f"{module} has no rank; add it to the table of the design"
    return max(matches, key=len)


def imports(path: Path) -> Iterator[str]:
    """Every module that a file imports at run time, also inside functions."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    typing_only = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            assert node.module is not None
            known = [f"{node.module}.{alias.name}" for alias in node.names]
            inner = [name for name in known if is_module(name)]
            yield from inner or [node.module]


def is_module(name: str) -> bool:
    path = ROOT.parent / Path(*name.split("."))
    return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_imports_only_from_lower_ranks(path: Path) -> None:
    own = part_of(module_of(path))
    if own in ("surefoot",):
        return
    for name in imports(path):
        if name.split(".")[0] != "surefoot":
            continue
        other = part_of(name)
        allowed = other == own or RANKS[other] < RANKS[own]
        if own == "report":
            allowed = other == own or RANKS[other] == 0
        assert allowed, f"{path.relative_to(ROOT)} imports {name}: rank {RANKS[own]} may not import rank {RANKS[other]}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_plugin_imports_no_plugin_beside_it(path: Path) -> None:
    folder = path.parent.name
    if folder not in ("tasks", "backbones", "methods", "trackers") or path.stem == "base":
        return
    beside = {f"surefoot.{folder}.{other.stem}" for other in path.parent.glob("*.py") if other.stem[0] != "_"}
    beside -= {f"surefoot.{folder}.base", module_of(path)}
    assert not beside & set(imports(path))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_outside_libraries_stay_where_they_belong(path: Path) -> None:
    own = part_of(module_of(path))
    outside = {name.split(".")[0] for name in imports(path)} - set(sys.stdlib_module_names) - {"surefoot"}
    assert outside <= ALLOWED.get(own, outside), f"{own} may not import {outside - ALLOWED[own]}"
    if own != "engine":
        assert "lightning_fabric" not in outside, "only the engine knows Fabric"
    assert "torchvision" not in outside


def test_modules_are_short_and_their_names_say_something() -> None:
    long = [f"{path.relative_to(ROOT)}: {n}" for path in FILES if (n := len(path.read_text().splitlines())) > 300]
    assert not long
    nameless = {"utils", "misc", "common", "helpers", "types"} & {path.stem for path in FILES}
    assert not nameless


def test_method_files_are_short() -> None:
    files = [path for path in FILES if path.parent.name == "methods" and path.stem not in ("base", "_term", "_parts")]
    assert {str(path.name): n for path in files if (n := len(path.read_text().splitlines())) > 100} == {}


@pytest.mark.parametrize(
    ("module", "unwanted"),
    [
        ("surefoot", "torch"),
        ("surefoot.cli", "torch"),
        ("surefoot.cli", "starlette"),
        ("surefoot.report", "torch"),
        ("surefoot.evaluation.metrics", "torch"),
        ("surefoot.losses", "transformers"),
        ("surefoot.losses", "pydantic"),
        ("surefoot.run", "transformers"),
        ("surefoot.spurious", "transformers"),
    ],
)
def test_importing_a_part_does_not_load_what_it_does_not_need(module: str, unwanted: str) -> None:
    code = f"import sys, {module}; sys.exit({unwanted!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_public_name_resolves() -> None:
    assert all(callable(getattr(surefoot, name)) for name in surefoot.__all__)
    with pytest.raises(AttributeError, match="it has Classifier"):
        surefoot.no_such_name  # noqa: B018
