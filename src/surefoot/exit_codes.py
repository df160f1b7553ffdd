"""How a command ends when something goes wrong: a message on standard error and an exit code.

Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted with everything saved.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import typer


@contextmanager
def usage_errors() -> Iterator[None]:
    """A ValueError inside is the user's words: exit code 2."""
    try:
        yield
    except (ValueError, TypeError) as error:
        _fail(error, 2)


@contextmanager
def exit_codes() -> Iterator[None]:
    """Turns failures into a message on standard error and an exit code."""
    from surefoot.interruption import Interrupted, stopped_by_signal

    try:
        with stopped_by_signal():
            yield
    except (Interrupted, KeyboardInterrupt) as stop:
        _fail(stop if str(stop) else "interrupted; the same command goes on from what is saved", 130)
    except (ValueError, OSError, RuntimeError) as error:
        _fail(error, 1)


def _fail(error: object, code: int) -> None:
    typer.echo(f"surefoot: {error}", err=True)
    raise typer.Exit(code)
