"""For every method: the gradient on two processes is that of one process with the joined batch."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from safetensors.torch import load_file

from surefoot import plugins

SCRIPT = Path(__file__).with_name("gradients.py")
ON_SIGLIP = ("fine_tune", "flyp", "r_adapter")  # its bias has no gradient under a softmax: DDP must not wait for one


def run(
    factory: pytest.TempPathFactory, backbone: str, names: Sequence[str], *, micro_batch: int = 0
) -> dict[int, Path]:
    """Folder of gradients by number of processes, a file a method and stage; two take their batch in parts."""
    folders = {}
    for world in (1, 2):
        folders[world] = factory.mktemp(f"gradients{world}")
        given = [str(world), str(folders[world] / "meeting"), str(folders[world]), backbone]
        given += [str(micro_batch if world == 2 else 0), *names]
        ranks = [subprocess.Popen([sys.executable, str(SCRIPT), str(rank), *given]) for rank in range(world)]
        assert [process.wait(timeout=300) for process in ranks] == [0] * world
    return folders


@pytest.fixture(scope="module")
def gradients(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    return run(tmp_path_factory, "tiny", plugins.names("methods"))


@pytest.fixture(scope="module")
def gradients_in_parts(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    return run(tmp_path_factory, "tiny", plugins.names("methods"), micro_batch=1)


@pytest.fixture(scope="module")
def siglip_gradients(tmp_path_factory: pytest.TempPathFactory, siglip_folder: Path) -> dict[int, Path]:
    return run(tmp_path_factory, str(siglip_folder), ON_SIGLIP)


@pytest.mark.parametrize("name", plugins.names("methods"))
def test_the_gradient_on_two_processes_is_that_of_one(name: str, gradients: dict[int, Path]) -> None:
    compare(name, gradients)


@pytest.mark.parametrize("name", plugins.names("methods"))
def test_so_it_is_where_each_process_takes_its_images_one_at_a_time(
    name: str, gradients_in_parts: dict[int, Path]
) -> None:
    compare(name, gradients_in_parts)


@pytest.mark.parametrize("name", ON_SIGLIP)
def test_so_it_is_with_siglip(name: str, siglip_gradients: dict[int, Path]) -> None:
    compare(name, siglip_gradients, smallest=1e-2)  # a key's bias has no gradient but what rounding leaves


def compare(name: str, gradients: dict[int, Path], *, smallest: float = 0.0) -> None:
    """Each tensor to 1e-5 of its largest value, or of that share of the largest of all."""
    files = sorted(path.name for path in gradients[1].glob(f"{name}.*.safetensors"))
    assert files == sorted(path.name for path in gradients[2].glob(f"{name}.*.safetensors"))
    assert files
    for file in files:
        one, two = load_file(gradients[1] / file), load_file(gradients[2] / file)
        assert one.keys() == two.keys()
        largest = float(max((tensor.abs().max() for key, tensor in one.items() if key != "loss"), default=0.0))
        for key in one:
            size = one[key].abs().max().clamp(min=max(1e-6, smallest * largest))
            assert (one[key] - two[key]).abs().max() <= 1e-5 * size, key
