"""The shipped IconShift agrees with the rules that made it, and with what IconCLIP's pre-training left out."""

import csv
import io
import json
import random
import sys
import zipfile
from pathlib import Path

import pytest
import yaml
from PIL import Image

ROOT = Path(__file__).parents[2]
ASSETS = ROOT / "src/surefoot/assets"
sys.path.insert(0, str(ROOT / "tools"))

icon_names = pytest.importorskip("icon_names")

DOMAINS = {"line", "solid", "colour", "emoji", "emoji_3d", "emoji_mono", "pixel"}
EMOJI_SETS = {"noto", "twemoji", "fluent-emoji-flat", "fxemoji", "fluent-emoji", "fluent-emoji-high-contrast"}
PERMITTED = {
    "MIT",
    "Apache-2.0",
    "ISC",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "CC0-1.0",
    "Unlicense",
    "OFL-1.1",
    "CC-BY-3.0",
    "CC-BY-4.0",
}


@pytest.fixture(scope="module")
def archive():
    with zipfile.ZipFile(ASSETS / "iconshift.zip") as files:
        yield files


@pytest.fixture(scope="module")
def rows(archive):
    return list(csv.DictReader(io.TextIOWrapper(archive.open("manifest.csv"), encoding="utf-8")))


@pytest.fixture(scope="module")
def recipe():
    return yaml.safe_load((ROOT / "tools/classes.yaml").read_text(encoding="utf-8"))


def test_a_name_is_cut_into_concept_and_styles():
    assert icon_names.split_name("ph", "traffic-light-light") == ("traffic light", ["thin"])
    assert icon_names.split_name("solar", "home-2-bold-duotone") == ("home", ["duotone"])
    assert icon_names.split_name("ic", "outline-home") == ("home", ["line"])
    assert icon_names.split_name("icon-park-outline", "calculator-one") == ("calculator", [])
    assert icon_names.split_name("tabler", "bike-filled") == ("bike", ["solid"])


def test_a_term_of_two_classes_is_refused():
    with pytest.raises(ValueError, match="claimed by the classes"):
        icon_names.ClassMatcher([{"name": "bat"}, {"name": "club", "synonyms": ["bat"]}])


def test_labels_follow_from_the_names(rows, recipe):
    classes = recipe["classes"]
    everywhere = [{**entry, "matches": entry.get("matches", []) + entry.get("not_emoji", [])} for entry in classes]
    icons, emoji = icon_names.ClassMatcher(everywhere), icon_names.ClassMatcher(classes)
    for row in random.Random(0).sample(rows, 500):
        matcher = emoji if row["icon_set"] in EMOJI_SETS else icons
        assert matcher.match(row["icon_set"], row["name"]) == row["label"], row


def test_only_line_has_training_and_validation_pictures(rows):
    assert {row["domain"] for row in rows} == DOMAINS
    assert {row["split"] for row in rows if row["domain"] == "line"} == {"train", "validation", "test"}
    assert {row["split"] for row in rows if row["domain"] != "line"} == {"test"}


def test_every_class_is_in_every_split_of_line_and_among_the_emoji(rows, archive):
    names = {entry["name"] for entry in yaml.safe_load(archive.read("classes.yaml"))["classes"]}
    assert 150 <= len(names) <= 200
    for split in ("train", "validation", "test"):
        assert {row["label"] for row in rows if row["domain"] == "line" and row["split"] == split} == names
    assert {row["label"] for row in rows if row["domain"] == "emoji"} == names


def test_pictures_are_palette_pngs_of_64_pixels(rows, archive):
    paths = [row["path"] for row in rows]
    assert len(set(paths)) == len(paths)
    assert set(paths) == {name for name in archive.namelist() if name.endswith(".png")}
    for path in random.Random(1).sample(paths, 200):
        picture = Image.open(io.BytesIO(archive.read(path)))
        assert (picture.format, picture.mode, picture.size) == ("PNG", "P", (64, 64))


def test_licences_are_permissive_and_authors_are_named(rows, archive):
    assert {row["licence"] for row in rows} <= PERMITTED
    credit = archive.read("ATTRIBUTION.md").decode()
    assert all(f"| {icon_set} |" in credit for icon_set in {row["icon_set"] for row in rows})


def test_prompts_have_one_place_for_the_name(archive):
    prompts = yaml.safe_load(archive.read("classes.yaml"))
    assert 8 <= len(prompts["templates"]) <= 20
    assert 10 <= len(prompts["contexts"]) <= 30
    assert all(prompt.count("{}") == 1 for prompt in prompts["templates"] + prompts["contexts"])


def test_no_icon_set_is_in_both_iconshift_and_pretraining(rows):
    facts = json.loads((ASSETS / "iconclip/pretraining.json").read_text(encoding="utf-8"))
    assert not set(facts["sets"]) & {row["icon_set"] for row in rows}
    assert sum(facts["removed_near_duplicates"].values()) == facts["removed_near_duplicates_total"]


def test_icongroups_is_balanced_outside_training_and_split_by_set():
    with zipfile.ZipFile(ASSETS / "icongroups.zip") as files:
        rows = list(csv.DictReader(io.TextIOWrapper(files.open("manifest.csv"), encoding="utf-8")))
    sets = {}
    for row in rows:
        assert sets.setdefault(row["icon_set"], row["split"]) == row["split"]
        assert row["group"].startswith(row["label"] + " on ")
        assert row["licence"] in PERMITTED
    for split in ("validation", "test"):
        counts = [sum(row["split"] == split and row["group"] == f"{label} on {place}" for row in rows)
                  for label in ("animal", "vehicle") for place in ("grass", "water")]  # fmt: skip
        assert counts[0] == counts[1] > 25
        assert counts[2] == counts[3] > 25
    train = [row for row in rows if row["split"] == "train"]
    usual = sum(row["group"] in ("animal on grass", "vehicle on water") for row in train)
    assert 0.94 <= usual / len(train) <= 0.96
