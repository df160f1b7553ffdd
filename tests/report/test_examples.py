import base64
import json

import pytest

from surefoot.report.examples import read_examples

PIXEL = base64.b64encode(b"\x89PNG\r\n\x1a\n rest").decode()


def entry(image: str) -> dict:
    guess = [["cat", 0.9], ["dog", 0.1]]
    tuned = {"method": "fine_tune", "top": guess}
    parts = {"split": "pixel", "index": 3, "label": "cat", "zero_shot": {"top": guess}, "fine_tuned": tuned}
    return {**parts, "image": image, "change": "lost"}


def test_examples_are_read(tmp_path):
    path = tmp_path / "examples.json"
    path.write_text(json.dumps([entry(f"data:image/png;base64,{PIXEL}")]))
    (example,) = read_examples(path)
    assert example.zero_shot == (("cat", 0.9), ("dog", 0.1))
    assert example.method == "fine_tune"


def test_a_missing_file_means_no_examples(tmp_path):
    assert read_examples(tmp_path / "examples.json") == ()


@pytest.mark.parametrize(
    "image",
    [
        "https://example.org/cat.png",
        "javascript:alert(1)",
        f"data:image/svg+xml;base64,{PIXEL}",
        f"data:text/html;base64,{PIXEL}",
        f'data:image/png;base64,{PIXEL}" onerror="alert(1)',
        f"data:image/jpeg;base64,{PIXEL}",
        "data:image/png;base64,AAAA",
        "data:image/png;base64,abc",
    ],
)
def test_only_base64_png_and_jpeg_images_are_taken(tmp_path, image):
    path = tmp_path / "examples.json"
    path.write_text(json.dumps([entry(image)]))
    with pytest.raises(ValueError, match=r"no base64 PNG or JPEG.*delete the file"):
        read_examples(path)
