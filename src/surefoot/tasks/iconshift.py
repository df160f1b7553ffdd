"""IconShift: icons of everyday things in very different styles; trained on line icons, tested on all styles.

The embedded data set: a zip of 64-pixel PNGs with a manifest.csv and a classes.yaml, read like a user's own zip.
Home is `line`; the shifts are solid, colour, emoji and other styles. Icons are not photographs: the task ranks methods
for development and teaching. How it was made and what it confounds stands in its data card.
"""

from pathlib import Path

from surefoot.data.manifest import read_table
from surefoot.data.partition import Partition, make_task
from surefoot.data.task import Task, TaskSource

ARCHIVE = Path(__file__).parent.parent / "assets" / "iconshift.zip"
HOME = "line"


class IconShift(TaskSource):
    class Config(TaskSource.Config):
        root: str = ""  # another build of the archive; "" = the embedded one

    summary = "Icons of everyday things: trained on line icons, tested on solid, colour, emoji, 3D and pixel ones."

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.config: IconShift.Config = config

    def load(self) -> Task:
        table = read_table(self.config.root or str(ARCHIVE))
        return make_task("iconshift", table, Partition(home=HOME), templates=(), contexts=())
