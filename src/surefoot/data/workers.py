"""Processes that read images: how many there are, what they do when everything is told to stop, and who follows them.

What they read is their owner's affair; it must be the same whoever reads it.
"""

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from multiprocessing.sharedctypes import RawArray
from typing import TypeVar

from torch.utils.data import DataLoader, get_worker_info

Item = TypeVar("Item")

STOPPING = (signal.SIGINT, signal.SIGTERM)
GRACE = 20  # seconds that a worker process outlives SIGTERM
TOLD = "DataLoader worker (pid"  # so PyTorch's loader begins to tell of a worker that is no more
DYING = 2  # seconds from a broken pipe to the end of its process, at most
IN_A_ROW, IN_ALL = 3, 10  # deaths of workers that end a stream: at one place, and altogether


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
    """Let SIGINT and SIGTERM wait; processes that are started meanwhile begin so, until `outlive_signals`.

    A loader that starts its workers in here does not raise the death of one at any place of the main process, such as
    between two updates of weights, but where the next item is asked for.
    """
    before, child = signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING), signal.getsignal(signal.SIGCHLD)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGCHLD, child)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def outlive_signals(_: int) -> None:
    """SLURM, torchrun and Ctrl-C signal every process, but the main one needs its data until it has saved."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: signal.alarm(GRACE))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)


class Crew:
    """The worker processes of one loader: which they are, and what each of them reads; `size` of them."""

    def __init__(self, size: int) -> None:
        self._pids, self._busy = RawArray("q", size), RawArray("q", size)  # 0: none, nothing

    def enter(self, number: int) -> None:
        """To be called by each worker process when it starts."""
        outlive_signals(number)
        self._pids[number] = os.getpid()

    def takes(self, item: int) -> None:
        """To be called before item `item` is read, with -1 when there is none; the main process may call it too."""
        worker = get_worker_info()
        if worker is not None:
            self._busy[worker.id] = item + 1

    def dead(self) -> list[int]:
        """What each worker that is no more was reading when it died; -1 where it was nothing."""
        alive = {process.pid for process in multiprocessing.active_children()}
        return [read - 1 for pid, read in zip(self._pids, self._busy, strict=True) if pid and pid not in alive]

    def soon_dead(self) -> list[int]:
        """`dead`, once one is: its pipe may break a moment before the system says that it is no more."""
        until = time.monotonic() + DYING
        while not (found := self.dead()) and time.monotonic() < until:
            time.sleep(0.02)
        return found


def outlasting(
    start: Callable[[int, Crew], DataLoader[Item]], workers: int, *, told: Callable[[int], str]
) -> Generator[Item, None, None]:
    """What `start(0, crew)` gives, a loader with `crew.enter` as its worker_init_fn, though its workers may die.

    Where one does, `start(n, crew)` goes on after the n items that were given; `told` names what `Crew.takes` was told.
    RuntimeError where workers die again and again.
    """
    done, deaths, suspects = 0, 0, list[set[int]]()
    while True:
        crew = Crew(workers)
        with signals_held():  # the workers start in here
            stream = iter(start(done, crew))
        try:
            for item in stream:
                yield item
                done += 1
                suspects = []
            return
        except (RuntimeError, OSError, EOFError) as error:  # OSError: what a dead one has sent can no longer be fetched
            if not workers:
                raise
            dead = crew.soon_dead()
            if not dead and TOLD not in str(error):  # one may die before it could enter the crew
                raise
            deaths, suspects = deaths + 1, [*suspects, {item for item in dead if item >= 0}]
            if len(suspects) == IN_A_ROW or deaths == IN_ALL:
                blamed = set.intersection(*suspects) if len(suspects) == IN_A_ROW else set[int]()
                raise RuntimeError(_why(blamed, deaths, workers, told)) from error
        finally:
            del stream  # ends the other workers
        sys.stderr.write(f"note: a data worker process died ({deaths} so far); others go on where it was\n")


def _why(common: set[int], deaths: int, workers: int, told: Callable[[int], str]) -> str:
    fewer = f"lower data.workers={workers} (0 reads in the main process)"
    if common:
        return (
            f"a data worker process died {IN_A_ROW} times over {', '.join(map(told, sorted(common)))}; remove or "
            f"replace that file, or, if the memory ran out, {fewer}"
        )
    return f"data worker processes died {deaths} times. Most often the memory ran out: {fewer}"
