"""The pictures of the docs: what is drawn is what the tables and formulas say."""

import importlib.util
import math
import re
import sys
from pathlib import Path

import pytest
from matplotlib import pyplot as plt

# scripts/ is no package, and an installed one of that name hides it.
PATH = Path(__file__).parents[2] / "scripts" / "draw_pictures.py"
SPEC = importlib.util.spec_from_file_location(PATH.stem, PATH)
script = importlib.util.module_from_spec(SPEC)
sys.modules[SPEC.name] = script
SPEC.loader.exec_module(script)

NUMBER = re.compile(r"-?\d+\.\d+")


@pytest.fixture(autouse=True)
def _no_figure_stays_open():
    yield
    plt.close("all")


def test_the_pictures_of_the_docs_are_those_that_the_command_draws(tmp_path):
    script.main(["--out", str(tmp_path)])
    for name in script.PICTURES:
        drawn, kept = (
            (folder / f"{name}.svg").read_text() for folder in (tmp_path, script.DOCS / "pictures")
        )
        assert NUMBER.sub("", drawn) == NUMBER.sub("", kept), f"draw {name} again"
        numbers = [[float(text) for text in NUMBER.findall(svg)] for svg in (drawn, kept)]
        # Coordinates, which are cut at a hundredth of a point.
        assert numbers[0] == pytest.approx(numbers[1], abs=0.02)


def test_weights_are_exponential_in_the_log_ratio_and_sum_to_one():
    (axis,) = script.draw_token_weights().axes
    for line, p in zip(axis.lines, (-2, -1, 0, 1, 2), strict=True):
        log_ratio, weight = line.get_data()
        assert weight.mean() == pytest.approx(1, rel=1e-12)
        slope = math.log(weight[-1] / weight[0]) / (log_ratio[-1] - log_ratio[0])
        assert slope == pytest.approx(p, abs=1e-9)


def test_points_and_intervals_are_the_cells_of_the_tables():
    (axis,) = script.draw_gradient_variance().axes
    second = axis.containers[1]
    points, _, (bars,) = second
    assert points.get_ydata()[0] == 29.1
    assert bars.get_segments()[0][:, 1] == pytest.approx([22.3, 35.7])
    (axis,) = script.draw_loss_time().axes
    points, _, (bars,) = axis.containers[5]
    labels = [label.get_text() for label in axis.get_yticklabels()]
    row = labels.index("verl vanilla")
    assert points.get_xdata()[row] == 1.37
    assert bars.get_segments()[row][:, 0] == pytest.approx([1.34, 1.42])


def test_a_page_without_its_table_is_named(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("| a | b |\n|---|---|\n| 1 | 2 |\n")
    assert script.read_table(page, "b") == [["a", "b"], ["1", "2"]]
    with pytest.raises(ValueError, match=r"page\.md: 0 tables with 'c'"):
        script.read_table(page, "c")
