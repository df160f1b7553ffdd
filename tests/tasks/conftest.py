"""The stand-ins of data sets, made in their real layouts."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

STAND_INS = Path(__file__).parents[1] / "stand_ins"


@pytest.fixture(scope="session")
def stand_in() -> Callable[[str], ModuleType]:
    """The module that makes the stand-in of a task."""

    def load(name: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location(f"stand_in_of_{name}", STAND_INS / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load
