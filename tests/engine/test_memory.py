"""Memory that is free goes back to the system."""

import subprocess
import sys

import pytest

SCRIPT = """
import resource, sys
import torch
from surefoot.engine.memory import return_large_blocks

if sys.argv[1] == "returned":
    return_large_blocks()

def megabytes():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 1e6

del_first = torch.ones(4_000_000)  # 16 MB; freeing it raises the limit of a C library that is left alone
del del_first
blocks, kept = [], []
for _ in range(30):
    blocks.append(torch.ones(2_000_000))  # 8 MB
    kept.append(torch.ones(50_000))  # 0.2 MB, between the large ones
full = megabytes()
blocks.clear()
print(full - megabytes())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_large_blocks_go_back_when_they_are_free() -> None:
    def given_back(how: str) -> float:
        return float(subprocess.run([sys.executable, "-c", SCRIPT, how], check=True, capture_output=True).stdout)

    assert given_back("returned") > 200
    assert given_back("left alone") < 100
