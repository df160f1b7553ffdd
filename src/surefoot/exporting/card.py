"""The model card of a run: what it was trained from, on what and how, and what it measured, as the hub reads it.

The numbers are those of results.json, in `model-index` too; nothing is measured here, and no network is asked.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from surefoot import plugins
from surefoot.classifier import read_card
from surefoot.exporting import NO_DETAILS, Details, Format
from surefoot.methods.base import Method
from surefoot.run_folder import RunFolder, classifier_folder

UNKNOWN = "unknown"  # the hub's word
EMBEDDED = {"iconclip": "apache-2.0"}  # backbones whose licence we can tell
TAGS = {  # by format: (library_name, pipeline_tag)
    Format.transformers: ("transformers", "zero-shot-image-classification"),
    Format.image_classification: ("transformers", "image-classification"),
    Format.openclip: ("open_clip", "zero-shot-image-classification"),
}
MEASURES = {  # of a split in results.json: (metric type, its name)
    "accuracy": ("accuracy", "Accuracy"),
    "ece": ("expected_calibration_error", "ECE"),
    "ece_calibrated": ("expected_calibration_error", "ECE with the temperature"),
    "worst_group_accuracy": ("accuracy", "Worst-group accuracy"),
}
USE = {
    Format.transformers: """```python
from transformers import pipeline

classify = pipeline("zero-shot-image-classification", model="{place}")
classify("image.jpg", candidate_labels={labels}, hypothesis_template={template})
```""",
    Format.image_classification: """```python
from transformers import pipeline

classify = pipeline("image-classification", model="{place}")
classify("image.jpg", top_k=3)
```

A `CLIPForImageClassification` with two more layers than the tower that was trained: they compute the head, for which
that class has no place.""",
    Format.openclip: """```python
import open_clip

model, _, preprocess = open_clip.create_model_and_transforms("local-dir:{place}")
tokenizer = open_clip.get_tokenizer("local-dir:{place}")
```""",
}


def card(
    run: Path, *, form: Format = Format.transformers, details: Details = NO_DETAILS, notes: Sequence[str] = ()
) -> str:
    """The card, Markdown with a YAML head; `notes` are what the export had to say.

    A base model that is not given is told only where it is in the hub's cache here. Raises ValueError where the run is
    unfinished, or for a format that is a file and has no card.
    """
    from huggingface_hub import EvalResult, ModelCard, ModelCardData

    if form not in TAGS:
        raise ValueError(f"to={form}: a card goes with a folder; choose one of {', '.join(TAGS)}")
    folder = RunFolder(run)
    results, record = folder.results(), folder.record()
    base = details.base_model or _hub_id(record["config"]["backbone"])
    library, pipeline = TAGS[form]
    began_with = results["backbone"].rstrip("/").rpartition("/")[2]
    name = f"{began_with}-{results['method']}-{results['task']}".replace(" ", "")
    data = ModelCardData(
        base_model=base or None,
        license=details.licence or EMBEDDED.get(results["backbone"], UNKNOWN),
        library_name=library,
        pipeline_tag=pipeline,
        tags=["surefoot", "clip", "robustness", "calibration"],
        model_name=name,
        eval_results=[
            EvalResult(
                task_type="image-classification",
                task_name="Image classification",
                dataset_type=results["task"],
                dataset_name=f"{results['task']}: {split}",
                dataset_split=split,
                metric_type=kind,
                metric_name=f"{label}, {_what(results, split)}",
                metric_value=value,
            )
            for split, kind, label, value in _measured(results)
        ],
    )
    text = _text(
        results, record, licence=data.license or UNKNOWN, base=base, use=_use(form, run, details.place), notes=notes
    )
    return str(ModelCard(f"---\n{data.to_yaml()}\n---\n\n# {name}\n\n{text}"))


def _measured(results: Mapping[str, Any]) -> Iterator[tuple[str, str, str, float]]:
    """Split, metric type, label and value of all that was measured on test images."""
    for split in (results["home"], *results["shifts"]):
        for measure, (kind, label) in MEASURES.items():
            value = results["splits"][split][measure]
            if value is not None:
                yield split, kind, label, round(float(value), 6)


def _what(results: Mapping[str, Any], split: str) -> str:
    return "in distribution" if split == results["home"] else "under shift"


def _text(
    results: Mapping[str, Any], record: Mapping[str, Any], *, licence: str, base: str, use: str, notes: Sequence[str]
) -> str:
    config = record["config"]
    method: Any = plugins.find("methods", _plugin(config["method"]["name"]), base=Method)
    paper = f" ({method.paper})" if method.paper else ""
    blended = "; then averaged: " + str(record["blend"]["kind"]) if record.get("blend") else ""
    counts = record["data"]["counts"]
    engine = config["engine"]
    lines = [
        f"A CLIP image classifier of {len(results['classes'])} classes, fine-tuned and measured with Surefoot "
        f"{record['versions']['surefoot']}.",
        "",
        f"- **Base model**: {_base(config['backbone'], base)}",
        f"- **Data**: {results['task']}; {counts['train']} training images; home is `{results['home']}`, shifts are "
        f"{', '.join(f'`{name}`' for name in results['shifts']) or 'none'}",
        f"- **Method**: {results['method']}{blended}: {method.summary[:1].lower()}{method.summary[1:]}{paper}",
        f"- **Training**: seed {results['seed']}, learning rate {engine['lr']:g}, batches of {engine['batch_size']}, "
        f"{engine['epochs']:g} epochs; chosen on: {results['selected_on']}",
        f"- **Temperature**: {results['temperature']:.4g}, fitted on the validation images",
        f"- **Licence**: {_licence(licence)}",
        "",
        "## Use",
        "",
        use,
        "",
        *(f"- {note}" for note in notes),
        "",
        "## Measured",
        "",
        f"Fractions of 1. ECE: {config['evaluation']['ece_bins']} bins of equal width over the whole split. Measured "
        "by Surefoot, with the run's own head.",
        "",
        "| split | images | accuracy | ECE | ECE with the temperature | worst group |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for split in (results["home"], *results["shifts"]):
        found = results["splits"][split]
        worst = found["worst_group_accuracy"]
        lines.append(
            f"| {split} ({_what(results, split)}) | {found['count']} | {found['accuracy']:.4f} | {found['ece']:.4f} | "
            f"{found['ece_calibrated']:.4f} | {'' if worst is None else f'{worst:.4f}'} |"
        )
    if record["data"]["notes"]:
        lines += ["", "Notes on the data:", "", *(f"- {note}" for note in record["data"]["notes"])]
    return "\n".join([*lines, "", "## Classes", "", ", ".join(results["classes"]), ""])


def _plugin(name: str) -> str:
    return "compose" if "+" in name else name


def _hub_id(backbone: Mapping[str, Any]) -> str:
    """The hub id that a run started from, where the cache shows that it is one; else empty."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    path = str(backbone.get("path", ""))
    try:
        return path if path and isinstance(try_to_load_from_cache(path, "config.json"), str) else ""
    except HFValidationError:  # a folder's path
        return ""


def _base(backbone: Mapping[str, Any], base: str) -> str:
    if base:
        return f"[{base}](https://huggingface.co/{base})"
    path = str(backbone.get("path", ""))
    return f"`{path}`, a hub id or a local folder" if path else f"{backbone['name']}, which comes with Surefoot"


def _licence(licence: str) -> str:
    return "not stated here; that of the base model and of the data hold" if licence == UNKNOWN else licence


def _use(form: Format, run: Path, place: str) -> str:
    about = read_card(classifier_folder(run))
    template = about.templates[0] if about.templates else "{}"
    labels = ", ".join(repr(name) for name in about.classes[:3]) + (", ..." if len(about.classes) > 3 else "")
    use = USE[form]
    for slot, value in {"{place}": place, "{labels}": f"[{labels}]", "{template}": repr(template)}.items():
        use = use.replace(slot, value)
    return use
