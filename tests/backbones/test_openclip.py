"""What can be said of open_clip's models where open_clip is not installed; `tests/openclip` has the rest."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from surefoot.backbones.base import load_backbone, source_of
from surefoot.backbones.openclip import OpenClip
from surefoot.config import resolve

without_open_clip = pytest.mark.skipif(find_spec("open_clip") is not None, reason="open_clip is installed")


def test_a_folder_and_a_hub_id_of_open_clip_are_known_without_it(tmp_path: Path) -> None:
    assert not OpenClip.opens(tmp_path)
    (tmp_path / "open_clip_config.json").write_text("{}")
    assert OpenClip.opens(tmp_path)
    assert source_of(str(tmp_path)) == ("openclip", {"path": str(tmp_path)})
    assert source_of("hf-hub:some/model") == ("openclip", {"path": "hf-hub:some/model"})
    assert resolve({"backbone": "hf-hub:some/model"}).backbone.name == "openclip"


@without_open_clip
def test_a_missing_open_clip_says_what_to_install() -> None:
    with pytest.raises(
        ValueError, match=r"needs open_clip, which is not installed.*pip install 'surefoot\[openclip\]'"
    ):
        load_backbone("hf-hub:some/model")


@without_open_clip
@pytest.mark.parametrize(
    ("raises", "said"),
    [
        ("RuntimeError('operator torchvision::nms does not exist')", "operator torchvision::nms does not exist"),
        ("ModuleNotFoundError('No module named ftfy', name='ftfy')", "needs ftfy, which is not installed"),
    ],
)
def test_an_open_clip_that_cannot_be_imported_says_why(tmp_path: Path, raises: str, said: str) -> None:
    (tmp_path / "open_clip.py").write_text(f"raise {raises}\n")
    code = (
        "from surefoot.backbones.base import load_backbone\n"
        "try:\n    load_backbone('hf-hub:some/model')\n"
        "except ValueError as error:\n    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n{code}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert said in done.stdout
    assert "docs/backbones/openclip.md" in done.stdout


def test_the_library_imports_open_clip_only_when_it_is_used() -> None:
    code = "import sys, surefoot.run, surefoot.backbones.openclip; sys.exit('open_clip' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
