"""Run as one of several processes: writes the loss and gradients of methods' stages on the joined batch."""

import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

from surefoot import plugins
from surefoot.backbones.base import load_backbone
from surefoot.data.batch import Batch
from surefoot.data.prompts import Prompts
from surefoot.engine.towers import towers_told
from surefoot.methods.base import Method, Progress, Stage

PROMPTS = Prompts(("red", "green", "blue"), ("a {}", "a picture of a {}", "one {}"), ("a bright {}", "a dark {}"))
COUNT = 8


def share(rank: int, world: int, *, view: int) -> Batch:
    draw = torch.Generator().manual_seed(0)
    images = torch.randn(COUNT, 3, 16, 16, generator=draw)
    labels, index = torch.arange(COUNT) % 3, torch.arange(COUNT)
    rows = slice(rank * COUNT // world, (rank + 1) * COUNT // world)
    whole = (images, labels, torch.full((COUNT,), -1), index, torch.full((COUNT,), view))
    return Batch(*(part[rows] for part in whole))


def main(rank: int, world: int, meeting: str, folder: Path, backbone: str, micro_batch: int, names: list[str]) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=world)
    for name in names:
        plugin = plugins.find("methods", name, base=Method)
        method = plugin(plugin.Config(), load_backbone(backbone), PROMPTS)
        method.eval()  # what is dropped at random in training each process draws for itself
        for number, stage in enumerate(method.stages or (Stage(train=()),)):
            method.zero_grad()
            training = method.train_only(stage.train)
            wrapped = DistributedDataParallel(method) if training else method
            given = share(rank, world, view=0 if stage.augment else -1)
            with towers_told(method, micro_batch=micro_batch, compiled=False):
                terms = wrapped(given, Progress(0, 10, 0, 2, number))
                loss = torch.stack(list(terms.values())).sum()
                if training:
                    loss.backward()
            mean = loss.detach().clone()
            distributed.all_reduce(mean)
            found = {key: parameter.grad for key, parameter in training.items() if parameter.grad is not None}
            assert found.keys() == training.keys()
            if rank == 0:
                save_file({"loss": mean / world, **found}, folder / f"{name}.{number}.safetensors")
    distributed.destroy_process_group()


if __name__ == "__main__":
    main(
        int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], Path(sys.argv[4]), sys.argv[5], int(sys.argv[6]), sys.argv[7:]
    )
