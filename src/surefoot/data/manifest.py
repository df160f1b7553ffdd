"""One reader for what users have: a folder, a CSV or Parquet file, a zip of either. It gives a Table of rows.

The accepted layouts are described in `surefoot.tasks.folder`. Which rows train and which test is left to `partition`.
"""

import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import yaml

from surefoot.data.columns import read_columns
from surefoot.data.sources import FolderSource, ZipSource, instead
from surefoot.data.task import Source

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")
SPLIT_NAMES = {
    "train": "train", "training": "train",
    "validation": "validation", "valid": "validation", "val": "validation", "dev": "validation",
    "test": "test", "testing": "test",
}  # fmt: skip
PromptNames = Literal["name", "synonyms", "both"]
OnMissing = Literal["stop", "skip"]
EXAMPLES = 3  # paths shown where many are meant
COLUMNS = ("path", "label", "split", "domain", "group")
LAYOUTS = """expected one of
  train/<class>/*.jpg, and optionally validation/<class>/, test/<class>/ and <shift>/<class>/
  <domain>/<class>/*.jpg
  <split>/<domain>/<class>/*.jpg or <domain>/<split>/<class>/*.jpg
  <class>/*.jpg
  a manifest.csv or manifest.parquet with the columns path, label (and optionally split, domain, group)"""


@dataclass(frozen=True)
class ClassList:
    """What a classes.yaml says. `index` maps folder names, names and synonyms to positions in `names`.

    Where `complete`, there are no other classes; else `index` only renames labels that stand in the data.
    """

    names: tuple[str, ...] = ()
    index: Mapping[str, int] = field(default_factory=dict)
    complete: bool = False
    templates: tuple[str, ...] = ()
    contexts: tuple[str, ...] = ()
    synonyms: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # of those names that have some

    def called(self, by: PromptNames) -> tuple[tuple[str, ...], ...]:
        """What sentences call each class: its name, its synonyms (the name where it has none), or both."""
        both = [(name, *self.synonyms.get(name, ())) for name in self.names]
        chosen = {"name": [row[:1] for row in both], "synonyms": [row[1:] or row for row in both], "both": both}[by]
        return tuple(tuple(dict.fromkeys(row)) for row in chosen)


@dataclass(frozen=True)
class Table:
    """Rows of a data set, a list for each column, "" where a row says nothing; splits are "train", "validation", "test"
    or ""; `origin` is for messages, `notes` say what was left out."""

    source: Source
    origin: str
    path: Sequence[str]
    label: Sequence[str]
    split: Sequence[str]
    domain: Sequence[str]
    group: Sequence[str]
    classes: ClassList
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.path)

    def rows(self, at: Sequence[int]) -> "Table":
        """Only the rows at these places."""
        path, label, split, domain, group = (
            [column[i] for i in at] for column in (self.path, self.label, self.split, self.domain, self.group)
        )
        return replace(self, path=path, label=label, split=split, domain=domain, group=group)


def read_table(root: str, *, images: str = "") -> Table:
    """Read a folder, zip, CSV or Parquet file; paths in the latter are relative to `images` or else to the file.

    Raises FileNotFoundError for what is not there and ValueError for what is not understood.
    """
    if not root:
        raise ValueError("task.root is empty; give a folder, a zip, or a CSV or Parquet file")
    path = Path(root).expanduser()
    if not path.exists():
        raise FileNotFoundError(f"task.root={root!r}: no such file or folder (from {Path.cwd()})")
    if path.is_dir():
        return _read_tree(FolderSource(path), "")
    if path.suffix.lower() == ".zip":
        archive = ZipSource(path)
        return _read_tree(archive, _wrapping_folder(archive.files()))
    if path.suffix.lower() in (".csv", ".parquet"):
        folder = FolderSource(Path(images).expanduser() if images else path.parent)
        beside = path.parent / "classes.yaml"
        classes = read_classes(beside.read_bytes(), str(beside)) if beside.exists() else ClassList()
        return _read_rows(path.read_bytes(), folder, "", str(path), classes)
    raise ValueError(f"task.root={root!r} is a {path.suffix or 'plain'} file; give a folder, .zip, .csv or .parquet")


def read_classes(data: bytes, origin: str) -> ClassList:
    """Read a classes.yaml: `classes` (a list, or a map from folder to display name), `templates`, `contexts`."""
    try:
        content = yaml.safe_load(data.decode("utf-8-sig"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{origin} is not valid YAML in UTF-8: {error}") from error
    if not isinstance(content, dict) or not set(content) <= {"classes", "templates", "contexts"}:
        found = sorted(map(str, content)) if isinstance(content, dict) else type(content).__name__
        raise ValueError(f"{origin}: expected the keys classes, templates and contexts, found {found}")
    entries = content.get("classes", {})
    if isinstance(entries, dict):
        complete, classes = False, [{"name": name, "folder": folder} for folder, name in entries.items()]
    elif isinstance(entries, list):
        complete, classes = True, [{"name": entry} if isinstance(entry, str) else entry for entry in entries]
    else:
        raise ValueError(f"{origin}: classes must be a list or a map, not {type(entries).__name__}")
    index: dict[str, int] = {}
    for position, entry in enumerate(classes):
        keys = _keys_of_class(entry, origin)
        for key in keys if complete else {str(entry["folder"])}:
            if index.setdefault(key, position) != position:
                raise ValueError(
                    f"{origin}: {key!r} stands for two classes; each name, folder and synonym must be one's"
                )
    return ClassList(
        names=tuple(str(entry["name"]) for entry in classes),
        index=index,
        complete=complete,
        templates=_sentences(content, "templates", origin),
        contexts=_sentences(content, "contexts", origin),
        synonyms={str(entry["name"]): tuple(map(str, entry["synonyms"])) for entry in classes if entry.get("synonyms")},
    )


def _keys_of_class(entry: Any, origin: str) -> set[str]:
    known = {"name", "synonyms", "folder"}
    if not isinstance(entry, dict) or "name" not in entry or not set(entry) <= known:
        raise ValueError(f"{origin}: a class is a name or a map with the keys name, synonyms and folder, not {entry!r}")
    synonyms = entry.get("synonyms", [])
    if not isinstance(synonyms, list):
        raise ValueError(f"{origin}: synonyms of {entry['name']!r} must be a list, not {synonyms!r}")
    return {str(key) for key in (entry.get("folder", entry["name"]), entry["name"], *synonyms)}


def _sentences(content: Mapping[str, Any], key: str, origin: str) -> tuple[str, ...]:
    sentences = content.get(key, [])
    if not isinstance(sentences, list) or not all(isinstance(sentence, str) for sentence in sentences):
        raise ValueError(f"{origin}: {key} must be a list of sentences, not {sentences!r}")
    return tuple(sentences)


def _wrapping_folder(files: Sequence[str]) -> str:
    """The one folder that a zip holds everything in ("pets/"), or ""."""
    first = posixpath.commonpath(files).split("/")[0] if files else ""
    wrapped = first not in SPLIT_NAMES and all(f.count("/") > 1 or not _is_image(f) for f in files)
    return f"{first}/" if first and wrapped and first not in files else ""


def _read_tree(source: FolderSource | ZipSource, base: str) -> Table:
    files = source.files()
    origin = source.describe()
    classes = ClassList()
    if base + "classes.yaml" in files:
        classes = read_classes(source.read(base + "classes.yaml"), f"{origin}, classes.yaml")
    for manifest in (base + "manifest.csv", base + "manifest.parquet"):
        if manifest in files:
            return _read_rows(source.read(manifest), source, base, f"{origin}, {manifest}", classes)
    paths = [path for path in files if path.lower().endswith(IMAGE_SUFFIXES)]  # inline, as there may be a million
    if not paths:
        raise ValueError(f"{origin} holds no images ({', '.join(IMAGE_SUFFIXES)}), {instead(files)}; {LAYOUTS}")
    inside = [path.rpartition("/")[0] for path in paths]
    first: dict[str, str] = {}  # folder -> its first image
    for folder, path in zip(inside, paths, strict=True):
        first.setdefault(folder, path)
    samples = list(first.values())
    rows = _by_layout([tuple(path[len(base) :].split("/")[:-1]) for path in samples], samples, origin)
    meanings = dict(zip(first, rows, strict=True))
    split, domain, label = ([meanings[folder][part] for folder in inside] for part in range(3))
    folders = source.folders()
    _refuse_empty_splits(folders, samples, base, origin)
    empty = _classes_without_images(folders, samples)
    if empty:
        raise ValueError(
            f"{origin}: no image ({', '.join(IMAGE_SUFFIXES)}) lies in the class folders {', '.join(empty)}; "
            "add some, or remove these folders"
        )
    return Table(source, origin, paths, label, split, domain, [""] * len(paths), classes)


def _refuse_empty_splits(folders: Sequence[str], paths: Sequence[str], base: str, origin: str) -> None:
    for folder in folders:
        name = folder[len(base) :].strip("/")
        if name.lower() in SPLIT_NAMES and not any(path.startswith(f"{base}{name}/") for path in paths):
            raise ValueError(
                f"{origin}: the split folder {name} holds no image; add some, or remove the folder to have images of "
                "train taken for it"
            )


def _classes_without_images(folders: Sequence[str], paths: Sequence[str]) -> list[str]:
    """Folders at the depth of the class folders, of classes that have no image anywhere."""
    classes = {path.split("/")[-2] for path in paths}
    depth = paths[0].count("/")
    return [f for f in folders if f.count("/") == depth - 1 and f.split("/")[-1] not in classes]


def _by_layout(folders: Sequence[tuple[str, ...]], paths: Sequence[str], origin: str) -> list[tuple[str, str, str]]:
    """(split, domain, class) of the images in each of `folders`; `paths` has one image of each."""
    depths = {len(parts) for parts in folders}
    if len(depths) > 1 or not depths <= {1, 2, 3}:
        samples = ", ".join(paths[[len(parts) for parts in folders].index(depth)] for depth in sorted(depths))
        raise ValueError(f"{origin}: images lie {sorted(depths)} folders deep ({samples}); {LAYOUTS}")
    splits = [[SPLIT_NAMES.get(part.lower(), "") for part in parts] for parts in folders]
    depth = depths.pop()
    outer, middle = ({row[level] for row in splits} for level in (0, min(1, depth - 1)))
    if depth == 1:
        if outer - {""}:
            raise ValueError(f"{origin}: {paths[0]} lies in a split but in no class folder; {LAYOUTS}")
        return [("", "", name) for (name,) in folders]
    if depth == 2:
        if outer == {""}:
            return [("", domain, name) for domain, name in folders]
        if "train" not in outer:
            raise ValueError(
                f"{origin}: found {sorted({parts[0] for parts in folders})} but no train folder; {LAYOUTS}"
            )
        return [(row[0], "" if row[0] else parts[0], parts[1]) for row, parts in zip(splits, folders, strict=True)]
    if "" not in outer:
        return [(row[0], parts[1], parts[2]) for row, parts in zip(splits, folders, strict=True)]
    if "" not in middle:
        return [(row[1], parts[0], parts[2]) for row, parts in zip(splits, folders, strict=True)]
    raise ValueError(f"{origin}: neither the first nor the second folder of {paths[0]} is always a split; {LAYOUTS}")


def _read_rows(data: bytes, source: FolderSource | ZipSource, base: str, origin: str, classes: ClassList) -> Table:
    columns = read_columns(data, origin, wanted=COLUMNS)
    absent = [name for name in ("path", "label") if name not in columns]
    if absent:
        raise ValueError(f"{origin}: no column {' and no '.join(absent)}; found the columns {list(columns)}")
    count = len(columns["path"])
    if count == 0:
        raise ValueError(f"{origin} has no rows; add one for each image")
    path, label, split, domain, group = (columns.get(name, [""] * count) for name in COLUMNS)
    for name, values in (("path", path), ("label", label)):
        if "" in values:
            raise ValueError(f"{origin}: row {values.index('') + 1} has no {name}")
    unknown = sorted({value for value in split if value and value.lower() not in SPLIT_NAMES})
    if unknown:
        raise ValueError(f"{origin}: the column split holds {unknown[:5]}; known are {sorted(SPLIT_NAMES)}")
    path = [base + posixpath.normpath(value.replace("\\", "/")) for value in path]
    split = [SPLIT_NAMES[value.lower()] if value else "" for value in split]
    table = Table(source, origin, path, label, split, domain, group, classes)
    return with_files(table, source, remedy="paths are relative to the manifest, or to task.images")


def with_files(
    table: Table,
    source: FolderSource | ZipSource,
    *,
    remedy: str,
    on_missing: OnMissing = "stop",
    unused: Sequence[str] = (),
) -> Table:
    """The rows whose image is in `source`; notes count rows that were left out, and images beside them without a row.

    `unused` are the paths of other rows, which need not be there. Raises FileNotFoundError, which says `remedy`, where
    an image is missing and `on_missing` is "stop", or all are.
    """
    lost = source.missing(table.path)
    told = f"{len(lost)} of {len(table)} images are not in {source.describe()} (first: {', '.join(lost[:EXAMPLES])})"
    if lost and (on_missing == "stop" or len(lost) == len(table)):
        raise FileNotFoundError(f"{table.origin}: {told}; {remedy}")
    notes = [f"{told}; their rows are not used (task.on_missing=skip)"] if lost else []
    others = [path for path in source.beside([*table.path, *unused]) if _is_image(path)]
    if others:
        notes.append(
            f"{len(others)} images that lie beside those of {table.origin} have no row there and are not used "
            f"(first: {', '.join(others[:EXAMPLES])})"
        )
    gone = set(lost)
    kept = table.rows([i for i, path in enumerate(table.path) if path not in gone]) if gone else table
    return replace(kept, notes=(*table.notes, *notes))


def _is_image(path: str) -> bool:
    return path.lower().endswith(IMAGE_SUFFIXES)
