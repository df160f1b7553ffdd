import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from surefoot.language_models.local import LocalModel

LINES = ["on a sandy beach", "in a dense forest", "with soft light"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, make_language_model: Any) -> Path:
    """A language model that answers with LINES; to be read only."""
    folder = tmp_path_factory.mktemp("lm")
    make_language_model(folder, LINES)
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "lm"))


def complaint(folder: Path | str) -> str:
    with pytest.raises(ValueError, match="--lm=") as caught:
        LocalModel(str(folder), 10).answer("hello")
    return str(caught.value)


def change(path: Path, **values: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def test_it_answers_until_its_end_of_text(made: Path, capfd: pytest.CaptureFixture[str]) -> None:
    model = LocalModel(str(made), 10)
    assert model.answer("hello") == "".join(f"{line}\n" for line in LINES)
    assert model.answer("hello\n\nyou") == model.answer("hello")
    assert capfd.readouterr() == ("", "")


def test_it_answers_greedily_even_where_its_folder_says_otherwise(folder: Path) -> None:
    change(folder / "generation_config.json", do_sample=True, temperature=50.0, top_p=0.9)
    assert LocalModel(str(folder), 10).answer("hello") == "".join(f"{line}\n" for line in LINES)


def test_a_chat_template_is_used_where_there_is_one(folder: Path) -> None:
    template = "{% for m in messages %}{{ m.role + '\n' + m.content + '\n' }}{% endfor %}{{ 'in a dense forest\n' }}"
    change(folder / "tokenizer_config.json", chat_template=template)
    assert LocalModel(str(folder), 10).answer("hello") == "with soft light\n"  # what follows the template's end


def test_a_model_that_never_ends_is_stopped_where_its_context_ends(tmp_path: Path, make_language_model: Any) -> None:
    make_language_model(tmp_path, LINES, ends=False, context=70)
    assert (
        LocalModel(str(tmp_path), 10).answer("hello").splitlines() == LINES * 22 + LINES[:1]
    )  # 70 less 3 of the request


def test_a_model_that_takes_too_long_is_stopped(tmp_path: Path, make_language_model: Any) -> None:
    make_language_model(tmp_path, LINES, ends=False, context=2048)
    with pytest.raises(ValueError, match=r"did not answer within --timeout=0\.05 seconds; give it more, or take a sm"):
        LocalModel(str(tmp_path), 0.05).answer("hello")


def test_a_request_longer_than_the_model_reads_is_refused(tmp_path: Path, make_language_model: Any) -> None:
    make_language_model(tmp_path, LINES, context=70)
    with pytest.raises(
        ValueError, match=r"reads 70 tokens, of which the request takes 1\d; take a model with a longer"
    ):
        LocalModel(str(tmp_path), 10).answer("hello\n" * 8)


def test_pickled_weights_are_refused(folder: Path) -> None:
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    assert "a pickle (pytorch_model.bin), which can run code when opened and is refused" in complaint(folder)


@pytest.mark.parametrize(
    ("missing", "told"),
    [
        (["config.json"], "has no config.json"),
        (["model.safetensors"], "has no model.safetensors"),
        (["tokenizer.json", "tokenizer_config.json"], "has no tokenizer; save it beside the model"),
    ],
)
def test_a_missing_file_is_named(folder: Path, missing: list[str], told: str) -> None:
    for name in missing:
        (folder / name).unlink()
    assert told in complaint(folder)


def test_what_is_neither_a_folder_nor_a_hub_id_is_named() -> None:
    assert "there is no such folder" in complaint("no/such/folder")


def test_missing_weights_are_named(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    del weights["lm_head.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    assert "lacks the weights lm_head.weight" in complaint(folder)


def test_damaged_weights_are_refused(folder: Path) -> None:
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[: len(content) // 2])
    assert "cannot be opened" in complaint(folder)


def test_code_that_comes_with_a_model_is_not_run(folder: Path) -> None:
    change(
        folder / "config.json", model_type="own", auto_map={"AutoConfig": "own.Own", "AutoModelForCausalLM": "own.M"}
    )
    (folder / "own.py").write_text("raise SystemExit('the code ran')")
    assert "is no causal language model that transformers opens here" in complaint(folder)


def test_an_image_model_is_no_language_model(clip_folder: Path) -> None:
    assert "is no causal language model that transformers opens here" in complaint(clip_folder)


def test_a_model_without_an_end_of_text_is_refused(folder: Path) -> None:
    change(folder / "tokenizer_config.json", eos_token=None)
    change(folder / "generation_config.json", eos_token_id=None)
    change(folder / "config.json", eos_token_id=None)
    assert "has no end-of-text token" in complaint(folder)
