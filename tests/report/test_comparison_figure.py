"""The picture of a comparison says what is not trained, and what is trained and has no score."""

import numpy as np
from matplotlib.figure import Figure

from ilfo.report import comparison_figure


def test_a_cell_without_a_score_is_told_from_one_that_is_not_trained(monkeypatch):
    kept = []
    monkeypatch.setattr(comparison_figure, "png", lambda figure: kept.append(figure) or b"")
    scores, trained = np.array([[0.5, np.nan, np.nan]]), np.array([[True, True, False]])
    curves = {("nearest", "td3"): [{100: 0.5}], ("nearest", "sac"): [], ("nearest", "td7"): []}
    comparison_figure.comparison(["nearest"], ["td3", "sac", "td7"], scores, trained, curves, "one")
    figure: Figure = kept[0]
    texts = [text.get_text() for axis in figure.get_axes() for text in axis.texts]
    assert texts[:3] == ["0.50", "no score", "–"]
    assert texts[3:] == ["no scores", "not trained"]
