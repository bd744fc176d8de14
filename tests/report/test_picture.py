"""Pictures of figures: laid out once, and as matplotlib itself would."""

import io

import numpy as np
import pytest
from matplotlib.figure import Figure

from spikevaediff.report.figures.picture import new_figure, png_of


def figure_of(layout: str | None) -> Figure:
    figure = new_figure(figsize=(6, 4), layout=layout)
    axes = figure.subplots(2, 2)
    axes[0, 0].imshow(np.arange(12).reshape(3, 4))
    axes[0, 1].plot([1, 1000], [0, 1], label="a line")
    axes[0, 1].set_xscale("log")
    axes[0, 1].legend()
    axes[1, 0].set_xticks(range(3), ["a long name", "another", "c"], rotation=90)
    axes[1, 1].set(title="two\nlines", ylabel="y")
    figure.suptitle("title")
    return figure


def test_a_dollar_in_a_name_is_a_dollar_and_ticks_of_logarithms_stay_formulas() -> None:
    names = ["cost $ 5 and 6% $", "V1, $_$", "a$#$b"]
    figure = new_figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    axes.set_xticks(range(3), names)
    axes.set(title=names[1], yscale="log", ylim=(1, 1e4))
    figure.suptitle(names[2])
    assert png_of(figure)
    labels = [label for label in axes.get_yticklabels() if label.get_text()]
    assert labels
    assert all(label.get_parse_math() for label in labels)
    assert not any(text.get_parse_math() for text in [axes.title, *axes.get_xticklabels()])


@pytest.mark.parametrize("layout", ["constrained", "compressed", None])
def test_a_picture_is_what_saving_the_figure_gives(layout: str | None) -> None:
    saved = io.BytesIO()
    figure_of(layout).savefig(saved, format="png", metadata={"Software": None})
    assert png_of(figure_of(layout)) == saved.getvalue()
