"""The picture of a suite: what stands in it can be read."""

from itertools import pairwise

import numpy as np
import pytest

from ilfo.cloning import PLAIN
from ilfo.suites import open_suite
from ilfo.suites.figure import draw_suite, suite_figure
from ilfo.suites.looks_figure import looks_figure
from ilfo.suites.reached import Reached


def test_every_bar_stands_at_its_task_as_high_and_as_sure_as_its_method_came():
    tasks, methods = ["a", "b", "c"], ["one", "two"]
    reached = {
        ("a", "one"): Reached(0.5, (0.4, 0.9)),
        ("a", "two"): Reached(0.2, (0.15, 0.25)),
        ("b", "one"): Reached(0.7, (0.1, 0.75)),
        ("c", "two"): Reached(0.9, (0.6, 0.95)),
    }
    (axis,) = draw_suite(tasks, methods, reached, "Some", "success").axes
    drawn = {}
    for bars in axis.containers:
        if bars.get_label() in methods:
            _, _, (ends,) = bars.errorbar.lines
            for bar, segment in zip(bars.patches, ends.get_segments(), strict=True):
                assert segment[:, 0] == pytest.approx([bar.get_x() + bar.get_width() / 2] * 2)
                task = tasks[round(bar.get_x() + bar.get_width() / 2)]
                drawn[task, bars.get_label()] = (bar.get_height(), *segment[:, 1])
    assert drawn == {names: pytest.approx((each.value, *each.interval)) for names, each in reached.items()}
    assert [label.get_text() for label in axis.get_xticklabels()] == tasks
    left, right = (bars.patches[0] for bars in axis.containers if bars.get_label() in methods)
    assert left.get_x() + left.get_width() < right.get_x(), "none hides another"


@pytest.mark.parametrize("name", ["metaworld-easy", "metaworld-medium", "locomotion", "adroit"])
@pytest.mark.parametrize("methods", [["flow/td3"], ["flow/td3", "transport/td3"]])
def test_the_names_of_tasks_do_not_run_into_one_another(name, methods):
    tasks = [task.name for task in open_suite(name).tasks]
    reached = {(task, method): Reached(0.5, (0.4, 0.6)) for task in tasks for method in methods}
    figure = draw_suite(tasks, methods, reached, name, "success")
    figure.canvas.draw()
    (axis,) = figure.axes
    spans = [label.get_window_extent() for label in axis.get_xticklabels()]
    assert all(left.x1 + 5 < right.x0 for left, right in pairwise(spans)), "pixels"


def test_a_number_without_an_interval_has_a_bar_and_no_line_about_its_end():
    reached = {("a", "one"): Reached(0.5, None), ("b", "one"): Reached(0.5, (0.4, 0.6))}
    (axis,) = draw_suite(["a", "b"], ["one"], reached, "Some", "score").axes
    (bars,) = (each for each in axis.containers if each.get_label() == "one")
    _, caps, _ = bars.errorbar.lines
    assert all(np.isnan(np.array(cap.get_ydata(), float)).tolist() == [True, False] for cap in caps)
    assert looks_figure(["a"], ["states"], ["lights"], {("a", "states", PLAIN): reached["a", "one"]}, "s", "score")


def test_dollars_in_names_begin_no_formula():
    name, found = "$ \\bad{ $", Reached(0.5, (0.4, 0.6))
    assert suite_figure([name], [name], {(name, name): found}, name, "score").startswith(b"\x89PNG")
    assert looks_figure([name], ["states"], ["lights"], {(name, "states", PLAIN): found}, name, "score")


def test_every_method_of_many_looks_like_itself():
    methods = [f"reward {number}/td3" for number in range(30)]
    reached = {("walk", method): Reached(0.5, (0.4, 0.6)) for method in methods}
    (axis,) = draw_suite(["walk"], methods, reached, "many", "success").axes
    assert len({(bar.get_facecolor(), bar.get_hatch()) for bar in axis.patches}) == 30


def test_before_anything_is_played_there_is_a_picture_all_the_same():
    assert looks_figure(["walk"], ["states"], ["lights"], {}, "none", "success").startswith(b"\x89PNG")
