from pathlib import Path
from typing import Any

import pytest

from surefoot.backbones.base import load_backbone
from surefoot.blending.options import ALPHAS, alpha_of, blend_options, own_alphas, spread
from surefoot.blending.runs import check_count


def test_the_default_is_wise_ft_over_the_whole_line() -> None:
    assert blend_options({}).to_dict() == {
        "kind": "wise", "alphas": list(ALPHAS), "part_alphas": {}, "head": "average",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "counts"),
    [
        ("fisher", {"kind", "head", "alphas", "part_alphas", "fisher_images"}),
        ("uniform", {"kind", "head"}),
        ("greedy", {"kind", "head"}),
        ("stock", {"kind", "head"}),
    ],
)
def test_only_options_that_count_for_the_kind_are_kept(kind: str, counts: set[str]) -> None:
    assert blend_options({"kind": kind}).to_dict().keys() == counts


def test_a_part_takes_a_number_or_a_list_of_them() -> None:
    options = blend_options({"part_alphas": {"head": 1, "blocks": [0.2, 0.8]}})
    assert options.part_alphas == {"head": (1.0,), "blocks": (0.2, 0.8)}


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"kind": "soup"}, "kind=soup: input should be 'wise', 'fisher', 'uniform', 'greedy' or 'stock'"),
        ({"alphas": ()}, r"alphas is \[\]; give one or more numbers from 0 \(zero-shot\) to 1"),
        ({"alphas": (0.5, 1.5)}, r"alphas is \[0\.5, 1\.5\]; give one or more numbers"),
        ({"alphas": (float("nan"),)}, r"alphas is \[nan\]; give one or more numbers"),
        ({"part_alphas": {"hand": 1}}, "part_alphas.hand.*input should be 'image', 'text', 'head' or 'blocks'"),
        ({"part_alphas": {"head": -0.1}}, r"part_alphas: head is \[-0\.1\]; give one number from 0"),
        ({"part_alphas": {"head": [0.1, 0.2]}}, r"part_alphas: head is \[0\.1, 0\.2\]; give one number"),
        ({"part_alphas": {"blocks": []}}, r"part_alphas: blocks is \[\]; give one or more numbers"),
        ({"part_alphas": {"blocks": [0, 2]}}, r"part_alphas: blocks is \[0\.0, 2\.0\]; give one or more numbers"),
        ({"kind": "uniform", "alphas": (0.5,)}, r"kind=uniform has no alphas, but alphas=\[0\.5\].*leave them out"),
        ({"kind": "stock", "part_alphas": {"head": 1}}, "kind=stock has no alphas, but .*'head'.*leave them out"),
        ({"fisher_images": 9}, "fisher_images=9 is for kind=fisher, but kind=wise; leave it out"),
        ({"kind": "fisher", "fisher_images": 0}, "fisher_images=0: input should be greater than 0"),
        ({"head": "new"}, "head=new: input should be 'average' or 'text'"),
        ({"head": "text", "kind": "fisher"}, "head=text makes the head anew .*leave one of them out"),
        ({"head": "text", "part_alphas": {"head": 1}}, "head=text makes the head anew .*leave one of them out"),
        ({"part_alphas": {"image": 0.5, "head": 1}}, "part_alphas has head and image, .*give one alpha"),
        ({"part_alphas": {"image": 0.5, "text": 1}, "head": "text"}, "has image and text, .*give one alpha"),
    ],
)
def test_wrong_options_are_refused_with_option_value_and_remedy(options: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=f"(?i){told}"):
        blend_options(options)


def test_every_part_may_have_its_alpha_where_only_one_alpha_is_left_for_the_rest() -> None:
    assert blend_options({"part_alphas": {"image": 0.5, "head": 1}, "alphas": (0,)}).alphas == (0,)


@pytest.mark.parametrize(
    ("kind", "count", "told"),
    [
        ("wise", 2, "kind=wise blends one run with the zero-shot model, but 2 are given; .*uniform, greedy or stock"),
        ("fisher", 3, "kind=fisher blends one run"),
        ("uniform", 1, "kind=uniform averages several runs, but 1 is given; .*kind=wise or fisher"),
        ("greedy", 1, "kind=greedy averages several runs"),
        ("stock", 1, "kind=stock averages several runs"),
    ],
)
def test_a_kind_takes_one_run_or_several(kind: str, count: int, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        check_count(count, blend_options({"kind": kind}))


@pytest.mark.parametrize(
    ("values", "alphas"),
    [
        ((0.5,), [0.5, 0.5, 0.5, 0.5, 0.5]),
        ((0, 1), [0, 0.25, 0.5, 0.75, 1]),
        ((0.8, 0.2), [0.8, 0.65, 0.5, 0.35, 0.2]),
        ((0.1, 0.9, 0.1, 0.9, 0.1), [0.1, 0.9, 0.1, 0.9, 0.1]),
    ],
)
def test_alphas_are_spread_over_five_blocks(values: tuple[float, ...], alphas: list[float]) -> None:
    assert spread(values, count=5) == pytest.approx(alphas)


@pytest.mark.parametrize(("values", "count"), [((0.1, 0.2, 0.3), 5), ((0.1, 0.2), 1)])
def test_another_number_of_alphas_than_blocks_is_refused(values: tuple[float, ...], count: int) -> None:
    with pytest.raises(ValueError, match=rf"blocks has {len(values)} alphas, but the image tower has {count} blocks"):
        spread(values, count=count)


def test_the_closest_part_gives_a_tensor_its_alpha(clip_folder: Path) -> None:
    parts = blend_options({"part_alphas": {"image": 0.4, "head": 0.9, "blocks": [0.1, 0.2]}, "alphas": [0]}).part_alphas
    own = own_alphas(parts, load_backbone(str(clip_folder)))
    tower = "backbone.image.vision_model."
    expected = {
        f"{tower}encoder.layers.0.mlp.fc1.weight": 0.1,
        f"{tower}encoder.layers.1.mlp.fc1.weight": 0.2,
        f"{tower}post_layernorm.weight": 0.4,
        "backbone.image.visual_projection.weight": 0.4,
        "head.bias": 0.9,
        "backbone.text.text_projection.weight": 0.7,
        "backbone.log_scale": 0.7,
    }
    assert {name: alpha_of(name, own, alpha=0.7) for name in expected} == expected


def test_blocks_of_a_tower_without_blocks_are_refused() -> None:
    with pytest.raises(ValueError, match="the image tower of 'tiny' has none; leave blocks out"):
        own_alphas({"blocks": (0.5,)}, load_backbone("tiny"))
