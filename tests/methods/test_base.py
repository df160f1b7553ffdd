from pathlib import Path
from typing import Any

import pytest

from surefoot.backbones.base import Frozen
from surefoot.config import resolve
from surefoot.methods.base import Progress
from surefoot.run import build_method, load_task


def build(squares: Path, quick: dict[str, Any], **settings: Any) -> Any:
    return build_method(resolve({**quick, **settings}), load_task("folder", options={"root": str(squares)}))


def test_every_step_of_a_run_is_another_moment() -> None:
    steps = [Progress(step, 9, 0, 1, stage) for stage in range(3) for step in range(9)]
    assert len({progress.moment for progress in steps}) == 27


def test_the_teachers_of_a_run_learn_how_many_crops_an_image_has(squares: Path, quick: dict[str, Any]) -> None:
    for views in (0, 3):
        method = build(squares, quick, **{"method": "car_ft", "data.views": views})
        assert isinstance(method.term.teacher, Frozen)
        assert method.term.teacher._views == views


@pytest.mark.parametrize("method", ["flyp", "carot", "star_ft"])
def test_a_batch_of_one_is_refused_where_images_are_compared(method: str, squares: Path, quick: dict[str, Any]) -> None:
    settings = {"method": method, "engine.batch_size": 4, "engine.accumulate": 4}
    with pytest.raises(ValueError, match=rf"engine\.batch_size=4 in 4 parts: method '{method}' .*; give 8 or more"):
        build(squares, quick, **settings)
    assert build(squares, quick, **{**settings, "engine.accumulate": 2})
    assert build(squares, quick, **{**settings, "method": "fine_tune"})
