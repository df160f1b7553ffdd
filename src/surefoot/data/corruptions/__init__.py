"""The 15 + 4 common corruptions of ImageNet-C (Hendrycks and Dietterich, ICLR 2019, arXiv:1903.12261), written anew.

    corrupt(pixels, "fog", 3, index=7)

Pure functions of uint8 RGB pictures of any size. What is random in them is a hash of (seed, corruption, severity,
index): neither workers nor the order of reading change it. Departures from the authors' scripts stand with each
function. Common to all: results are rounded to the nearest level, where the scripts cut, and are not written as JPEG
of quality 85.
"""

from surefoot.data.corruptions.altering import Corrupted
from surefoot.data.corruptions.corrupting import ALL, COMMON, EXTRA, corrupt, names_of

__all__ = ["ALL", "COMMON", "EXTRA", "Corrupted", "corrupt", "names_of"]
