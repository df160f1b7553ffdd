"""The page in a real browser: headless Chromium, at phone width too."""

import html
import json
import re
import subprocess
from pathlib import Path

import pytest

from surefoot.report import write_report

WORDS = ("--enable-logging=stderr", "--v=0", "--virtual-time-budget=3000", "--dump-dom")
# A browser window has a least width, a frame has none; one from srcdoc may be measured from outside.
FRAME = """<!doctype html><meta charset="utf-8"><iframe id="f" width="{width}" height="800" srcdoc="{page}"></iframe>
<script>
f.onload = () => {{
  const page = f.contentDocument;
  const header = page.querySelectorAll(".results th[data-sort]")[1];
  const first = () => page.querySelector(".results tbody th").textContent.trim();
  const colour = () => f.contentWindow.getComputedStyle(page.body).backgroundColor;
  const found = {{inner: f.contentWindow.innerWidth, scroll: page.scrollingElement.scrollWidth, before: first()}};
  header.querySelector("button").click();
  Object.assign(found, {{sort: header.getAttribute("aria-sort"), after: first(), light: colour()}});
  page.getElementById("theme").click();
  found.dark = colour();
  document.body.dataset.found = JSON.stringify(found);
}};
</script>"""


def visit(chromium: list[str], page: Path, profile: Path) -> tuple[str, list[str]]:
    """The document after loading, and what the console said."""
    command = [*chromium, *WORDS, f"--user-data-dir={profile}", page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


@pytest.fixture(scope="module")
def page(tmp_path_factory, make_sample):
    hostile = ["<script>alert(1)</script>", "خروف", "W" * 60]
    return write_report(make_sample(tmp_path_factory.mktemp("sample"), groups=True, classes=hostile))


def test_the_page_opens_without_a_word_on_the_console_and_shows_the_rows(chromium, page, tmp_path):
    document, console = visit(chromium, page, tmp_path)
    assert console == []
    for method in ("zero_shot", "fine_tune", "wise_ft", "car_ft"):
        assert re.search(rf'<th scope="row" class="name" data-value="{method}">', document)
    assert "Use dark colours" in document


@pytest.mark.parametrize("width", [360, 800])
def test_the_page_never_scrolls_sideways_sorts_and_turns_dark(chromium, page, tmp_path, width):
    frame = tmp_path / "frame.html"
    frame.write_text(FRAME.format(width=width, page=html.escape(page.read_text(encoding="utf-8"))), encoding="utf-8")
    document, console = visit(chromium, frame, tmp_path / "profile")
    assert console == []
    match = re.search(r'data-found="([^"]+)"', document)
    assert match
    found = json.loads(html.unescape(match[1]))
    assert found["inner"] == width
    assert found["scroll"] <= width
    assert (found["before"], found["sort"], found["after"]) == ("zero_shot", "descending", "flyp")
    assert found["light"] != found["dark"]
