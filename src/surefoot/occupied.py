"""One run at a time in a folder: the process that runs in it holds `lock.json`, which says who it is.

The system lets go of the lock when the process ends, however it ends. Where a file system knows no locks, the process
that the file names counts while it lives on this machine.
"""

import errno
import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

FILE = "lock.json"
HELD = (errno.EACCES, errno.EAGAIN)


@contextmanager
def occupied(folder: Path) -> Iterator[None]:
    """Hold `folder` for this process. Raises ValueError naming the process that holds it already.

    The lock is one between processes: a second hold in this process is not refused, and opening and closing the file
    elsewhere in it gives the lock away.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / FILE
    descriptor = _hold(path)
    me = {"pid": os.getpid(), "host": socket.gethostname(), "since": time.strftime("%Y-%m-%d %H:%M:%S %z")}
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(me).encode(), 0)
    except OSError:
        os.close(descriptor)
        raise
    try:
        yield
    finally:
        path.unlink(missing_ok=True)  # still held: nobody can have taken it over
        os.close(descriptor)


def _hold(path: Path) -> int:
    """An open descriptor of the lock's file, held by this process."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            # of the process, not of the open file: data workers that outlive a killed run must not go on holding it
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = _holder(descriptor)
            os.close(descriptor)
            if error.errno in HELD or _lives(holder):
                raise ValueError(_refusal(path, holder)) from error
            return os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o666)
        if _is_still(path, descriptor):
            return descriptor
        os.close(descriptor)  # removed meanwhile by the run that ended


def _is_still(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _holder(descriptor: int) -> dict[str, Any]:
    """What the file says; nothing where it is empty or cut short."""
    try:
        told = json.loads(os.pread(descriptor, 4096, 0))
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}


def _lives(holder: dict[str, Any]) -> bool:
    """Whether the process lives; one of another machine is taken to."""
    if holder.get("host") != socket.gethostname():
        return bool(holder)
    try:
        os.kill(int(holder["pid"]), 0)
    except (ProcessLookupError, KeyError, ValueError, OverflowError):
        return False
    except PermissionError:
        return True
    return int(holder["pid"]) != os.getpid()  # in a container that was started again the numbers are the same


def _refusal(path: Path, holder: dict[str, Any]) -> str:
    who = "process {pid} on {host} since {since}".format(**{"pid": "?", "host": "?", "since": "?", **holder})
    return (
        f"{path.parent} is in use: {who} runs in it. Wait for it or stop it, or give another output folder "
        f"(if that process is gone, remove {path})"
    )
