"""The picture of a suite: what stands in it can be read."""

from itertools import pairwise

import pytest

from ilfo.suites import open_suite
from ilfo.suites.figure import Reached, draw_suite


@pytest.mark.parametrize("name", ["metaworld-easy", "metaworld-medium", "locomotion", "adroit"])
@pytest.mark.parametrize("methods", [["flow/td3"], ["flow/td3", "transport/td3"]])
def test_the_names_of_tasks_do_not_run_into_one_another(name, methods):
    tasks = [task.name for task in open_suite(name).tasks]
    reached = {(task, method): Reached(0.5, 0.4, 0.6) for task in tasks for method in methods}
    figure = draw_suite(tasks, methods, reached, name, "success")
    figure.canvas.draw()
    (axis,) = figure.axes
    spans = [label.get_window_extent() for label in axis.get_xticklabels()]
    assert all(left.x1 + 5 < right.x0 for left, right in pairwise(spans)), "pixels"
