"""The command line: one thin command a verb. Torch is imported inside the commands, so that help is quick."""

import json
import sys
import warnings
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from surefoot import (
    advise_command,
    convert_command,
    export_command,
    forgetting_command,
    predict_command,
    preflight_command,
    prompts_command,
)
from surefoot.app import command as app_command
from surefoot.arguments import blend_options_of, folder_name, grid_of, settings_of, whole_numbers
from surefoot.exit_codes import exit_codes, usage_errors

app = typer.Typer(
    name="surefoot",
    help="Fine-tune zero-shot vision-language models on your classes without losing what made them robust.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.add_typer(prompts_command.app, name="prompts")
app.command()(convert_command.convert)
app.command(name="app")(app_command.app)
app.command()(forgetting_command.forgetting)
app.command()(advise_command.advise)

SETTINGS_HELP = "Settings as section.option=value, such as engine.epochs=5; `surefoot list` shows them."
PASS_ON = {"ignore_unknown_options": True}  # --engine.lr 1e-5 is read as engine.lr=1e-5
app.command(context_settings=PASS_ON)(preflight_command.preflight)

Settings = Annotated[list[str] | None, typer.Argument(help=SETTINGS_HELP, show_default=False)]
Task = Annotated[str, typer.Option(help="Name of a task, or a folder, zip or table of your own images.")]
Root = Annotated[str, typer.Option(help="Where the task's files lie.")]
Backbone = Annotated[str, typer.Option(help="Name of a backbone, a folder, or a hub id.")]
Config = Annotated[str, typer.Option(help="A YAML file of settings; the command line wins over it.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


class Rule(StrEnum):
    training_domain = "training_domain"
    leave_one_out = "leave_one_out"
    oracle = "oracle"


@app.command(name="list")
def list_(as_json: AsJson = False) -> None:
    """Show tasks, backbones and methods with their options.

    Example: surefoot list --json
    """
    from surefoot.catalogue import catalogue, catalogue_text

    with exit_codes():
        found = catalogue()
        typer.echo(json.dumps(found, indent=1) if as_json else catalogue_text(found))


@app.command(context_settings=PASS_ON)
def train(
    settings: Settings = None,
    task: Task = "",
    root: Root = "",
    backbone: Backbone = "",
    method: Annotated[str, typer.Option(help="Name of a method.")] = "",
    seed: Annotated[
        int | None, typer.Option(help="Draws the order, the crops and the captions.", show_default="0")
    ] = None,
    output: Annotated[
        str, typer.Option("--output", "-o", help="Run folder.", show_default="runs/TASK-METHOD-SEED")
    ] = "",
    config: Config = "",
) -> None:
    """Fine-tune one model, evaluate it, and leave a run folder. The same command again goes on where it stopped.

    Example: surefoot train --task photos/ --backbone openai/clip-vit-base-patch16 --method flyp engine.epochs=5
    """
    chosen = {"task": task, "task.root": root, "backbone": backbone, "method": method, "seed": seed}
    with usage_errors():
        wanted = settings_of(settings, config, chosen)
        from surefoot.config import resolve

        resolved = resolve(wanted)
    with exit_codes():
        from surefoot.report import lines
        from surefoot.run import train

        name = folder_name(resolved.task.options.model_dump().get("root", ""), resolved.task.name)
        run = train(output or f"runs/{name}-{resolved.method.name}-{resolved.seed}", wanted)
        _say(lines.run(run.results))
        _say(f"Written to {run.folder}")


@app.command(context_settings=PASS_ON)
def compare(
    settings: Settings = None,
    task: Task = "",
    root: Root = "",
    backbone: Backbone = "",
    methods: Annotated[str, typer.Option(help="Names with commas between.", show_default="the default list")] = "",
    seeds: Annotated[str, typer.Option(help="Numbers with commas between; of domainbed they are its trials.")] = "0",
    grid: Annotated[list[str] | None, typer.Option(help="Values to try: engine.lr=1e-5,3e-5. May be repeated.")] = None,
    rule: Annotated[Rule, typer.Option(help="What chooses among them; oracle is for no claim.")] = Rule.training_domain,
    output: Annotated[
        str, typer.Option("--output", "-o", help="Folder.", show_default="runs/demo, or runs/TASK of another task")
    ] = "",
    config: Config = "",
) -> None:
    """Train several methods under the same settings, print the table and write the report page.

    Without arguments: the embedded task iconshift with the embedded model iconclip. What is finished is not redone. Of
    domainbed, all data sets that are there and all their domains take their turns, and the mean stands above them.

    Example: surefoot compare --methods zero_shot,fine_tune,flyp --seeds 0,1,2
    """
    chosen = {"task": task, "task.root": root, "backbone": backbone}
    with usage_errors():
        wanted = settings_of(settings, config, chosen)
        from surefoot.comparison import METHODS, config_of
        from surefoot.tuning import Grid

        names = [name.strip() for name in methods.split(",") if name.strip()] or list(METHODS)
        chosen_seeds, values = whole_numbers("seeds", seeds), grid_of(grid or [])
        for name in names:
            for tried in Grid(values, rule.value).settings().values():
                config_of({**wanted, **tried}, name, chosen_seeds[0], methods=names)
        output = output or (f"runs/{folder_name(wanted['task'], '')}" if "task" in wanted else "runs/demo")
    with exit_codes():
        from surefoot import report
        from surefoot.comparison import compare

        def tell(run: Any) -> None:
            variant = run.folder.relative_to(output).parts[:-2]  # before method and seed
            _say(": ".join([*(["/".join(variant)] if variant else []), report.lines.run(run.results)]))

        found = compare(output, wanted, methods=names, seeds=chosen_seeds, grid=values, rule=rule.value, on_run=tell)
        _show(report.terminal(found))
        _say(f"Report: {Path(output) / 'report.html'}")


@app.command()
def blend(
    runs: Annotated[list[Path], typer.Argument(help="Folder of a finished run, or of several.")],
    kind: Annotated[str, typer.Option(help="One run: wise, fisher. Several: uniform, greedy, stock.")] = "wise",
    alpha: Annotated[str, typer.Option(help="0 (zero-shot) to 1 (the run), several with commas, or sweep.")] = "sweep",
    part_alphas: Annotated[str, typer.Option(help="For parts: image=0.5,head=1,blocks=0.2:0.8, text=0.5.")] = "",
    head: Annotated[str, typer.Option(help="average, or text: made anew by the blended text tower.")] = "average",
    fisher_images: Annotated[int, typer.Option(help="Training images that fisher looks at.")] = 512,
    output: Annotated[str, typer.Option("--output", "-o", help="Run folder.", show_default="RUN-blend")] = "",
) -> None:
    """Average a run with the zero-shot model, or several runs with each other; validation makes the choices.

    Example: surefoot blend runs/demo/fine_tune/seed-0 --alpha 0.5
    """
    with usage_errors():
        options = blend_options_of(kind, alpha, part_alphas, head, fisher_images=fisher_images, runs=len(runs))
    with exit_codes():
        from surefoot.blending import blend_runs
        from surefoot.report import lines

        blended = blend_runs(runs, options, output)
        for point in blended.results["sweep"]:
            _say(lines.blend_point(point))
        for tried in blended.results["selection"]:
            _say(lines.tried_run(tried))
        _say(lines.run(blended.results))
        _say(f"Written to {blended.folder} (chosen on: {blended.results['selected_on']})")


@app.command(context_settings=PASS_ON)
def evaluate(
    classifier: Annotated[Path, typer.Argument(help="Folder of a run or of a classifier.")],
    settings: Settings = None,
    task: Task = "",
    root: Root = "",
    by_text: Annotated[
        bool, typer.Option("--by-text", help="Leave the head out: classify by the task's class names, as zero-shot.")
    ] = False,
    by_context: Annotated[
        bool, typer.Option("--by-context", help="Accuracy by the context that an image seems to show to zero-shot.")
    ] = False,
    as_json: AsJson = False,
    output: Annotated[str, typer.Option("--output", "-o", help="A JSON file for the measures.")] = "",
) -> None:
    """Measure a classifier on a task: accuracy, calibration and groups on every split.

    Example: surefoot evaluate runs/demo/flyp/seed-0 --task iconshift
    """
    with usage_errors():
        wanted = settings_of(settings, "", {"task": task, "task.root": root})
        from surefoot.config import resolve
        from surefoot.measuring import refuse_training, way_to_measure

        measure = way_to_measure(by_text=by_text, by_context=by_context)
        resolve(wanted)
        refuse_training(wanted)
        if output and not Path(output).absolute().parent.is_dir():
            raise ValueError(f"--output={output}: its folder is not there; make it first")
    with exit_codes():
        from surefoot.report import lines

        splits = measure(classifier, wanted)
        if output:
            Path(output).write_text(json.dumps(splits, indent=1) + "\n", encoding="utf-8")
        if as_json:
            typer.echo(json.dumps(splits, indent=1))
            return
        for name, split in splits.items():
            typer.echo((lines.contexts if by_context else lines.split)(name, split))


@app.command()
def report(folder: Annotated[Path, typer.Argument(help="Folder of a comparison, or of runs.")]) -> None:
    """Print the table of finished runs and write report.html, .md, .csv and scatter.svg beside them.

    Example: surefoot report runs/demo
    """
    with exit_codes():
        from surefoot import report

        _show(report.terminal(report.read_records(folder).comparison))
        _say(f"Report: {report.write_report(folder)}")


for command in (predict_command.predict, export_command.export, export_command.card, export_command.push):
    app.command()(command)


@app.command(context_settings=PASS_ON)
def check(
    task: Annotated[str, typer.Argument(help="Name of a task, or a folder, zip or table of your own images.")],
    settings: Settings = None,
    root: Root = "",
    backbone: Annotated[str, typer.Option(help="Also ask its tokenizer which class names are too long.")] = "",
    look_alike: Annotated[int, typer.Option(help="Bits of 64 in which look-alikes may differ.", min=0, max=11)] = 4,
    page: Annotated[str, typer.Option(help="Also write what was found as an HTML page.")] = "",
    as_json: AsJson = False,
) -> None:
    """Look for what would spoil a run: missing files, unreadable, repeated or look-alike images, odd names, few images.

    Example: surefoot check photos/ --page check.html
    """
    with usage_errors():
        wanted = settings_of(settings, "", {"task": task, "task.root": root, "backbone": backbone})
        from surefoot.config import resolve

        resolve(wanted)
    with exit_codes():
        from surefoot.checking import check

        found = check(wanted, look_alike=look_alike)
        typer.echo(found.report.to_json() if as_json else found.report.text())
        if page:
            found.write_page(Path(page))
            typer.echo(f"Page: {page}", err=as_json)
    if found.report.verdict == "errors":
        raise typer.Exit(1)


def main() -> None:
    """The console script."""
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    warnings.filterwarnings("ignore", module=r"PIL\.")  # what Pillow doubts and cannot read is reported by file
    app()


def _show(table: Any) -> None:
    from rich.console import Console

    if _first_process():
        Console().print(table)


def _say(text: str) -> None:
    if _first_process():
        sys.stdout.write(text + "\n")
        sys.stdout.flush()


def _first_process() -> bool:
    from torch import distributed

    return not distributed.is_initialized() or distributed.get_rank() == 0
