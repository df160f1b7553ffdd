import json
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest

from surefoot.report import html, read_records, write_report

HOSTILE = [
    "<script>alert(1)</script>",
    "\"quotes' & more",
    "🦊 fox",
    "خروف",
    "</style><img src=x onerror=alert(1)>",
    "{{ 7*7 }}",
]
VOID = {"meta", "link", "br", "img", "wbr", "hr", "input"}


class Page(HTMLParser):
    """Collects tags and text; fails where a tag is closed that is not open."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not self.open or self.open[-1] not in ("script", "style"):
            self.words.append(data)


@pytest.fixture(scope="module")
def text(tmp_path_factory, make_sample):
    return html(read_records(make_sample(tmp_path_factory.mktemp("sample"), groups=True, classes=HOSTILE)))


def test_the_page_is_well_formed_small_and_its_ids_are_unique(text):
    page = Page(text)
    assert not page.open
    assert len(text.encode()) < 5_000_000
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    for _, attributes in page.tags:
        for label in (attributes.get("aria-labelledby") or "").split():
            assert label in ids


def test_the_page_loads_nothing(text):
    for tag, attributes in Page(text).tags:
        assert "style" not in attributes
        for name in ("src", "href", "action", "data", "srcset", "xlink:href"):
            value = attributes.get(name) or ""
            assert value == "" or value.startswith(("#", "data:image/png;base64,", "data:,")), (tag, value)
    assert not re.search(r"https?://", text)
    assert "@import" not in text
    assert "url(" not in text


def test_hostile_names_are_shown_as_text(text):
    page = Page(text)
    words = "".join(page.words)
    assert sum(tag == "script" for tag, _ in page.tags) == 1
    assert all(not name.startswith("on") for _, attributes in page.tags for name in attributes)
    for name in HOSTILE:
        assert name in words


def test_hostile_file_and_method_names_are_shown_as_text(tmp_path, make_results, make_run):
    folder = make_run(tmp_path, make_results("x", (0.5, 0.5), shifts=('"><script>1</script>',)))
    content = json.loads((folder / "results.json").read_text())
    for name in ("task", "backbone", "method", "selected_on"):
        content[name] = f"<script>{name}</script>"
    (folder / "results.json").write_text(json.dumps(content))
    (folder / "run.json").write_text(json.dumps({"versions": {"<script>": "<img src=x>"}}))
    page = Page(html(read_records(tmp_path)))
    assert sum(tag == "script" for tag, _ in page.tags) == 1
    assert not any(tag == "img" for tag, _ in page.tags)


def test_a_choice_on_anything_but_validation_is_marked(tmp_path, make_results, make_run):
    make_run(tmp_path, make_results("fine_tune", (0.5, 0.5), shifts=("solid",), selected_on="solid"))
    text = html(read_records(tmp_path))
    assert "solid: not honest" in text
    assert "fine_tune was chosen on solid" in text


def test_tables_have_captions_and_headers_and_figures_names(text):
    tags = [tag for tag, _ in Page(text).tags]
    assert tags.count("caption") == tags.count("table") == 2
    figures = [attributes for tag, attributes in Page(text).tags if tag == "svg" and "aria-hidden" not in attributes]
    assert len(figures) == 2 + 8 + 4 + 7
    assert all(each["role"] == "img" and each["aria-labelledby"] for each in figures)


def test_images_beyond_the_budget_are_counted_not_shown(tmp_path, make_sample):
    folder = make_sample(tmp_path, seeds=1)
    examples = json.loads((folder / "examples.json").read_text())
    prefix, _, data = examples[0]["image"].partition(",")
    for example in examples:
        example["image"] = f"{prefix},{data[:400]}{'A' * 1_600_000}"
    (folder / "examples.json").write_text(json.dumps(examples))
    text = html(read_records(folder))
    assert "11 more in examples.json" in text
    assert len(text) < 5_000_000


def test_a_task_without_shifts_groups_and_examples_still_has_a_page(tmp_path, make_results, make_run):
    make_run(tmp_path, make_results("fine_tune", (0.75,), shifts=()))
    text = html(read_records(tmp_path))
    Page(text)
    assert "Home against shifts" not in text


def test_the_files_are_written_and_an_unfinished_run_changes_none(tmp_path, make_sample):
    folder = make_sample(tmp_path, seeds=1)
    assert write_report(folder) == folder / "report.html"
    before = {name: (folder / name).read_text() for name in ("report.html", "report.md", "report.csv", "scatter.svg")}
    (folder / "flyp" / "seed-0" / "results.json").unlink()
    with pytest.raises(ValueError, match="flyp/seed-0"):
        write_report(folder)
    assert {name: (folder / name).read_text() for name in before} == before
    assert not list(folder.glob(".*"))


def test_the_scatter_is_a_picture_of_its_own_with_names_as_text(tmp_path, make_results, make_run):
    make_run(tmp_path, make_results("zero_shot", (0.68, 0.5), shifts=("solid",)))
    make_run(tmp_path, make_results("<b>&mine", (0.75, 0.4), shifts=("solid",)))
    write_report(tmp_path)
    root = ElementTree.parse(tmp_path / "scatter.svg").getroot()
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert "<b>&mine" in {text.text for text in root.iter("{http://www.w3.org/2000/svg}text")}
