"""Processes that read images: how many there are, and what they do when everything is told to stop."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

STOPPING = (signal.SIGINT, signal.SIGTERM)
GRACE = 20  # seconds that a worker process outlives SIGTERM


def spare_cores() -> int:
    """Worker processes that do not take a core from training: all but two of the cores, at most eight."""
    return min(8, max(0, _usable_cores() - 2))


def all_cores() -> int:
    """Worker processes where nothing else wants the cores: one for each, at most eight."""
    return min(8, _usable_cores())


def _usable_cores() -> int:
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


@contextmanager
def signals_held() -> Iterator[None]:
    """Let SIGINT and SIGTERM wait; processes that are started meanwhile begin so, until `outlive_signals`."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def outlive_signals(_: int) -> None:
    """SLURM, torchrun and Ctrl-C signal every process, but the main one needs its data until it has saved."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: signal.alarm(GRACE))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)
