import copy
import warnings
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from surefoot.backbones.base import Average, Backbone, Frozen, RawFeatures, evaluating, load_backbone, unit
from surefoot.data.batch import Batch

TEXTS = ["a photo of a small red dog", "cat", "a house boat", "cat", "a photo of a small red dog", "cat"]


@pytest.fixture
def backbone() -> Backbone:
    return load_backbone("tiny")


def batch(index: list[int], view: list[int], *, images: Tensor | None = None) -> Batch:
    size = len(index)
    if images is None:  # the image of an index and a view is always the same
        images = torch.stack(
            [
                torch.randn(3, 16, 16, generator=torch.Generator().manual_seed(100 * i + v + 1))
                for i, v in zip(index, view, strict=True)
            ]
        )
    return Batch(
        images, torch.zeros(size, dtype=torch.int64), torch.full((size,), -1), torch.tensor(index), torch.tensor(view)
    )


class Counting(nn.Module):
    """A module that counts its calls."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        self.calls = 0

    def forward(self, images: Tensor) -> Tensor:
        self.calls += 1
        features: Tensor = self.module(images)
        return features


class Student(nn.Module):
    """A module that keeps a teacher, as methods do."""

    def __init__(self, backbone: Backbone, *, views: int) -> None:
        super().__init__()
        self.image = backbone.image
        self.counting = Counting(backbone.image)
        self.teacher = Frozen(self.counting, views=views)

    @property
    def calls(self) -> int:
        return self.teacher._teacher[0].calls


# --- features -------------------------------------------------------------------------------------------------------


def test_features_have_length_one_in_float32(backbone: Backbone) -> None:
    for features in (backbone.image(torch.randn(4, 3, 16, 16)), backbone.encode_text(TEXTS)):
        assert features.dtype == torch.float32
        assert torch.allclose(features.norm(dim=-1), torch.ones(len(features)))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_under_autocast_features_are_still_normalised_in_float32(backbone: Backbone, dtype: torch.dtype) -> None:
    images = torch.randn(4, 3, 16, 16)
    with torch.autocast("cpu", dtype=dtype):
        features, raw = backbone.image(images), backbone.image.raw(images)
        words = backbone.encode_text(TEXTS)
    assert features.dtype == raw.dtype == words.dtype == torch.float32
    assert (features.norm(dim=-1) - 1).abs().max() < 1e-6
    assert (words.norm(dim=-1) - 1).abs().max() < 1e-6
    assert torch.allclose(features, backbone.image(images), atol=0.05)
    assert not torch.equal(features, backbone.image(images))


def test_the_forward_of_a_tower_is_its_normalised_raw_features(backbone: Backbone) -> None:
    images = torch.randn(2, 3, 16, 16)
    assert torch.equal(backbone.image(images), unit(backbone.image.raw(images)))
    assert torch.equal(RawFeatures(backbone.image)(images), backbone.image.raw(images))


def test_towers_of_different_width_are_refused(backbone: Backbone) -> None:
    other = load_backbone("tiny", options={"dim": 8})
    with pytest.raises(ValueError, match="image features have 32 dimensions, text features 8"):
        Backbone.__init__(
            load_backbone("tiny"),
            backbone.image,
            other.text,
            tokenizer=backbone.tokenizer,
            image_spec=backbone.image_spec,
            log_scale=backbone.log_scale,
            bias=torch.zeros(()),
            name="odd",
        )


# --- text -----------------------------------------------------------------------------------------------------------


def test_tokens_are_cut_to_the_longest_end_of_text(backbone: Backbone) -> None:
    assert backbone.tokenize(["cat"]).shape == (1, 3)
    assert backbone.tokenize(["cat", "a red cat"]).shape == (2, 5)


def test_cut_and_unduplicated_text_has_the_features_and_gradients_of_the_whole(backbone: Backbone) -> None:
    end, context = backbone.tokenizer.end, backbone.tokenizer.context
    rows = backbone.tokenizer.encode(TEXTS)
    whole = torch.tensor(
        [[*row, *[end] * (context - len(row))] for row in rows]
    )  # (6, 24): nothing cut, nothing merged
    weight = torch.randn(len(TEXTS), backbone.dim)
    names = [name for name, _ in backbone.text.named_parameters()]

    def gradients(features: Tensor) -> list[Tensor]:
        return list(torch.autograd.grad((features * weight).sum(), list(backbone.text.parameters())))

    expected, found = backbone.text(whole), backbone.encode_text(TEXTS)
    assert torch.allclose(found, expected, atol=1e-6)
    for name, e, f in zip(names, gradients(expected), gradients(found), strict=True):
        assert torch.allclose(f, e, atol=1e-6), name


def test_a_tower_that_is_not_causal_gets_the_whole_context(backbone: Backbone) -> None:
    backbone.text.causal = False
    assert backbone.tokenize(["cat"]).shape == (1, backbone.tokenizer.context)


def test_a_long_text_keeps_its_end_of_text_and_is_told_of_once(backbone: Backbone) -> None:
    long = " ".join(["word"] * 60)
    with pytest.warns(UserWarning, match="has 62 tokens, but the text tower of 'tiny' reads 24"):
        tokens = backbone.tokenize([long, "cat"])
    assert tokens.shape == (2, 24)
    assert tokens[0, -1] == backbone.tokenizer.end
    assert backbone.tokenizer.end not in tokens[0, :-1]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        backbone.encode_text([long])


def test_embedded_texts_are_the_encoded_ones_in_order_whatever_the_batch_size(backbone: Backbone) -> None:
    expected = backbone.encode_text(TEXTS).detach()
    for size in (1, 2, 100):
        found = backbone.embed_texts(TEXTS, batch_size=size)
        assert not found.requires_grad
        assert torch.allclose(found, expected, atol=1e-6)


def test_no_text_is_refused(backbone: Backbone) -> None:
    for call in (backbone.tokenize, backbone.encode_text, backbone.embed_texts):
        with pytest.raises(ValueError, match="texts is empty"):
            call([])


def test_zero_shot_weights_normalise_each_sentence_then_their_mean(backbone: Backbone) -> None:
    groups = [["a cat", "the cat", "my small cat"], ["a dog"]]
    weights = backbone.zero_shot_weights(groups)
    assert weights.shape == (2, backbone.dim)
    assert not weights.requires_grad
    for row, sentences in zip(weights, groups, strict=True):
        by_hand = torch.stack([backbone.text.raw(backbone.tokenize([s]))[0] for s in sentences]).detach().double()
        by_hand = (by_hand / by_hand.norm(dim=-1, keepdim=True)).mean(0)
        assert torch.allclose(row.double(), by_hand / by_hand.norm(), atol=1e-6)
    with pytest.raises(ValueError, match="no sentence"):
        backbone.zero_shot_weights([["a cat"], []])


def test_evaluating_gives_each_part_its_mode_back(backbone: Backbone) -> None:
    backbone.train()
    backbone.image.eval()
    with evaluating(backbone):
        assert not any(part.training for part in backbone.modules())
    assert not backbone.image.training
    assert backbone.text.training


def test_a_copy_shares_the_tokenizer_and_nothing_else(backbone: Backbone) -> None:
    twin = copy.deepcopy(backbone)
    assert twin.tokenizer is backbone.tokenizer
    assert not {p.data_ptr() for p in twin.parameters()} & {p.data_ptr() for p in backbone.parameters()}


# --- the frozen teacher ---------------------------------------------------------------------------------------------


def test_the_teacher_is_in_no_parameters_state_or_training_mode(backbone: Backbone) -> None:
    student = Student(backbone, views=0)
    without = {f"image.{n}" for n in backbone.image.state_dict()} | {
        f"counting.module.{n}" for n in backbone.image.state_dict()
    }
    assert set(student.state_dict()) == without
    assert len(list(student.teacher.parameters())) == len(list(student.teacher.buffers())) == 0
    student.train()
    assert not any(part.training for part in student.teacher._teacher[0].modules())


def test_the_teacher_keeps_its_features_while_the_student_trains(backbone: Backbone) -> None:
    student, some = Student(backbone, views=0), batch([0, 1], [0, 0])
    before = student.teacher(some)
    assert torch.equal(before, student.image(some.images))
    assert not before.requires_grad
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.add_(1)
    assert torch.equal(student.teacher(some), before)


def test_the_teacher_follows_its_owner(backbone: Backbone) -> None:
    student = Student(backbone, views=0).to(torch.float64)
    assert {p.dtype for p in student.teacher._teacher[0].parameters()} == {torch.float64}
    student.to("meta")
    assert {p.device.type for p in student.teacher._teacher[0].parameters()} == {"meta"}


def test_a_copied_teacher_is_another_one(backbone: Backbone) -> None:
    student = Student(backbone, views=2)
    twin, some = copy.deepcopy(student), batch([0, 1], [0, 1])
    features = student.teacher(some)
    twin.to(torch.float64)
    assert {p.dtype for p in student.teacher._teacher[0].parameters()} == {torch.float32}
    assert torch.equal(student.teacher(some), features)


def test_without_fixed_views_each_batch_is_computed_anew(backbone: Backbone) -> None:
    student, some = Student(backbone, views=0), batch([0, 1], [0, 0])
    student.teacher(some)
    student.teacher(some)
    assert student.calls == 2


def test_remembered_features_are_those_of_the_uncached_teacher(backbone: Backbone) -> None:
    cached, uncached = Student(backbone, views=2), Student(backbone, views=0)
    generator = torch.Generator().manual_seed(0)
    for epoch in range(6):
        for part in torch.randperm(300, generator=generator).split(50):
            some = batch(part.tolist(), [epoch % 2] * len(part))
            assert torch.equal(cached.teacher(some), uncached.teacher(some))
    assert cached.calls == 2 * 6  # two epochs of six batches: the other four cost nothing


def test_a_batch_with_one_new_image_is_computed_and_remembered(backbone: Backbone) -> None:
    student = Student(backbone, views=1)
    student.teacher(batch([0, 1], [0, 0]))
    student.teacher(batch([1, 2], [0, 0]))
    assert student.calls == 2
    student.teacher(batch([2, 0, 2, 1], [0, 0, 0, 0]))
    assert student.calls == 2


def test_the_evaluation_view_is_remembered_apart(backbone: Backbone) -> None:
    student = Student(backbone, views=1)
    crop, whole = batch([0, 1], [0, 0]), batch([0, 1], [-1, -1])
    assert not torch.equal(student.teacher(crop), student.teacher(whole))
    assert torch.equal(student.teacher(whole), student.image(whole.images))
    assert student.calls == 2


def test_the_same_image_twice_in_a_batch_is_no_trouble(backbone: Backbone) -> None:
    student, some = Student(backbone, views=1), batch([4, 4, 1], [0, 0, -1])
    assert torch.equal(student.teacher(some), student.image(some.images))
    assert torch.equal(student.teacher(some), student.image(some.images))
    assert student.calls == 1


def test_more_views_than_promised_are_refused(backbone: Backbone) -> None:
    with pytest.raises(ValueError, match=r"view 2, .*views=2"):
        Frozen(backbone.image, views=2)(batch([0], [2]))
    with pytest.raises(ValueError, match="views is -1"):
        Frozen(backbone.image, views=-1)


def test_a_teacher_can_be_told_later_what_to_remember_and_keeps_what_it_was_made_for(backbone: Backbone) -> None:
    student, some = Student(backbone, views=0), batch([0, 1], [1, 1])
    student.teacher.remember(2)
    assert torch.equal(student.teacher(some), student.teacher(some))
    assert student.calls == 1
    made_for_one = Student(backbone, views=1)
    made_for_one.teacher.remember(0)
    whole = batch([0, 1], [-1, -1])
    made_for_one.teacher(whole)
    made_for_one.teacher(whole)
    assert made_for_one.calls == 1


def test_a_whole_backbone_can_be_a_teacher_of_images_and_texts(backbone: Backbone) -> None:
    teacher, some = Frozen(backbone), batch([0, 1], [0, 0])
    assert torch.equal(teacher(some), backbone.image.raw(some.images))
    assert torch.equal(teacher.module.encode_text(TEXTS), backbone.encode_text(TEXTS))


# --- the teacher that follows ---------------------------------------------------------------------------------------


class Follower(nn.Module):
    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.student = backbone
        self.average = Average(backbone)


def test_an_average_follows_its_students_parameters(backbone: Backbone) -> None:
    both = Follower(backbone)
    start = {name: value.detach().clone() for name, value in backbone.named_parameters()}
    with torch.no_grad():
        for parameter in backbone.parameters():
            parameter.add_(1)
        backbone.bias.add_(1)
    both.average.follow(backbone, 0.75)
    for name, value in both.average.module.named_parameters():
        torch.testing.assert_close(value, start[name] + 0.25)
    assert both.average.module.bias == 0
    with pytest.raises(ValueError, match=r"momentum is 1\.5"):
        both.average.follow(backbone, 1.5)


def test_an_average_is_in_the_state_but_in_no_parameters_buffers_or_training_mode(backbone: Backbone) -> None:
    both, other = Follower(backbone).train(), Follower(load_backbone("tiny", options={"seed": 1}))
    assert not any(name.startswith("average") for name, _ in [*both.named_parameters(), *both.named_buffers()])
    assert not both.average.module.training
    state = both.state_dict()
    assert set(state) == {f"{part}.{name}" for part in ("student", "average") for name in backbone.state_dict()}
    other.load_state_dict(state)
    assert all(torch.equal(value, state[name]) for name, value in other.state_dict().items())
    assert {p.dtype for p in both.to(torch.float64).average.module.parameters()} == {torch.float64}


# --- random texts ---------------------------------------------------------------------------------------------------


def test_random_texts_stand_between_the_marks_and_hold_no_special_token(backbone: Backbone) -> None:
    seen: list[Tensor] = []
    backbone.text.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
    features = backbone.embed_random_texts(300, length=5, seed=0, moment=0)
    (tokens,) = seen
    assert tokens.shape == (300, 7)
    assert tokens[:, 0].unique().tolist() == [0]
    assert tokens[:, -1].unique().tolist() == [1]
    assert tokens[:, 1:-1].min() == 2
    assert tokens[:, 1:-1].max() == backbone.tokenizer.size - 1
    assert not features.requires_grad
    torch.testing.assert_close(features.norm(dim=-1), torch.ones(300))


def test_random_texts_depend_on_seed_and_moment_only(backbone: Backbone) -> None:
    drawn = [
        backbone.train().embed_random_texts(4, length=5, seed=seed, moment=moment)
        for seed, moment in ((0, 0), (0, 1), (1, 0))
    ]
    torch.rand(9)
    assert torch.equal(drawn[0], backbone.embed_random_texts(4, length=5, seed=0, moment=0))
    assert not torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    assert backbone.text.training


@pytest.mark.parametrize("length", [0, 23])
def test_random_texts_that_do_not_fit_are_refused(length: int, backbone: Backbone) -> None:
    with pytest.raises(ValueError, match=rf"length={length}: .* reads 24 tokens with 2 marks; give 1 to 22"):
        backbone.embed_random_texts(2, length=length, seed=0, moment=0)


def test_the_output_weights_are_the_last_linear_maps(backbone: Backbone) -> None:
    for tower in (backbone.image, backbone.text):
        assert tower.output_weight.shape[1] == backbone.dim
        assert tower.output_weight.requires_grad


# --- opening by name ------------------------------------------------------------------------------------------------


def test_options_reach_the_source_and_unknown_ones_are_refused() -> None:
    assert load_backbone("tiny", options={"dim": 8}).dim == 8
    with pytest.raises(ValueError, match="dims"):
        load_backbone("tiny", options={"dims": 8})


def test_the_name_is_what_the_user_asked_for(tmp_path: Path) -> None:
    assert load_backbone("tiny").name == "tiny"
    load_backbone("tiny").save(tmp_path)
    assert load_backbone(str(tmp_path)).name == str(tmp_path)


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match="tiny"):
        load_backbone("tinny")


def test_a_folder_without_a_backbone_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no backbone"):
        load_backbone(str(tmp_path))
