"""Your own images with a metadata file: its columns for path, label and split, and those whose values make groups.

`root` is a CSV or Parquet file, or a folder with a metadata.csv. Columns go by their usual names unless an option says
which is meant; splits may be 0, 1 and 2 or words. Groups are the values of one column, such as a region, or of
several together, such as class and background; a row that says nothing in one of them has no group.
"""

from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, model_validator

from surefoot.data.manifest import ClassList, OnMissing, Table, read_classes, with_files
from surefoot.data.partition import Fraction, Partition, check_fractions, make_task
from surefoot.data.sheet import KNOWN_SPLITS, Sheet, class_list, read_sheet
from surefoot.data.sources import FolderSource
from surefoot.data.task import Task, TaskSource

PATHS = ("path", "filename", "img_filename", "file_name", "image_path", "image_id", "image", "file")
LABELS = ("label", "y", "class", "category")
SPLITS = ("split", "partition")


class Metadata(TaskSource):
    class Config(TaskSource.Config):
        root: str = ""  # the CSV or Parquet file, or a folder with a metadata.csv
        images: str = ""  # what paths are relative to; "" = the file's folder
        path: str = ""  # columns; "" = by their usual names
        label: str = ""
        split: str = ""
        groups: tuple[str, ...] = ()  # columns whose values together make a group
        classes: tuple[str, ...] = ()  # names of the labels 0, 1, ...; () = those of classes.yaml, or the labels
        on_missing: OnMissing = "stop"  # skip: leave rows out whose image is not there
        validation_fraction: Fraction = 0.1  # used where the file has no such split
        test_fraction: Fraction = 0.2
        split_seed: Annotated[int, Field(ge=0)] = 0
        templates: tuple[str, ...] = ("a photo of a {}.", "a picture of a {}.")
        contexts: tuple[str, ...] = ("a photo of a {}.", "a drawing of a {}.", "a dark photo of a {}.", "a close {}.")

        @model_validator(mode="after")
        def _something_is_left(self) -> Self:
            check_fractions(self.validation_fraction, self.test_fraction)
            return self

    summary = "Your own images with a metadata file: any columns, and groups from one or several of them."

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.config: Metadata.Config = config

    def load(self) -> Task:
        config = self.config
        file = self._file()
        sheet = read_sheet(file)
        source = FolderSource(Path(config.images).expanduser() if config.images else file.parent)
        table = Table(
            source=source,
            origin=sheet.origin,
            path=sheet.paths(config.path or sheet.first_of(PATHS, option="task.path"), option="task.path"),
            label=sheet.filled(config.label or sheet.first_of(LABELS, option="task.label"), option="task.label"),
            split=self._splits(sheet),
            domain=[""] * len(sheet),
            group=self._groups(sheet),
            classes=self._classes(file),
        )
        remedy = "paths are relative to the file, or to task.images; task.on_missing=skip leaves these rows out"
        return make_task(
            file.stem if file.stem != "metadata" else file.parent.resolve().name,
            with_files(table, source, remedy=remedy, on_missing=config.on_missing),
            Partition("", config.validation_fraction, config.test_fraction, config.split_seed),
            templates=config.templates,
            contexts=config.contexts,
        )

    def _file(self) -> Path:
        if not self.config.root:
            raise ValueError("task.root is empty; give a CSV or Parquet file, or a folder with a metadata.csv")
        path = Path(self.config.root).expanduser()
        file = path / "metadata.csv" if path.is_dir() else path
        if not file.is_file():
            raise FileNotFoundError(f"task.root={self.config.root}: there is no file {file}")
        if file.suffix.lower() not in (".csv", ".tsv", ".txt", ".parquet"):
            raise ValueError(
                f"task.root={self.config.root} is a {file.suffix or 'plain'} file; give .csv, .tsv, .txt or .parquet"
            )
        return file

    def _splits(self, sheet: Sheet) -> list[str]:
        """The split of each row, "" for all of them where no column says it."""
        name = self.config.split or next((name for name in SPLITS if name in sheet.columns), "")
        if not name:
            return [""] * len(sheet)
        values = [value.lower() for value in sheet.column(name, option="task.split")]
        return Sheet(sheet.origin, {name: values}).words(name, KNOWN_SPLITS)

    def _groups(self, sheet: Sheet) -> list[str]:
        names = self.config.groups
        if not names:
            raise ValueError(
                f"task.groups is empty; name the columns whose values make groups, such as task.groups=[place] or "
                f"task.groups=[y,place]. {sheet.origin} has {list(sheet.columns)}"
            )
        rows = zip(*(sheet.column(name, option="task.groups") for name in names), strict=True)
        return [
            "" if "" in values else ", ".join(f"{name}={value}" for name, value in zip(names, values, strict=True))
            for values in rows
        ]

    def _classes(self, file: Path) -> ClassList:
        beside = file.parent / "classes.yaml"
        if self.config.classes:
            return class_list(self.config.classes)
        return read_classes(beside.read_bytes(), str(beside)) if beside.exists() else ClassList()
