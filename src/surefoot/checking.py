"""The data check as a user asks for it: what is on the disk, the task's images, and what a backbone's tokenizer cuts.

What is found in images, names and counts stands in `data.check` and `data.findings`.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from surefoot.config import RunConfig, Settings, flatten, resolve
from surefoot.data.check import LOOK_ALIKE, Report, check_task, verdict_of
from surefoot.data.findings import Finding, long_name_findings
from surefoot.data.images import UnreadableImage
from surefoot.data.places import PlaceState, inventory
from surefoot.data.prompts import Prompts
from surefoot.data.scan import thumbnail
from surefoot.data.task import Split, Task
from surefoot.data.workers import all_cores
from surefoot.report.check_page import check_page
from surefoot.report.files import write_whole
from surefoot.run import load_run_backbone


@dataclass(frozen=True)
class Checked:
    """What a check found; `splits` are those of the task, none where it could not be loaded."""

    report: Report
    splits: Mapping[str, Split]

    def write_page(self, path: Path) -> None:
        """The report as one HTML file, with small pictures of the pairs that it shows."""
        shown: dict[str, str] = {}
        for pair in (pair for finding in self.report.findings for pair in finding.pairs):
            for split, image in ((pair.split, pair.path), (pair.other_split, pair.other_path)):
                try:
                    shown[image] = thumbnail(self.splits[split], list(self.splits[split].paths).index(image))
                except UnreadableImage:
                    continue  # two copies of a broken file
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, check_page(json.loads(self.report.to_json()), shown))


def check(settings: Settings, *, look_alike: int = LOOK_ALIKE) -> Checked:
    """Examine the task in `settings`; where these name a backbone, ask its tokenizer too.

    What keeps the task from being loaded is a finding. Raises ValueError for wrong settings. All cores read, unless
    `data.workers` says otherwise.
    """
    config = resolve({"data.workers": all_cores(), **settings})
    source = config.task.plugin(config.task.options)
    states: tuple[PlaceState, ...] = ()
    try:
        places = source.places()
        if places:
            found = inventory(config.task.options.model_dump().get("root", ""), places)
            states = found.states()
            if found.lacking:
                missing = f"{len(found.lacking)} of {len(places)} places are missing under {found.root}"
                return Checked(_failed(config, f"{missing}; nothing is downloaded, so get them first", states), {})
        task: Task = source.load()
    except (ValueError, OSError) as error:
        return Checked(_failed(config, str(error), states), {})
    report = check_task(task, config=config.data, look_alike=look_alike)
    more = _long_names(task, config) if any(name.split(".")[0] == "backbone" for name, _ in flatten(settings)) else []
    findings = (*more, *report.findings)
    return Checked(replace(report, findings=findings, verdict=verdict_of(findings), places=states), task.splits())


def _long_names(task: Task, config: RunConfig) -> Sequence[Finding]:
    backbone = load_run_backbone(config)
    tokenizer = backbone.tokenizer
    lengths = {
        name: max(ids.index(tokenizer.end) + 1 for ids in tokenizer.encode(sentences))
        for name, sentences in zip(task.classes, Prompts.from_task(task).class_sentences(), strict=True)
    }
    return long_name_findings(lengths, context=tokenizer.context, backbone=backbone.name)


def _failed(config: RunConfig, message: str, places: tuple[PlaceState, ...]) -> Report:
    return Report(
        task=config.task.name,
        fingerprint="",
        verdict="errors",
        domains={},
        splits={},
        findings=(Finding("error", "task", message),),
        places=places,
    )
