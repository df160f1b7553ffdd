"""Old files of weights (OpenAI's, open_clip's, WiSE-FT's, FLYP's) become a folder that Surefoot opens."""

from surefoot.converting.making import Converted as Converted
from surefoot.converting.making import convert as convert
