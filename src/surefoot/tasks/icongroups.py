"""IconGroups: animals and vehicles on grass and on water; in training, class and background mostly go together.

The embedded data set, in the manner of Waterbirds: a zip of 64-pixel pictures with a manifest.csv and a classes.yaml,
read like a user's own zip. In training animals stand on grass and vehicles on water in 95 % of the pictures; validation
and test have each icon on both. A group is a class on a background. Styles of drawing are mixed in each split, so there
is one test split and no shift.
"""

from dataclasses import replace
from pathlib import Path

from surefoot.data.manifest import PromptNames, read_table
from surefoot.data.partition import Partition, make_task
from surefoot.data.task import Task, TaskSource

ARCHIVE = Path(__file__).parent.parent / "assets" / "icongroups.zip"


class IconGroups(TaskSource):
    class Config(TaskSource.Config):
        root: str = ""  # another build of the archive; "" = the embedded one
        prompt_names: PromptNames = "synonyms"  # "ant, bear, ..."; name: "animal"; both

    summary = "Animals and vehicles on grass and water: class and background agree in training, not in the test."

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.config: IconGroups.Config = config

    def load(self) -> Task:
        table = read_table(self.config.root or str(ARCHIVE))
        mixed = replace(table, domain=[""] * len(table))
        return make_task(
            "icongroups", mixed, Partition(), templates=(), contexts=(), prompt_names=self.config.prompt_names
        )
