"""A drawing: called, it gives the bytes of a PNG; its `figure` gives the figure, for a notebook or a paper.

Figures are made without pyplot, which would keep them and change the backend of a notebook that imports this.
"""

import io
from collections.abc import Callable
from functools import update_wrapper
from typing import Any, Generic, ParamSpec

from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import LogFormatter

P = ParamSpec("P")


class Picture(Generic[P]):
    """A function that returns a figure, as a decorator: the picture it makes is the same for the same input.

    figure : callable; the function itself, its texts as written.
    """

    def __init__(self, figure: Callable[P, Figure]) -> None:
        self._drawn = figure
        update_wrapper(self, figure)

    def figure(self, *args: P.args, **kwargs: P.kwargs) -> Figure:
        """The figure itself, in which texts are as written."""
        return as_written(self._drawn(*args, **kwargs))

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> bytes:
        return png_of(self._drawn(*args, **kwargs))


def as_written(figure: Figure) -> Figure:
    """The figure, in which $ is a character and begins no formula: names of data sets and areas may hold it. Numbers at
    ticks, which matplotlib writes as formulas on logarithmic axes, stay what they are."""
    for text in figure.findobj(Text):
        text.set_parse_math(False)
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            for formatter, ticks in (
                (axis.get_major_formatter(), axis.majorTicks),
                (axis.get_minor_formatter(), axis.minorTicks),
            ):
                for tick in ticks:
                    tick.label1.set_parse_math(isinstance(formatter, LogFormatter))
    return figure


def new_figure(**options: Any) -> Figure:
    """An empty figure with the options of matplotlib's Figure."""
    figure = Figure(**options)
    FigureCanvasAgg(figure)
    return figure


def subplots(n_rows: int = 1, n_columns: int = 1, *, figsize: tuple[float, float], **options: Any) -> Any:
    """A figure with constrained layout and its axes, as pyplot's function of this name returns them.

    Titles stand right above their axes. Otherwise matplotlib looks for a place above all ticks and their common factor,
    each time that it lays out or draws.
    """
    figure = new_figure(figsize=figsize, layout="constrained")
    with rc_context({"axes.titley": 1.0}):
        return figure, figure.subplots(n_rows, n_columns, **options)


def png_of(figure: Figure) -> bytes:
    """The figure as PNG without the date and version that would change its bytes from run to run; its layout is fixed
    by this, and its texts are as written."""
    as_written(figure)
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            if not axis.get_label_text():
                axis.set_label_coords(0, 0)  # or its place is searched for below all ticks, each time anew
    if (layout := figure.get_layout_engine()) is not None:
        # Saving would draw everything once more, onto nothing, to lay it out.
        layout.execute(figure)
        figure.set_layout_engine("none")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
