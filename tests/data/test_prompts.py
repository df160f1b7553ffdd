from collections import Counter

import numpy as np
import pytest
import torch

from surefoot.data.batch import Batch
from surefoot.data.draws import CHOICE, choices
from surefoot.data.prompts import DEFAULT_CONTEXTS, DEFAULT_TEMPLATES, Prompts
from surefoot.data.task import Split, Task

PROMPTS = Prompts(("cat", "house boat"), ("a photo of a {}.", "{} here", "my {}"), ("a sketch of a {}", "a toy {}"))


def batch(index: list[int], view: list[int], labels: list[int]) -> Batch:
    size = len(index)
    return Batch(
        torch.zeros(size, 3, 2, 2),
        torch.tensor(labels),
        torch.full((size,), -1),
        torch.tensor(index),
        torch.tensor(view),
    )


def test_class_sentences_put_each_class_into_every_template() -> None:
    assert PROMPTS.class_sentences() == [
        ["a photo of a cat.", "cat here", "my cat"],
        ["a photo of a house boat.", "house boat here", "my house boat"],
    ]


def test_context_sentences_put_every_class_into_each_context() -> None:
    assert PROMPTS.context_sentences() == [
        ["a sketch of a cat", "a sketch of a house boat"],
        ["a toy cat", "a toy house boat"],
    ]


def test_a_task_without_contexts_gets_the_default_ones() -> None:
    class Nowhere:
        def read(self, path: str) -> bytes:
            raise FileNotFoundError(path)

        def describe(self) -> str:
            return "nowhere"

    splits = {name: Split(name, Nowhere(), ("x",), np.zeros(1, np.int64), -np.ones(1, np.int64)) for name in "abc"}
    task = Task("t", ("cat", "dog"), ("a {}",), (), splits["a"], splits["b"], {"c": splits["c"]}, home="c")
    assert Prompts.from_task(task, seed=7) == Prompts(("cat", "dog"), ("a {}",), DEFAULT_CONTEXTS, seed=7)


def test_braces_in_a_class_name_are_kept() -> None:
    assert Prompts(("{0}", "{}"), ("a {}.",), ("{}",)).class_sentences() == [["a {0}."], ["a {}."]]


PETS = Prompts(("pet", "boat"), ("a {}", "my {}"), ("a drawn {}",), names=(("cat", "dog", "hamster"), ("boat",)))


def test_a_class_with_several_names_has_each_of_them_in_every_sentence() -> None:
    assert PETS.class_sentences() == [
        ["a cat", "my cat", "a dog", "my dog", "a hamster", "my hamster"],
        ["a boat", "my boat"],
    ]
    assert PETS.context_sentences() == [["a drawn cat", "a drawn dog", "a drawn hamster", "a drawn boat"]]


def test_a_caption_draws_one_of_the_names_as_often_as_the_others_and_apart_from_the_template() -> None:
    captions = Counter(PETS.captions(batch(list(range(6000)), [0] * 6000, [0] * 6000)))
    assert set(captions) == set(PETS.class_sentences()[0])
    assert max(abs(count - 1000) for count in captions.values()) < 120  # 4 standard deviations are 115


def test_an_image_has_one_name_a_view_in_its_caption_and_its_spurious_caption() -> None:
    images = batch(list(range(50)), [3] * 50, [0, 1] * 25)
    plain, spurious = PETS.captions(images), PETS.spurious_captions(("{} on sand", "{} at night"), images)
    assert [caption.split()[1] for caption in plain] == [caption.split()[0] for caption in spurious]
    later = PETS.captions(images._replace(view=images.view + 1))
    assert [caption.split()[1] for caption in later] != [caption.split()[1] for caption in plain]


def test_one_name_a_class_gives_the_sentences_of_the_class_names() -> None:
    images = batch(list(range(50)), [3] * 50, [0, 1] * 25)
    named = Prompts(PROMPTS.classes, PROMPTS.templates, PROMPTS.contexts, names=(("cat",), ("house boat",)))
    assert named.class_sentences() == PROMPTS.class_sentences()
    assert named.context_sentences() == PROMPTS.context_sentences()
    assert named.captions(images) == PROMPTS.captions(images)


def test_names_that_do_not_fit_the_classes_are_refused() -> None:
    with pytest.raises(ValueError, match="names has 1 entries for 2 classes"):
        Prompts(("cat", "dog"), ("{}",), ("{}",), names=(("cat",),))
    for wrong in ((), ("dog", " ")):
        with pytest.raises(ValueError, match="names of class 'dog' are"):
            Prompts(("cat", "dog"), ("{}",), ("{}",), names=(("cat",), wrong))


def test_a_caption_names_the_class_of_its_image() -> None:
    captions = PROMPTS.captions(batch(list(range(40)), [0] * 40, [0, 1] * 20))
    assert all(("cat" in caption) == (i % 2 == 0) for i, caption in enumerate(captions))


def test_captions_depend_on_index_and_view_and_not_on_order_or_rank() -> None:
    whole = PROMPTS.captions(batch([3, 7, 9, 3], [0, 0, 2, 1], [0, 1, 1, 0]))
    first = PROMPTS.captions(batch([9, 3], [2, 0], [1, 0]))
    second = PROMPTS.captions(batch([7, 3], [0, 1], [1, 0]))
    assert whole == [first[1], second[0], first[0], second[1]]


def test_captions_use_no_global_random_state() -> None:
    state = torch.get_rng_state()
    PROMPTS.captions(batch([1, 2], [0, 1], [0, 1]))
    assert torch.equal(torch.get_rng_state(), state)


def test_captions_change_with_the_seed_and_the_view() -> None:
    same = batch(list(range(64)), [0] * 64, [0] * 64)
    later = same._replace(view=torch.ones(64, dtype=torch.int64))
    other = Prompts(PROMPTS.classes, PROMPTS.templates, PROMPTS.contexts, seed=1)
    assert PROMPTS.captions(same) != PROMPTS.captions(later)
    assert PROMPTS.captions(same) != other.captions(same)


def test_the_evaluation_view_has_a_caption_too() -> None:
    assert len(PROMPTS.captions(batch([5], [-1], [1]))) == 1


def test_the_hash_is_that_of_splitmix64() -> None:
    mask = (1 << 64) - 1

    def finish(x: int) -> int:
        x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & mask
        x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & mask
        return x ^ (x >> 31)

    assert finish(0x9E3779B97F4A7C15) == 0xE220A8397B1DCDAF  # the published first output for seed 0
    for seed, index, view in [(0, 0, 0), (1, 5, 2), (3, 2**40, -1)]:
        state = seed
        for part in (CHOICE, index, view & mask):
            state = (finish(state) + part) & mask
        assert choices(seed, np.array([index]), np.array([view]), count=80).tolist() == [finish(state) % 80]


def test_each_template_is_drawn_about_equally_often() -> None:
    index, view = (grid.ravel() for grid in np.meshgrid(np.arange(1000), np.arange(20)))
    counts = Counter(choices(0, index, view, count=16).tolist())
    assert set(counts) == set(range(16))
    assert max(abs(count - 1250) for count in counts.values()) < 150  # 4 standard deviations are 137


def test_draws_of_neighbours_are_unrelated() -> None:
    index = np.arange(20_000)
    now, later = choices(0, index, np.zeros_like(index), count=16), choices(0, index, np.ones_like(index), count=16)
    assert abs(np.mean(now == later) - 1 / 16) < 0.008
    assert abs(np.mean(now[1:] == now[:-1]) - 1 / 16) < 0.008


@pytest.mark.parametrize("templates", [DEFAULT_TEMPLATES, DEFAULT_CONTEXTS])
def test_the_defaults_are_valid_and_distinct(templates: tuple[str, ...]) -> None:
    assert len(Prompts(("cat",), templates, templates).class_sentences()[0]) == len(set(templates)) == 16


@pytest.mark.parametrize("template", ["a photo", "{} and {}", "{} {", "a {name}", "{0}", ""])
def test_a_template_without_exactly_one_place_is_refused(template: str) -> None:
    with pytest.raises(ValueError, match=r"templates has .* exactly once"):
        Prompts(("cat",), (template,), ("{}",))
    with pytest.raises(ValueError, match=r"contexts has .* exactly once"):
        Prompts(("cat",), ("{}",), (template,))


def test_missing_parts_are_named() -> None:
    with pytest.raises(ValueError, match="classes is empty"):
        Prompts((), ("{}",), ("{}",))
    with pytest.raises(ValueError, match="class 1 has an empty name"):
        Prompts(("cat", " "), ("{}",), ("{}",))
    with pytest.raises(ValueError, match="templates is empty"):
        Prompts(("cat",), (), ("{}",))
    with pytest.raises(ValueError, match="count is 0"):
        choices(0, np.zeros(1, np.int64), np.zeros(1, np.int64), count=0)
