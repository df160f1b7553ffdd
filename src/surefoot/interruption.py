"""Stopping a run from outside: SIGTERM and Ctrl-C are collected, so that the run can save and leave."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Interrupted(Exception):  # noqa: N818  not an error: everything is saved
    """The user or the system asked the run to stop; its checkpoint is written."""


@contextmanager
def stop_signals() -> Iterator[list[int]]:
    """Collects SIGTERM and SIGINT instead of dying of them; a second Ctrl-C acts at once."""
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield received  # only the main thread may handle signals; there they act as always
        return

    def remember(number: int, _: FrameType | None) -> None:
        if received and number == signal.SIGINT:
            raise KeyboardInterrupt
        received.append(number)

    before = {number: signal.signal(number, remember) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def stopped_by_signal() -> Iterator[None]:
    """SIGTERM raises Interrupted inside, outside the training loop, which collects it (`stop_signals`)."""

    def stop(_: int, __: FrameType | None) -> None:
        raise Interrupted("interrupted; the same command goes on from what is saved")

    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may handle signals
        return
    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
