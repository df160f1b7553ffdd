"""What can be asked of a blend: its kind, how far it goes (the alphas), and where its head comes from."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, PositiveInt, model_validator

from surefoot.backbones.base import Backbone
from surefoot.config import check

ALPHAS = tuple(round(0.1 * step, 1) for step in range(11))
IMAGES = 512  # that the Fisher information is measured on

Kind = Literal["wise", "fisher", "uniform", "greedy", "stock"]
OF_ONE_RUN = ("wise", "fisher")  # the others take several
BY_RECORDS = ("greedy",)  # kinds that go by the accuracies on validation that runs recorded
FROM_ZERO_SHOT = ("wise", "fisher", "stock")  # kinds that need the zero-shot model's weights, with its head

Part = Literal["image", "text", "head", "blocks"]
BEGINNINGS: Mapping[str, str] = {"image": "backbone.image.", "text": "backbone.text.", "head": "head."}


def _several(value: object) -> object:
    return (value,) if isinstance(value, int | float) else value


class BlendOptions(BaseModel):
    """Options of `surefoot.blend` and of `surefoot blend`; make one with `blend_options`, which explains errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Kind = "wise"
    alphas: tuple[float, ...] = ALPHAS  # of which validation chooses
    part_alphas: dict[Part, Annotated[tuple[float, ...], BeforeValidator(_several)]] = {}  # alphas of their own
    head: Literal["average", "text"] = "average"  # text: made anew by the blended text tower
    fisher_images: PositiveInt = IMAGES

    @model_validator(mode="after")
    def _alphas_are_shares(self) -> Self:
        if not self.alphas or not all(0 <= alpha <= 1 for alpha in self.alphas):
            raise ValueError(
                f"alphas is {list(self.alphas)}; give one or more numbers from 0 (zero-shot) to 1 (fine-tuned)"
            )
        for part, values in self.part_alphas.items():
            if not values or not all(0 <= value <= 1 for value in values) or (part != "blocks" and len(values) > 1):
                wanted = "one or more numbers" if part == "blocks" else "one number"
                raise ValueError(
                    f"part_alphas: {part} is {list(values)}; give {wanted} from 0 (zero-shot) to 1 (fine-tuned)"
                )
        return self

    @model_validator(mode="after")
    def _nothing_is_ignored(self) -> Self:
        if self.kind not in OF_ONE_RUN and (self.alphas != ALPHAS or self.part_alphas):
            raise ValueError(
                f"kind={self.kind} has no alphas, but alphas={list(self.alphas)} and part_alphas={self.part_alphas}; "
                f"leave them out, or blend a single run with kind={' or '.join(OF_ONE_RUN)}"
            )
        if self.kind != "fisher" and self.fisher_images != IMAGES:
            raise ValueError(
                f"fisher_images={self.fisher_images} is for kind=fisher, but kind={self.kind}; leave it out"
            )
        if self.head == "text" and (self.kind == "fisher" or "head" in self.part_alphas):
            raise ValueError(
                "head=text makes the head anew from the blended text tower, so that kind=fisher and an alpha for the "
                "head (part_alphas) have nothing to act on; leave one of them out"
            )
        decides = {"image", "text" if self.head == "text" else "head"}
        if len(self.alphas) > 1 and decides <= set(self.part_alphas):
            raise ValueError(
                f"part_alphas has {' and '.join(sorted(decides))}, which make every prediction, so that alphas="
                f"{list(self.alphas)} would change nothing; give one alpha, or leave a part out"
            )
        return self

    def to_dict(self) -> dict[str, Any]:
        """The options that count for this kind, as JSON values."""
        counts = {"kind", "head"}
        if self.kind in OF_ONE_RUN:
            counts |= {"alphas", "part_alphas"}
        if self.kind == "fisher":
            counts |= {"fisher_images"}
        return self.model_dump(mode="json", include=counts)


def blend_options(options: Mapping[str, object]) -> BlendOptions:
    """Checked options; the others have their defaults. ValueError with option, value and remedy."""
    found: BlendOptions = check(BlendOptions, "", options)
    return found


def own_alphas(part_alphas: Mapping[Part, Sequence[float]], backbone: Backbone) -> dict[str, float]:
    """The beginnings of tensors' names that have an alpha of their own, with it. ValueError where blocks do not fit."""
    own = {BEGINNINGS[part]: values[0] for part, values in part_alphas.items() if part != "blocks"}
    if "blocks" in part_alphas:
        blocks = backbone.image.blocks
        if not blocks:
            raise ValueError(
                f"part_alphas sets blocks, but the image tower of {backbone.name!r} has none; leave blocks out"
            )
        alphas = spread(part_alphas["blocks"], count=len(blocks))
        own |= {BEGINNINGS["image"] + block: alpha for block, alpha in zip(blocks, alphas, strict=True)}
    return own


def spread(values: Sequence[float], *, count: int) -> list[float]:
    """An alpha for each of `count` blocks: all values, one for all, or two for a straight line from first to last."""
    if len(values) == count:
        return list(values)
    if len(values) == 1:
        return [values[0]] * count
    if len(values) == 2 and count > 2:
        first, last = values
        places = [block / (count - 1) for block in range(count)]
        return [(1 - place) * first + place * last for place in places]
    raise ValueError(
        f"part_alphas: blocks has {len(values)} alphas, but the image tower has {count} blocks; give {count}, one for "
        "all, or those of the first and the last"
    )


def alpha_of(name: str, own: Mapping[str, float], *, alpha: float) -> float:
    """The alpha of a tensor: that of the longest beginning of its name that has its own, else `alpha`."""
    found = [beginning for beginning in own if name.startswith(beginning)]
    return own[max(found, key=len)] if found else alpha
