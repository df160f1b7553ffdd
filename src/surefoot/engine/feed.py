"""Batches on their way to the device: pinned memory, and copies that run beside the computation."""

from collections.abc import Iterator
from typing import Self

import torch
from lightning_fabric import Fabric

from surefoot.data.batch import Batch


class Feed(Iterator[Batch]):
    """The batches of `stream` on the device, in order; nothing is read ahead, so that a resumed run reads the same."""

    def __init__(self, fabric: Fabric, stream: Iterator[Batch]) -> None:
        self.fabric, self.stream = fabric, stream

    @classmethod
    def to(cls, fabric: Fabric, stream: Iterator[Batch]) -> "Feed":
        """The kind for the fabric's device."""
        return CudaFeed(fabric, stream) if fabric.device.type == "cuda" else Feed(fabric, stream)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Batch:
        return next(self.stream).placed(self.fabric.to_device)


class CudaFeed(Feed):
    """Copies on a stream of its own, from pinned memory, while the device still computes the step before.

    The host queues a step and does not wait for it; so the copy that it asks for next need not wait either.
    """

    def __init__(self, fabric: Fabric, stream: Iterator[Batch]) -> None:
        super().__init__(fabric, stream)
        self.copies = torch.cuda.Stream(fabric.device)  # type: ignore[no-untyped-call]

    def __next__(self) -> Batch:
        given = next(self.stream)
        with torch.cuda.stream(self.copies):
            batch = given._replace(images=given.images.pin_memory()).placed(self.fabric.to_device)
        computing = torch.cuda.current_stream(self.fabric.device)
        computing.wait_stream(self.copies)
        for tensor in batch[:5]:
            tensor.record_stream(computing)  # its memory is not given away before the computation has read it
        return batch
