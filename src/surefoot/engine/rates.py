"""How fast each weight of the towers learns: options of the engine, of which methods know nothing.

Both towers can be slowed down or frozen, and their lower layers more than their upper ones, as in the fine-tuning of
vision transformers (BEiT, arXiv:2106.08254; for CLIP arXiv:2212.06138).
"""

from collections.abc import Mapping

from torch import nn

from surefoot.backbones.base import ImageTower, TextTower
from surefoot.methods.base import Method, Stage


def rate_groups(
    method: Method, stage: Stage, *, image_lr: float, text_lr: float, layer_decay: float
) -> dict[float, list[nn.Parameter]]:
    """What trains in a stage by what multiplies its rate: the stage's own rates times the options' factors.

    A factor of 0 freezes: such a weight is no part of the stage, and gets no gradient. Raises ValueError where nothing
    is left to train, or a tower does not name the blocks that `layer_decay` counts.
    """
    training = method.train_only(stage.train)
    if image_lr == text_lr == layer_decay == 1:
        return stage.by_rate(training)
    factors: dict[str, float] = {}
    for kind, tower, lr in (("image", method.backbone.image, image_lr), ("text", method.backbone.text, text_lr)):
        inside = {parameter: name for name, parameter in tower.named_parameters()}
        names = {name: inside[parameter] for name, parameter in training.items() if parameter in inside}
        depths = _depths(method, tower, kind, names) if lr and layer_decay != 1 else {}
        factors |= {name: lr * layer_decay ** depths.get(name, 0) for name in names}
    groups: dict[float, list[nn.Parameter]] = {}
    for name, parameter in training.items():
        factor = factors.get(name, 1.0)
        if not factor:
            parameter.requires_grad_(False)
            continue
        ((rate, _),) = stage.by_rate({name: parameter}).items()
        groups.setdefault(rate * factor, []).append(parameter)
    if not groups:
        raise ValueError(
            f"engine.image_lr={image_lr:g} and engine.text_lr={text_lr:g} freeze all that a stage trains "
            f"({', '.join(stage.train)}); give one of them more than 0"
        )
    return groups


def _depths(method: Method, tower: ImageTower | TextTower, kind: str, names: Mapping[str, str]) -> dict[str, int]:
    """How far below the features each weight lies: 0 after the last block, 1 in it, blocks + 1 before the first.

    `names`: a weight's name in the method, and in the tower.
    """
    if not names:
        return {}
    if not tower.blocks or not tower.stem:
        raise ValueError(
            f"engine.layer_decay: the {kind} tower of {method.backbone.name!r} does not say which blocks it is made of "
            f"({type(tower).__name__}.blocks and stem); set engine.layer_decay=1"
        )
    layers = {block: len(tower.blocks) - number for number, block in enumerate(tower.blocks)}
    layers |= dict.fromkeys(tower.stem, len(tower.blocks) + 1)
    return {
        name: next((depth for beginning, depth in layers.items() if own.startswith(beginning)), 0)
        for name, own in names.items()
    }
