"""From finished runs to a finished run: `blend` checks, mixes, evaluates, and writes a run folder."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from surefoot.blending import line, soups
from surefoot.blending.ingredients import Ingredients, Mixed
from surefoot.blending.options import ALPHAS, IMAGES, BlendOptions, Kind, blend_options, own_alphas
from surefoot.blending.runs import Source, open_runs, refuse_other_data
from surefoot.first_rank import on_first_rank
from surefoot.run import Parts, Run, about_data, finish
from surefoot.run_folder import RunFolder


class Maker(NamedTuple):
    """How a kind of blend is mixed, and what the result's method is called after that of the runs."""

    mix: Callable[[Ingredients, BlendOptions], Mixed]
    called: str


MAKERS: Mapping[Kind, Maker] = MappingProxyType(
    {
        "wise": Maker(line.wise, "blend"),
        "fisher": Maker(line.fisher, "Fisher blend"),
        "uniform": Maker(soups.uniform, "uniform soup"),
        "greedy": Maker(soups.greedy, "greedy soup"),
        "stock": Maker(soups.stock, "Model Stock"),
    }
)
NO_PART_ALPHAS: Mapping[str, float | Sequence[float]] = MappingProxyType({})


def blend(
    run: str | Path | Sequence[str | Path],
    output: str | Path = "",
    *,
    kind: str = "wise",
    alphas: Sequence[float] = ALPHAS,
    part_alphas: Mapping[str, float | Sequence[float]] = NO_PART_ALPHAS,
    head: str = "average",
    fisher_images: int = IMAGES,
) -> Run:
    """Average a finished run with the zero-shot model, or several runs with each other, without any training.

    One run: kind "wise" (WiSE-FT) or "fisher", at each of `alphas`, of which the best on validation is kept, of equals
    the one nearest to zero-shot; results.json holds the whole sweep. `part_alphas` gives the image tower, the text
    tower, the head or the image tower's blocks an alpha of their own: {"head": 0.8, "blocks": (0.2, 0.8)}. "fisher"
    looks at `fisher_images` training images. Several runs: kind "uniform", "greedy" (validation chooses) or "stock".
    `head="text"` makes the head anew from the blended text tower instead of averaging it.

    Written to `output`, by default beside the first run; the same blend that stands there is returned as it is. Raises
    ValueError where an option or a run does not fit, or where `output` holds something else.
    """
    given = {"kind": kind, "alphas": tuple(alphas), "part_alphas": dict(part_alphas), "head": head}
    options = blend_options({**given, "fisher_images": fisher_images})
    runs = [run] if isinstance(run, str | Path) else run
    return blend_runs([Path(path) for path in runs], options, output)


def blend_runs(runs: Sequence[Path], options: BlendOptions, output: str | Path = "") -> Run:
    """`blend` with checked options."""
    sources = open_runs(runs, options)
    config, folder = sources[0].config, RunFolder(Path(output) if str(output) else beside(sources[0], options))
    about = {
        **options.to_dict(),
        "runs": [source.name for source in sources],
        "predictions": [source.digest() for source in sources],
    }
    parts = Parts.build(config)

    def begin() -> None:
        if (folder.path / "run.json").is_file() and not folder.record().get("blend"):
            raise ValueError(f"{folder.path} holds a run that is no blend; give another output folder")
        folder.begin(config.to_dict(), about_data(parts.task), blend=about)

    if folder.finished:
        on_first_rank(parts.fabric, begin)
        return Run(folder.path, folder.results())
    refuse_other_data(sources, parts.task, options)
    ingredients = Ingredients.of(parts, sources, remake_head=options.head == "text", scratch=folder.last)
    own_alphas(options.part_alphas, ingredients.classifier.backbone)  # refuses before the folder is there
    on_first_rank(parts.fabric, begin)
    mixed = MAKERS[options.kind].mix(ingredients, options)
    ingredients.classifier.provenance |= {**mixed.provenance, "selected_on": mixed.selected_on, "blend": about}
    return finish(
        parts,
        config,
        ingredients.classifier,
        folder,
        seconds=sum(source.results["seconds"] for source in sources),
        selected_on=mixed.selected_on,
        method=method_name(sources, options),
        sweep=mixed.sweep,
        selection=mixed.selection,
    )


def beside(source: Source, options: BlendOptions) -> Path:
    """Where a blend stands by default: RUN-blend, RUN-fisher, RUN-uniform and so on, RUN the first of the runs."""
    path = source.folder.path
    return path.with_name(f"{path.name}-{'blend' if options.kind == 'wise' else options.kind}")


def method_name(sources: Sequence[Source], options: BlendOptions) -> str:
    """The runs' methods and what was done with them, such as "fine_tune + greedy soup"."""
    methods: dict[str, Any] = dict.fromkeys(source.results["method"] for source in sources)
    return f"{', '.join(methods)} + {MAKERS[options.kind].called}"
