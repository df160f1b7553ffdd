import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from surefoot.occupied import FILE, occupied

HOLD = """
import sys, time
from pathlib import Path
from surefoot.occupied import occupied
with occupied(Path(sys.argv[1])):
    print("held\\n", end="", flush=True)
    time.sleep(300)
"""


def holder(folder: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_second_process_is_refused_and_the_first_named_until_it_ends(tmp_path: Path) -> None:
    with holder(tmp_path) as first:
        day = time.strftime("%Y-")
        told = (
            rf"in use: process {first.pid} on {socket.gethostname()} since {day}.* runs in it\. Wait for it or stop it"
        )
        with pytest.raises(ValueError, match=told), occupied(tmp_path):
            pass
        assert json.loads((tmp_path / FILE).read_text())["pid"] == first.pid
        first.kill()
    with occupied(tmp_path):  # what a dead process left is taken over
        assert json.loads((tmp_path / FILE).read_text())["pid"] == os.getpid()
    assert list(tmp_path.iterdir()) == []


def test_children_that_outlive_a_killed_process_do_not_hold_the_folder(tmp_path: Path) -> None:
    forking = HOLD.replace('print("held', 'import os; os.fork(); print("held')
    process = subprocess.Popen(
        [sys.executable, "-c", forking, str(tmp_path)], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout is not None
    assert [process.stdout.readline() for _ in range(2)] == ["held\n"] * 2
    process.kill()
    process.wait()
    try:
        with occupied(tmp_path):
            pass
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.stdout.close()


def test_a_lock_with_nothing_or_nonsense_in_it_is_taken_over(tmp_path: Path) -> None:
    for text in ("", '{"pid": 1', "[]", json.dumps({"pid": os.getpid(), "host": socket.gethostname()})):
        (tmp_path / FILE).write_text(text)
        with occupied(tmp_path):
            assert json.loads((tmp_path / FILE).read_text())["pid"] == os.getpid()


def test_an_error_inside_lets_go_of_the_folder(tmp_path: Path) -> None:
    with pytest.raises(KeyError), occupied(tmp_path / "new"):
        raise KeyError
    with occupied(tmp_path / "new"):
        pass
