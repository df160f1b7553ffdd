import subprocess
import sys
from pathlib import Path

import pytest

from surefoot.arguments import blend_options_of, numbers, part_alphas_of, settings_of, whole_numbers


def test_words_are_settings_by_dotted_name() -> None:
    assert settings_of(["engine.lr=1e-5", "method=flyp"], "", {}) == {"engine.lr": "1e-5", "method": "flyp"}


@pytest.mark.parametrize("words", [["--engine.lr", "1e-5"], ["--engine.lr=1e-5"], ["engine.lr=1e-5"]])
def test_a_setting_may_be_written_as_an_option(words: list[str]) -> None:
    assert settings_of([*words, "seed=1"], "", {}) == {"engine.lr": "1e-5", "seed": "1"}


def test_an_option_without_a_value_does_not_swallow_the_next_option() -> None:
    with pytest.raises(ValueError, match=r"'--task\.root' is no setting; write option=value"):
        settings_of(["--task.root", "--engine.lr=1"], "", {})


def test_an_option_without_a_value_at_the_end_is_refused() -> None:
    with pytest.raises(ValueError, match="is no setting"):
        settings_of(["seed=1", "--engine.lr"], "", {})


def test_named_options_that_were_not_given_are_left_out() -> None:
    chosen = {"task": "", "backbone": "tiny", "seed": None}
    assert settings_of(None, "", chosen) == {"backbone": "tiny"}


def test_a_seed_of_zero_is_a_seed() -> None:
    assert settings_of([], "", {"seed": 0}) == {"seed": 0}


def test_words_win_over_named_options_and_those_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("method: flyp\nseed: 1\nengine: {lr: 0.1, epochs: 3}\n")
    found = settings_of(["engine.lr=0.3", "seed=3"], str(file), {"method": "kd", "seed": 2})
    assert found == {"method": "kd", "seed": "3", "engine.lr": "0.3", "engine.epochs": 3}


def test_a_list_of_whole_numbers() -> None:
    assert whole_numbers("seeds", "0,1, 2") == [0, 1, 2]


def test_a_list_of_numbers() -> None:
    assert numbers("alpha", "0.5,1") == [0.5, 1.0]


@pytest.mark.parametrize("text", ["", "a", "1,,2", "1.5"])
def test_what_is_no_list_of_whole_numbers_is_refused_with_the_option(text: str) -> None:
    with pytest.raises(ValueError, match=f"--seeds={text}: give whole numbers with commas between"):
        whole_numbers("seeds", text)


def test_what_is_no_list_of_numbers_is_refused_with_the_option() -> None:
    with pytest.raises(ValueError, match=r"--alpha=0\.1;0\.2: give numbers"):
        numbers("alpha", "0.1;0.2")


def test_alphas_of_parts() -> None:
    assert part_alphas_of("") == {}
    assert part_alphas_of("image=0.5, head=1,blocks=0.2:0.8") == {"image": [0.5], "head": [1], "blocks": [0.2, 0.8]}


@pytest.mark.parametrize("text", ["0.5", "head", "head=", "head=a", "head=1,head=0", "blocks=0.2:", "image=1,,head=1"])
def test_what_is_no_list_of_parts_is_refused_with_the_option(text: str) -> None:
    with pytest.raises(ValueError, match=f"--part-alphas={text}: give each part once with its alpha"):
        part_alphas_of(text)


def test_the_words_of_a_blend_are_its_options() -> None:
    options = blend_options_of("fisher", "0,0.5", "head=1", "average", fisher_images=9, runs=1)
    assert options.to_dict() == {
        "kind": "fisher",
        "alphas": [0, 0.5],
        "part_alphas": {"head": [1]},
        "head": "average",
        "fisher_images": 9,
    }
    assert blend_options_of("greedy", "sweep", "", "average", fisher_images=512, runs=2).kind == "greedy"
    with pytest.raises(ValueError, match="kind=stock averages several runs, but 1 is given"):
        blend_options_of("stock", "sweep", "", "average", fisher_images=512, runs=1)


def test_the_command_line_imports_no_torch_to_read_its_words() -> None:
    code = "import sys, surefoot.arguments; sys.exit('torch' in sys.modules or 'pydantic' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(("word", "meant"), [("--ouput=x", "--output"), ("--metods=flyp", "--methods")])
def test_a_misspelt_option_names_the_one_that_is_meant(word: str, meant: str) -> None:
    with pytest.raises(ValueError, match=f"did you mean {meant}"):
        settings_of([word], "", {})
