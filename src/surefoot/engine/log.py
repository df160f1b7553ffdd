"""What a run tells while it trains: a line of JSON a step in metrics.jsonl, and a progress bar or plain lines."""

import json
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from surefoot.checkpoint import disk_errors, write_text

PLAIN_SECONDS = 10.0  # between plain lines


class Metrics:
    """Takes what is to be logged of a step; this one drops it (other ranks)."""

    def write(self, entry: Mapping[str, object]) -> None:
        """Log one entry."""


class MetricsFile(Metrics):
    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, entry: Mapping[str, object]) -> None:
        with disk_errors(self.path.parent, self.path.name), self.path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(entry) + "\n")


@contextmanager
def metrics_file(path: Path, *, stage: int, step: int, written: bool = True) -> Iterator[Metrics]:
    """`metrics.jsonl`; a resumed run drops the lines from the step on that it starts with."""
    if not written:
        yield Metrics()
        return
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.is_file() else []
    with disk_errors(path.parent, path.name):
        write_text(path, "".join(line for line in lines if _stands_before(line, stage, step)))
    yield MetricsFile(path)


def _stands_before(line: str, stage: int, step: int) -> bool:
    try:
        entry = json.loads(line)
    except ValueError:  # a line cut short by a kill
        return False
    return line.endswith("\n") and (entry["stage"], entry["step"]) < (stage, step)


def tell(notes: Iterable[str]) -> None:
    """Write notes to standard error, a line each."""
    for note in notes:
        sys.stderr.write(f"note: {note}\n")


class Bar:
    """One line of progress for one thing that is done in steps."""

    def advance_to(self, step: int, text: str) -> None:
        """Show that `step` steps are done."""


class RichBar(Bar):
    def __init__(self, progress: Progress, task: TaskID) -> None:
        self.progress, self.task = progress, task

    def advance_to(self, step: int, text: str) -> None:
        self.progress.update(self.task, completed=step, detail=text)


class PlainBar(Bar):
    """A line every ten seconds, for logs and pipes."""

    def __init__(self, name: str, total: int, stream: TextIO) -> None:
        self.name, self.total, self.stream = name, total, stream
        self.told = time.monotonic()

    def advance_to(self, step: int, text: str) -> None:
        now = time.monotonic()
        if step == self.total or now - self.told >= PLAIN_SECONDS:
            self.told = now
            self.stream.write(f"{self.name}: {step}/{self.total} {text}\n")
            self.stream.flush()


@contextmanager
def progress_bar(name: str, total: int, *, shown: bool = True) -> Iterator[Bar]:
    """A live bar on a terminal, plain lines elsewhere, on standard error; silent where not `shown` (other ranks)."""
    if not shown:
        yield Bar()
    elif sys.stderr.isatty():
        columns = (
            TextColumn("{task.description:<28}"),
            BarColumn(),
            TextColumn("{task.completed}/{task.total} {task.fields[detail]}"),
            TimeRemainingColumn(compact=True),
        )
        with Progress(*columns, console=Console(stderr=True)) as progress:
            yield RichBar(progress, progress.add_task(name, total=total, detail=""))
    else:
        yield PlainBar(name, total, sys.stderr)
