"""How the C library deals with the memory that tensors on a CPU leave free."""

import ctypes
import sys

M_MMAP_THRESHOLD = -3  # see mallopt(3)
LARGE = 2**20  # bytes


def return_large_blocks() -> None:
    """Let glibc give every block of a MiB or more back to the system as soon as it is free.

    Left alone it raises that limit to 32 MiB as blocks are freed and keeps them, in pieces: a batch in parts then
    needs far more than a part does. It holds for the process, and does nothing where the C library is another.
    """
    if sys.platform == "linux":
        set_option = getattr(ctypes.CDLL(None), "mallopt", None)
        if set_option is not None:
            set_option(M_MMAP_THRESHOLD, LARGE)
