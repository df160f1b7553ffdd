"""Where what was read or computed is kept between runs: the folder that SUREFOOT_CACHE names, "off" for nowhere."""

import os
from pathlib import Path

VARIABLE = "SUREFOOT_CACHE"
OFF = ("off", "0", "")


def cache_folder() -> Path | None:
    """SUREFOOT_CACHE, else surefoot/ in the user's cache folder; None where it is "off" or empty."""
    given = os.environ.get(VARIABLE)
    if given is None:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "surefoot"
    return None if given in OFF else Path(given).expanduser()
