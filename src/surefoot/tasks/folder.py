"""Your own images, without code: a folder, a zip, or a CSV or Parquet file.

Folders (also inside a zip, where one folder may wrap them all); images are jpg, jpeg, png, webp, bmp, gif, tif, tiff:

    train/<class>/*            and optionally validation/<class>/* and test/<class>/*, and <shift>/<class>/* under any
                               other name: test sets from elsewhere
    <domain>/<class>/*         `home` names the domain to train on; the others become shifts
    <split>/<domain>/<class>/* or <domain>/<split>/<class>/*
    <class>/*                  one folder, parted by a stratified fraction

Split folders may be called train or training, validation, valid, val or dev, test or testing.

Tables: `root` is a .csv (any usual separator, UTF-8) or .parquet file, or a folder or zip with a manifest.csv or
manifest.parquet. Columns: path and label, optionally split, domain and group; others are ignored. A path is relative to
the file (or to `images`). A label is a name, or a number that counts the classes of classes.yaml from 0.

A classes.yaml at the top of the folder or zip, or beside the table, may hold

    classes: {n01440764: tench}     # a map: folder or label -> name to show; others keep theirs
    classes:                        # or a list: all classes, in order
      - {name: house, synonyms: [home], folder: house_01}
      - tree
    templates: ["a photo of a {}."]                          # prompts
    contexts: ["a photo of a {}.", "a sketch of a {}."]      # prompts by context, for methods that use them

Where the home domain has no validation or no test split, one is taken from its training images, and the task notes it.
The parting follows `split_seed`, not the run's seed: runs with other seeds are then tested on the same images.
"""

from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, model_validator

from surefoot.data.manifest import PromptNames, read_table
from surefoot.data.partition import Fraction, Partition, check_fractions, make_task
from surefoot.data.task import Task, TaskSource

TEMPLATES = ("a photo of a {}.", "a picture of a {}.", "an image of a {}.", "a close-up photo of a {}.")
CONTEXTS = (
    "a photo of a {}.",
    "a drawing of a {}.",
    "a sketch of a {}.",
    "a painting of a {}.",
    "a cartoon of a {}.",
    "a blurry photo of a {}.",
    "a dark photo of a {}.",
    "a bright photo of a {}.",
)


class Folder(TaskSource):
    class Config(TaskSource.Config):
        root: str = ""  # the folder, zip, CSV or Parquet file
        images: str = ""  # what a CSV's or Parquet file's paths are relative to; "" = its folder
        home: str = ""  # the domain to train on; "" = the one that has training images
        validation_fraction: Fraction = 0.1  # used where there is no such split
        test_fraction: Fraction = 0.2
        split_seed: Annotated[int, Field(ge=0)] = 0
        templates: tuple[str, ...] = TEMPLATES  # where classes.yaml gives none
        contexts: tuple[str, ...] = CONTEXTS
        prompt_names: PromptNames = "name"  # what sentences call a class: its name, its synonyms, or both

        @model_validator(mode="after")
        def _something_is_left(self) -> Self:
            check_fractions(self.validation_fraction, self.test_fraction)
            return self

    summary = "Your own images: a folder, a zip, or a CSV or Parquet file."

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.config: Folder.Config = config

    def load(self) -> Task:
        config = self.config
        partition = Partition(config.home, config.validation_fraction, config.test_fraction, config.split_seed)
        table = read_table(config.root, images=config.images)
        name = Path(config.root).expanduser().resolve().stem
        return make_task(
            name,
            table,
            partition,
            templates=config.templates,
            contexts=config.contexts,
            prompt_names=config.prompt_names,
        )
