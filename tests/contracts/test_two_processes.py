"""For every method: the gradient on two processes is that of one process with the joined batch."""

import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

from surefoot import plugins

SCRIPT = Path(__file__).with_name("gradients.py")


@pytest.fixture(scope="module")
def gradients(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Folder of gradients by number of processes, a file a method and stage."""
    folders = {}
    for world in (1, 2):
        folders[world] = tmp_path_factory.mktemp(f"gradients{world}")
        meeting = folders[world] / "meeting"
        ranks = [
            subprocess.Popen([sys.executable, str(SCRIPT), str(rank), str(world), str(meeting), str(folders[world])])
            for rank in range(world)
        ]
        assert [process.wait(timeout=300) for process in ranks] == [0] * world
    return folders


@pytest.mark.parametrize("name", plugins.names("methods"))
def test_the_gradient_on_two_processes_is_that_of_one(name: str, gradients: dict[int, Path]) -> None:
    files = sorted(path.name for path in gradients[1].glob(f"{name}.*.safetensors"))
    assert files == sorted(path.name for path in gradients[2].glob(f"{name}.*.safetensors"))
    assert files
    for file in files:
        one, two = load_file(gradients[1] / file), load_file(gradients[2] / file)
        assert one.keys() == two.keys()
        for key in one:
            size = one[key].abs().max().clamp(min=1e-6)
            assert (one[key] - two[key]).abs().max() <= 1e-5 * size, key
