import numpy as np
import pytest

from surefoot.report import comparison, figures, find_runs
from surefoot.report.summary import entries


def test_pooled_bins_add_counts_and_weigh_means(tmp_path, make_results, make_run):
    content = make_results("fine_tune", (0.5, 0.5, 0.5), shifts=("solid", "pixel"))
    bins = {"solid": ([None, 0.8], [None, 0.5], [0, 10]), "pixel": ([0.3, 0.9], [0.2, 1.0], [5, 30])}
    for name, (confidence, accuracy, count) in bins.items():
        content["splits"][name]["reliability"] = {"confidence": confidence, "accuracy": accuracy, "count": count}
    make_run(tmp_path, content)
    found = figures.pooled(find_runs(tmp_path), ["solid", "pixel"])
    assert found.count.tolist() == [5, 40]
    np.testing.assert_allclose(found.confidence, [0.3, 0.875])
    np.testing.assert_allclose(found.accuracy, [0.2, 0.875])
    assert found.ece == pytest.approx(5 / 45 * 0.1)


def test_pooled_ece_of_one_split_is_its_ece(tmp_path, make_sample):
    run = find_runs(make_sample(tmp_path, seeds=1))[0]
    assert figures.pooled([run], ["solid"]).ece == pytest.approx(run.results["splits"]["solid"]["ece"])


def test_the_scatter_describes_every_method_and_labels_it_once(tmp_path, make_sample):
    found = comparison(find_runs(make_sample(tmp_path)))
    drawn = str(figures.scatter("s", found, width=860, height=520))
    for entry in entries(found):
        assert drawn.count(f'class="label">{entry.name}<') == 1
        assert f"{entry.name}: " in drawn.split("</desc>")[0]
    assert drawn.count('class="dot') == 11


def test_there_is_no_scatter_without_shifts(tmp_path, make_results, make_run):
    make_run(tmp_path, make_results("fine_tune", (0.75,), shifts=()))
    assert not figures.scatter("s", comparison(find_runs(tmp_path)), width=860, height=520)


def test_methods_differ_in_colour_or_shape(tmp_path, make_results, make_run):
    for i in range(20):
        make_run(tmp_path, make_results(f"m{i}", (0.5,), shifts=()))
    looks = figures.looks(entries(comparison(find_runs(tmp_path)))).values()
    assert len({(look.style, look.slot % len(figures.svg.SHAPES)) for look in looks}) == 20
