"""The published settings in recipes/: they resolve, and their values are those of the papers' code."""

from pathlib import Path

import pytest

from surefoot import plugins
from surefoot.config import RunConfig, read_yaml, resolve
from surefoot.engine.train import stage_steps
from surefoot.methods.base import Stage
from surefoot.methods.swad import segment_ends

FOLDER = Path(__file__).parents[1] / "recipes"
RECIPES = sorted(FOLDER.glob("*.yaml"))
IMAGENET = 1_281_167  # training images

# method: learning rate, largest gradient (0 = any), epochs
PUBLISHED = {
    "fine_tune": (3e-5, 1.0, 10),
    "wise_ft": (3e-5, 1.0, 10),
    "lp_ft": (3e-5, 1.0, 15),
    "flyp": (1e-5, 0.0, 10),
    "car_ft": (1e-5, 0.0, 10),
    "carot": (1e-5, 0.0, 10),
    "star_ft": (1e-5, 0.0, 10),
}

every_recipe = pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
every_published = pytest.mark.parametrize("method", PUBLISHED)


def recipe(method: str, *, task: str = "imagenet") -> RunConfig:
    return resolve({**read_yaml(FOLDER / f"{task}_{method}.yaml"), "task": "iconshift"})


@every_recipe
def test_it_leaves_the_task_to_the_command_line(path: Path) -> None:
    settings = read_yaml(path)
    assert not any(name.split(".")[0] == "task" for name in settings)
    task = path.stem.partition("_")[0]
    assert f"surefoot train --config recipes/{path.name} --task {task} " in path.read_text(encoding="utf-8")


@every_recipe
def test_its_settings_are_its_own_on_the_task_it_is_for(path: Path) -> None:
    task = path.stem.partition("_")[0]
    assert task in plugins.names("tasks")
    settings = read_yaml(path)
    found, ours = (resolve({**settings, "task": name}).to_dict() for name in (task, "iconshift"))
    assert found["task"]["name"] == task
    assert [found[name] for name in ("method", "backbone")] == [ours[name] for name in ("method", "backbone")]
    for name in settings:
        section, _, option = name.partition(".")
        if section in ("engine", "data"):
            assert found[section][option] == ours[section][option], name


@every_recipe
def test_it_resolves_and_no_recommendation_changes_it(path: Path) -> None:
    settings = read_yaml(path)
    config = resolve({**settings, "task": "iconshift"})
    found = config.to_dict()
    for name, value in settings.items():
        section, _, option = name.partition(".")
        if section in ("engine", "data"):
            assert type(value)(found[section][option]) == value, name
    assert path.stem.partition("_")[2] == config.method.name


@every_recipe
def test_it_says_where_its_numbers_come_from_and_that_we_did_not_run_it(path: Path) -> None:
    comments = [line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("#")]
    text = "\n".join(comments)
    assert "Not run by us" in text
    assert "Published" in text


@every_published
def test_its_values_are_the_published_ones(method: str) -> None:
    config = recipe(method)
    lr, clip, epochs = PUBLISHED[method]
    engine = config.engine
    assert (engine.lr, engine.clip_norm, engine.epochs) == (lr, clip, epochs)
    assert (engine.batch_size, engine.weight_decay, engine.precision) == (512, 0.1, "32")
    assert config.data.crop_scale == (0.9, 1.0)
    assert config.data.crop_ratio == (3 / 4, 4 / 3)
    assert not config.data.flip
    assert config.data.views == 0
    assert config.backbone.to_dict()["path"] == "openai/clip-vit-base-patch16"


@every_published
def test_fine_tuning_warms_up_for_500_of_25030_steps(method: str) -> None:
    config = recipe(method)
    probe = config.method.to_dict().get("probe_share", 0.0)
    steps = stage_steps(Stage(train=(), share=1 - probe), config.engine, images=IMAGENET)
    assert steps == 25_030
    assert round(config.engine.warmup * steps) == 500


def test_lp_ft_probes_for_5_of_15_epochs_from_a_random_head() -> None:
    options = recipe("lp_ft").method.to_dict()
    assert options["head"] == "linear"
    assert options["probe_share"] * 15 == pytest.approx(5)


def test_wise_ft_blends_half_and_half() -> None:
    assert recipe("wise_ft").method.to_dict()["alpha"] == 0.5


def test_lipsum_ft_has_its_own_recipe() -> None:
    config = recipe("lipsum_ft")
    engine = config.engine
    assert (engine.lr, engine.batch_size, engine.weight_decay, engine.clip_norm) == (1e-5, 256, 0, 0)
    assert stage_steps(Stage(train=()), engine, images=IMAGENET) == 50_000
    assert engine.warmup == 0.1
    assert (config.data.crop_scale, config.data.flip) == ((0.08, 1.0), True)
    options = config.method.to_dict()
    assert (options["weight"], options["count"], options["length"], options["head"]) == (1.0, 80, 8, "unit")


def test_carot_and_star_ft_have_the_published_weights() -> None:
    carot, star_ft = recipe("carot").method.to_dict(), recipe("star_ft").method.to_dict()
    assert (carot["distillation"], carot["orthogonality"], carot["cross_projection"]) == (1.5, 0.2, 0.05)
    assert (star_ft["weight"], star_ft["decay"], star_ft["variant"]) == (0.5, "epoch", "star")


@pytest.mark.parametrize("method", ["erm", "swad", "miro", "car_ft"])
def test_a_recipe_for_domainbed_fits_its_task(method: str) -> None:
    settings = {**read_yaml(FOLDER / f"domainbed_{method}.yaml"), "task": "domainbed"}
    for dataset, target in (("PACS", "sketch"), ("DomainNet", "real")):
        config = resolve({**settings, "task.dataset": dataset, "task.target": target, "seed": 2})
        assert (config.engine.steps, config.engine.batch_size, config.data.balance) == (5001, 96, "group")
        assert config.task.to_dict()["trial"] == 2


@pytest.mark.parametrize("method", ["erm", "swad", "miro"])
def test_domainbed_trains_for_5001_steps_of_32_images_of_three_domains(method: str) -> None:
    config = recipe(method, task="domainbed")
    engine = config.engine
    assert (engine.lr, engine.batch_size, engine.weight_decay, engine.clip_norm) == (5e-5, 3 * 32, 0, 0)
    pacs_without_photo = sum(images - int(0.2 * images) for images in (2048, 2344, 3929))
    assert pacs_without_photo == 6659
    assert stage_steps(Stage(train=()), engine, images=pacs_without_photo) == 5001
    assert config.data.balance == "group"
    assert (config.data.crop_scale, config.data.flip) == ((0.7, 1.0), True)
    assert config.method.to_dict()["head"] == "linear"


def test_swad_looks_at_validation_every_100_steps_of_domainbed_and_miro_has_weight_1() -> None:
    swad = recipe("swad", task="domainbed").method.to_dict()
    assert segment_ends(5001, swad["segments"]) == list(range(0, 5001, 100))
    assert (swad["optimum_patience"], swad["overfit_patience"], swad["tolerance"]) == (3, 6, 0.3)
    assert recipe("miro", task="domainbed").method.to_dict()["weight"] == 1.0


def test_the_recipes_of_adapters_and_projections_have_the_published_settings() -> None:
    adapter, tpgm, ftp = recipe("r_adapter"), recipe("tpgm"), recipe("ftp")
    assert adapter.engine.lr * adapter.method.to_dict()["lr_multiple"] == 5e-4
    assert (adapter.engine.weight_decay, adapter.engine.clip_norm, adapter.engine.batch_size) == (0, 1.0, 512)
    assert (tpgm.method.to_dict()["norm"], tpgm.method.to_dict()["iterations"]) == ("l2", 200)
    assert (ftp.engine.weight_decay, ftp.engine.clip_norm, ftp.method.to_dict()["annealing"]) == (0, 0, 1)
    for config in (adapter, tpgm, ftp):
        steps = stage_steps(Stage(train=()), config.engine, images=IMAGENET)
        assert (steps, round(config.engine.warmup * steps)) == (25_030, 500)
