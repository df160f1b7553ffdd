from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from surefoot import plugins
from surefoot.backbones.base import Frozen, load_backbone
from surefoot.config import resolve
from surefoot.data.batch import Batch
from surefoot.data.prompts import Prompts
from surefoot.methods._parts import term_names, term_of
from surefoot.methods.base import Method, Progress
from surefoot.methods.compose import Compose
from surefoot.run import build_method, load_task

PROMPTS = Prompts(("red", "green", "blue"), ("a {}", "a picture of a {}"), ("a bright {}", "a dark {}"))
BASES = ("fine_tune", "flyp", "lp_ft", "wise_ft", "ema", "carot", "tracer", "r_adapter", "tpgm", "ftp")


def batch(count: int = 6, view: int = 0) -> Batch:
    images = torch.randn(count, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    none = torch.full((count,), -1)
    return Batch(images, torch.arange(count) % 3, none, torch.arange(count), torch.full((count,), view))


def make(base: str, *terms: str, **options: object) -> Compose:
    given = {"base": base, "terms": terms, "options": options}
    return Compose(Compose.Config.model_validate(given), load_backbone("tiny"), PROMPTS)


def alone(name: str, **options: object) -> Method:
    plugin: Any = plugins.find("methods", name, base=Method)
    made: Method = plugin(plugin.Config.model_validate(options), load_backbone("tiny"), PROMPTS)
    return made


def step(method: Method, at: int) -> dict[str, torch.Tensor]:
    """One step of plain gradient descent; the loss terms before it."""
    trained = method.train_only(method.stages[0].train)
    terms = method(batch(), Progress(at, 10, 0, 2))
    torch.stack(list(terms.values())).sum().backward()
    with torch.no_grad():
        for parameter in trained.values():
            parameter -= 0.05 * parameter.grad
            parameter.grad = None
    method.after_step(Progress(at, 10, 0, 2))
    return terms


@pytest.mark.parametrize(
    ("base", "term", "method", "options"),
    [
        ("fine_tune", "car_ft", "car_ft", {}),
        ("fine_tune", "kd", "kd", {"form": "features"}),
        ("fine_tune", "l2_sp", "l2_sp", {"form": "decoupled", "weight": 30.0}),
        ("flyp", "carot", "carot", {"variant": "v1", "update_steps": 1}),
        ("flyp", "tracer", "tracer", {}),
    ],
)
def test_a_base_with_one_term_is_that_method_bit_for_bit(
    base: str, term: str, method: str, options: dict[str, object]
) -> None:
    composed, whole = make(base, term, **{term: options}), alone(method, **options)
    for at in range(3):
        ours, theirs = step(composed, at), step(whole, at)
        assert {name.removeprefix(f"{term}."): value.item() for name, value in ours.items()} == {
            name: value.item() for name, value in theirs.items()
        }
    weights = dict(composed.backbone.named_parameters())
    assert all(torch.equal(value, weights[name]) for name, value in whole.backbone.named_parameters())


@pytest.mark.parametrize("base", BASES)
def test_any_base_takes_any_terms_together(base: str) -> None:
    trained = alone(base).trained
    weights_train = any(prefix.startswith("backbone.") for prefix in trained)
    terms = [name for name in term_names() if name != base and (weights_train or not term_of(name).holds_weights)]
    assert {"car_ft", "lipsum_ft", "star_ft", "kd"} <= set(terms)
    method = make(base, *terms)
    found = method(batch(view=0 if method.stages[0].augment else -1), Progress(1, 10, 0, 2))
    assert all(value.isfinite() for value in found.values())
    assert {name.split(".")[0] for name in found if "." in name} == set(terms)
    own = alone(base)(batch(view=0 if method.stages[0].augment else -1), Progress(1, 10, 0, 2))
    assert {name: found[name].item() for name in own} == {name: value.item() for name, value in own.items()}


@pytest.mark.parametrize("base", ["flyp", "fine_tune", "car_ft", "kd", "star_ft", "carot"])
def test_student_and_teacher_run_once_however_many_terms_there_are(base: str) -> None:
    method = make(base, *(name for name in ("car_ft", "lipsum_ft", "star_ft", "kd") if name != base))
    teachers = {part for part in method.modules() if isinstance(part, Frozen)}
    assert len(teachers) == 1
    passes: Counter[str] = Counter()
    method.backbone.image.patches.register_forward_hook(lambda *_: passes.update(["student"]))
    copied = teachers.pop().module
    tower = copied.image if hasattr(copied, "image") else copied.tower
    tower.patches.register_forward_hook(lambda *_: passes.update(["teacher"]))
    method(batch(), Progress(0, 10, 0, 2))
    assert passes == {"student": 1, "teacher": 1}


@pytest.mark.parametrize("base", ["flyp", "r_adapter"])
def test_where_texts_train_terms_compare_with_the_texts_of_the_start(base: str) -> None:
    method, still = make(base, "lipsum_ft"), load_backbone("tiny")
    step(method, 0)
    drawn = method.made["lipsum_ft"].random_texts(3)
    assert torch.equal(drawn, still.embed_random_texts(80, length=8, seed=0, moment=3))
    assert not torch.equal(drawn, method.backbone.embed_random_texts(80, length=8, seed=0, moment=3))


def test_options_of_parts_are_settings_with_their_names() -> None:
    config = resolve({"method": "flyp+star_ft+lipsum_ft", "method.star_ft.weight": 0.2, "method.lipsum_ft.count": 5})
    assert config.method.name == "flyp+star_ft+lipsum_ft"
    assert config.method.options == Compose.Config(
        base="flyp", terms=("star_ft", "lipsum_ft"), options={"star_ft": {"weight": 0.2}, "lipsum_ft": {"count": 5}}
    )
    assert resolve(config.to_dict()) == config
    same = {"method": "compose", "method.base": "flyp", "method.terms": ["star_ft", "lipsum_ft"]}
    given = resolve({**same, "method.options": {"star_ft": {"weight": 0.2}, "lipsum_ft": {"count": 5}}})
    assert given.method.options == config.method.options


def test_the_bases_settings_are_recommended() -> None:
    assert resolve({"method": "fine_tune+kd"}).engine.clip_norm == 1.0
    assert resolve({"method": "flyp+kd"}).engine.clip_norm == 0.0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"method": "flyp+flyp"}, "'flyp' stands twice"),
        ({"method": "flyp+kd+kd"}, "'kd' stands twice"),
        ({"method": "flyp+ema"}, r"method\.terms: 'ema' has no regulariser of its own; those that have: .*car_ft"),
        ({"method": "flyp+car_tf"}, r"method\.terms=car_tf: there is no method 'car_tf'; did you mean car_ft\?"),
        ({"method": "flip+kd"}, r"method\.base=flip: there is no method 'flip'; did you mean flyp\?"),
        ({"method": "compose", "method.base": "compose"}, r"method\.base=compose: a composition holds no other"),
        ({"method": "compose", "method.terms": []}, r"method\.terms"),
        ({"method": "flyp+kd", "method.kd.wieght": 1}, r"method\.kd\.wieght=1.*did you mean method\.kd\.weight\?"),
        ({"method": "flyp+kd", "method.kd.weight": -1}, r"method\.kd\.weight=-1: .*greater than or equal to 0"),
        ({"method": "flyp+kd", "method.car_ft.weight": 1}, r"method\.car_ft: no such part .*flyp, kd"),
    ],
)
def test_a_wrong_part_is_an_error_that_names_it(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        resolve(settings)


@pytest.mark.parametrize(
    ("base", "term", "message"),
    [
        ("zero_shot", "kd", r"method\.base: it trains no tower"),
        ("linear_probe", "kd", r"method\.base: it trains no tower"),
        ("r_adapter", "l2_sp", r"method\.terms: 'l2_sp' holds the towers' own weights"),
    ],
)
def test_a_term_that_could_not_act_is_refused(base: str, term: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(base, term)


def test_an_error_of_a_part_names_its_option_in_the_composition() -> None:
    with pytest.raises(ValueError, match=r"method\.car_ft\.contexts: there is one context only"):
        make("flyp", "car_ft", car_ft={"contexts": ["a {}"]})


def test_compose_takes_the_settings_that_are_recommended_to_its_base() -> None:
    long = {"method": "compose", "method.base": "flyp", "method.terms": ["kd"]}
    assert resolve(long).engine == resolve({"method": "flyp+kd"}).engine == resolve({"method": "flyp"}).engine


def test_an_option_that_is_no_part_is_an_error() -> None:
    with pytest.raises(ValidationError, match="wieght"):
        Compose.Config.model_validate({"wieght": 1})


def test_a_batch_of_one_is_refused_where_a_term_compares_images(squares: Path, quick: dict[str, Any]) -> None:
    task = load_task("folder", options={"root": str(squares)})
    config = resolve({**quick, "method": "fine_tune+star_ft", "engine.batch_size": 4, "engine.accumulate": 4})
    with pytest.raises(ValueError, match=r"engine\.batch_size=4 in 4 parts: .*; give 8 or more"):
        build_method(config, task)
