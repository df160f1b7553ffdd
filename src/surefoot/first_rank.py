"""What the first of several processes does for all of them: hold a folder, write a file."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from surefoot import checkpoint
from surefoot.occupied import occupied

if TYPE_CHECKING:
    from lightning_fabric import Fabric


@contextmanager
def first_rank_holds(fabric: "Fabric", folder: Path) -> Iterator[None]:
    """Keep other runs out of a folder while this one is in it; a folder that was empty and stays so is removed."""
    there = folder.exists()
    with ExitStack() as held:

        def hold() -> None:
            with checkpoint.disk_errors(folder, "lock.json"):
                held.enter_context(occupied(folder))

        on_first_rank(fabric, hold)
        try:
            yield
        finally:
            held.close()
            if fabric.is_global_zero and not there and folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()


def on_first_rank(fabric: "Fabric", act: Callable[[], None]) -> None:
    """Let the first process act while the others wait; an error there is an error everywhere."""
    error: str = ""
    if fabric.is_global_zero:
        try:
            act()
        except (ValueError, OSError) as caught:
            if fabric.world_size == 1:
                raise
            error = f"{type(caught).__name__}: {caught}"
    error = fabric.broadcast(error)
    if error:
        raise ValueError(error)
