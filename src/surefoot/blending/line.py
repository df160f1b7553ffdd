"""Kinds of blend for one run: what lies between the zero-shot model and it (WiSE-FT, also weighted by Fisher)."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from surefoot.blending.fisher import fisher_information
from surefoot.blending.ingredients import Ingredients, Mixed
from surefoot.blending.lazy import stored
from surefoot.blending.options import ALPHAS, BlendOptions, alpha_of, own_alphas
from surefoot.blending.runs import Source
from surefoot.checkpoint import disk_errors, write_whole
from surefoot.data.task import Task
from surefoot.engine.log import progress_bar
from surefoot.first_rank import on_first_rank
from surefoot.run import Parts, evaluate_with
from surefoot.weights import Weights, fisher_merge, interpolate

Between = Callable[[str, float], Tensor]
"""A tensor by name, and how far from zero-shot (0) to the run (1)."""


def wise(ingredients: Ingredients, options: BlendOptions) -> Mixed:
    """WiSE-FT: (1 - alpha) of the zero-shot model's weights and alpha of the run's."""
    return _best(ingredients, options, wise_between(ingredients))


def fisher(ingredients: Ingredients, options: BlendOptions) -> Mixed:
    """As `wise`, where each coordinate counts by its Fisher information in either model."""
    start, (end,) = ingredients.zero_shot, ingredients.runs
    informed = [_fisher_of(ingredients, weights, options, name=name) for name, weights in _ends(ingredients)]

    def between(name: str, alpha: float) -> Tensor:
        of_start, of_end = ({name: found[name]} if name in found else {} for found in informed)
        one, two = {name: start[name]}, {name: end[name]}
        return fisher_merge(one, two, start_fisher=of_start, end_fisher=of_end, alpha=alpha)[name]

    return _best(ingredients, options, between)


def wise_between(ingredients: Ingredients) -> Between:
    start, (end,) = ingredients.zero_shot, ingredients.runs
    return lambda name, alpha: interpolate({name: start[name]}, {name: end[name]}, alpha)[name]


def zero_shot_curve(parts: Parts, run: Path) -> list[dict[str, float]]:
    """The sweep of a finished run's blends with zero-shot at ALPHAS; empty where its head has no zero-shot form."""
    source = Source.open(run)
    if source.convention == "linear":
        return []
    ingredients = Ingredients.of(parts, [source])
    between = wise_between(ingredients)
    return sweep(ingredients, lambda alpha: ingredients.fill(lambda name: between(name, alpha)), alphas=ALPHAS)


def sweep(
    ingredients: Ingredients, go_to: Callable[[float], None], *, alphas: Sequence[float]
) -> list[dict[str, float]]:
    """Accuracy of the classifier at each of `alphas`, where `go_to` puts it; it is left at the last."""
    parts, config = ingredients.parts, ingredients.sources[0].config
    points = []
    with progress_bar(f"blend {config.method.name}", len(alphas), shown=parts.fabric.is_global_zero) as bar:
        for done, alpha in enumerate(alphas, start=1):
            go_to(alpha)
            splits = evaluate_with(parts, config, ingredients.classifier).splits
            points.append({"alpha": alpha, **summary(splits, parts.task)})
            bar.advance_to(done, f"alpha {alpha}")
    return points


def summary(splits: Mapping[str, Any], task: Task) -> dict[str, float]:
    """Accuracy on validation, at home, and the mean over the shifts (home's own where there is no shift)."""
    shifts = [splits[name]["accuracy"] for name in task.shifts]
    home = splits[task.home]["accuracy"]
    return {
        "validation_accuracy": splits["validation"]["accuracy"],
        "id_accuracy": home,
        "shift_accuracy": sum(shifts) / len(shifts) if shifts else home,
    }


def _best(ingredients: Ingredients, options: BlendOptions, between: Between) -> Mixed:
    """Fill the classifier at the alpha with the best accuracy on validation; of equals, the nearest to zero-shot."""
    own = own_alphas(options.part_alphas, ingredients.classifier.backbone)

    def go_to(alpha: float) -> None:
        ingredients.fill(lambda name: between(name, alpha_of(name, own, alpha=alpha)))

    points = sweep(ingredients, go_to, alphas=options.alphas)
    best = max(points, key=lambda point: (point["validation_accuracy"], -point["alpha"]))["alpha"]
    go_to(best)
    return Mixed(
        selected_on="validation" if len(points) > 1 else "none",
        sweep=points,
        provenance={"alpha": best, "blend_of": ingredients.sources[0].folder.path.name},
    )


def _ends(ingredients: Ingredients) -> tuple[tuple[str, Weights], tuple[str, Weights]]:
    return ("zero_shot", ingredients.zero_shot), ("run", ingredients.runs[0])


def _fisher_of(ingredients: Ingredients, weights: Weights, options: BlendOptions, *, name: str) -> Weights:
    """The Fisher information of one end, left in a file, so that no two models' are in memory."""
    parts, path = ingredients.parts, ingredients.scratch / f"fisher_{name}.safetensors"
    if not path.is_file():  # else a blend that was stopped goes on
        ingredients.fill(weights.__getitem__)
        parts.fabric.to_device(ingredients.classifier)
        found = fisher_information(
            ingredients.classifier,
            parts.task.train,
            parts.data,
            parts.fabric,
            images=options.fisher_images,
            seed=ingredients.sources[0].config.seed,
        )

        def write() -> None:
            with disk_errors(path.parent, "the Fisher information"):
                write_whole(path, lambda partial: save_file(found, partial))

        on_first_rank(parts.fabric, write)
    return stored(path)
