"""Figures and tables of the book: one style, and the few kinds of plot that its chapters share.

A chapter begins with :func:`use_style`; importing the module changes no setting. Colours are those of Okabe and Ito,
which readers with a colour vision deficiency can tell apart [1]_, and each line has a style or a marker of its own, so
that a grey print can be read. What plots takes the axes to draw on, or makes a figure, and returns the axes.

References
----------
.. [1] B. Wong, "Points of view: Color blindness", *Nature Methods* 8 (2011), 441, doi:10.1038/nmeth.1618.
"""

from __future__ import annotations

from dataclasses import dataclass

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from scipy.special import ndtri

from logitmoe.checks import as_count, as_covariates, as_float_array, as_labels, message
from logitmoe.gates import identity
from logitmoe.measure import MixingMeasure
from logitmoe.model import density, expert_log_probabilities, gate_log_probabilities, responsibilities

from .figure_files import keep_figure_files

__all__ = [
    "BinnedFrequencies",
    "COLOURS",
    "HEIGHT",
    "LINE_STYLES",
    "MARKERS",
    "STYLE",
    "Table",
    "WIDTH",
    "binned_frequencies",
    "figure",
    "line_style",
    "marker_style",
    "plot_density",
    "plot_experts",
    "plot_frequencies",
    "plot_gate",
    "plot_log_log",
    "plot_responsibilities",
    "plot_trace",
    "table",
    "use_style",
]

#: Width of a figure in inches. At 100 pixels for an inch it fills the book's column of 720 pixels.
WIDTH = 7.2
#: Default height of a figure in inches.
HEIGHT = 3.0
#: Colours by name (Okabe and Ito, without the yellow, which white paper swallows), in the order of use.
COLOURS = {
    "black": "#000000",
    "blue": "#0072B2",
    "vermillion": "#D55E00",
    "green": "#009E73",
    "purple": "#CC79A7",
    "orange": "#E69F00",
    "sky": "#56B4E9",
}
#: Line styles, one for each colour.
LINE_STYLES = ("-", "--", "-.", ":", (0, (7, 2)), (0, (3, 1, 1, 1, 1, 1)), (0, (1, 2)))
#: Markers, one for each colour.
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
#: Matplotlib settings of the book. The resolution is twice the column's, for screens with fine pixels.
STYLE = {
    "figure.figsize": (WIDTH, HEIGHT),
    "figure.dpi": 200,
    "savefig.dpi": 200,
    "figure.constrained_layout.use": True,
    "font.size": 10.0,
    "axes.titlesize": 10.0,
    "axes.titlelocation": "left",
    "axes.labelsize": 10.0,
    "xtick.labelsize": 9.0,
    "ytick.labelsize": 9.0,
    "legend.fontsize": 9.0,
    "legend.frameon": False,
    "legend.handlelength": 2.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E4E4E4",
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.7,
    "lines.markersize": 4.5,
    "axes.prop_cycle": mpl.cycler(color=list(COLOURS.values()), linestyle=LINE_STYLES),
}


def use_style():
    """Set Matplotlib to the book's style, once, at the top of a chapter; a build of the book keeps SVG and CSV too."""
    mpl.rcParams.update(STYLE)
    keep_figure_files()


def line_style(number):
    """Colour and line style of the curve with this number: keyword arguments for ``Axes.plot``.

    Parameters
    ----------
    number : int
        0 is the solid black of truths; 1, 2, ... are for what is compared with it. From 7 on they repeat.

    Returns
    -------
    dict
    """
    number = as_count(number, "number", minimum=0) % len(COLOURS)
    return {"color": list(COLOURS.values())[number], "linestyle": LINE_STYLES[number]}


def marker_style(number):
    """Colour and marker of the set of points with this number, without a line, as for :func:`line_style`.

    Returns
    -------
    dict
    """
    number = as_count(number, "number", minimum=0) % len(COLOURS)
    return {"color": list(COLOURS.values())[number], "marker": MARKERS[number], "linestyle": "none"}


def figure(rows=1, columns=1, *, height=None, **options):
    """Make a figure as wide as the book's column.

    Parameters
    ----------
    rows, columns : int
        Panels.
    height : float, optional
        Height of the whole figure in inches; default 3 for each row.
    **options
        For ``matplotlib.pyplot.subplots``, such as ``sharey=True``.

    Returns
    -------
    figure : matplotlib.figure.Figure
    axes : matplotlib.axes.Axes, or an array of them
        As ``matplotlib.pyplot.subplots`` returns them.

    Raises
    ------
    TypeError, ValueError
        If a count is not a positive integer, or the height is not positive.
    """
    rows, columns = as_count(rows, "rows"), as_count(columns, "columns")
    height = HEIGHT * rows if height is None else float(as_float_array(height, "height", ndim=0))
    if height <= 0.0:
        raise ValueError(message("height", "a positive number of inches", f"{height}", "3 is usual for a row"))
    return plt.subplots(rows, columns, figsize=(WIDTH, height), **options)


def plot_density(G, x, *, gate=identity, s=1, ax=None, **style):
    """Plot the density g_G(Y = s | x) of one class (equations 1 and 8) against x.

    Parameters
    ----------
    G : MixingMeasure
        Without batch axes, d = 1.
    x : array_like, shape (m,)
        Points in ascending order.
    gate : Gate, str or callable, optional
        The map M.
    s : int
        The class, in 1..K.
    ax : matplotlib.axes.Axes, optional
        Default: the axes of a new figure.
    **style
        For ``Axes.plot``; see :func:`line_style`.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    TypeError, ValueError
        If `G` has batch axes or d > 1, there is no class s, or `x` is not valid for `G`.
    """
    x, s = _check(G, x, s)
    ax = _axes(ax)
    ax.plot(x, density(G, x, gate)[s - 1], **style)
    return _probability_axis(ax, rf"$g_G(Y = {s} \mid x)$")


def plot_gate(G, x, *, gate=identity, ax=None, first=1, labels=None):
    """Plot the gate's probabilities, one curve for each atom, against x.

    Parameters
    ----------
    G, x, gate, ax
        As in :func:`plot_density`.
    first : int
        Number of the first curve's style, see :func:`line_style`.
    labels : sequence of str, length k, optional
        For the legend; default "atom 1", and so on.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    TypeError, ValueError
        As :func:`plot_density`, and if there is not one label for each atom.
    """
    x, _ = _check(G, x)
    labels = _labels(G, labels, "atom")
    ax = _axes(ax)
    for i, probability in enumerate(np.exp(gate_log_probabilities(G, x, gate))):
        ax.plot(x, probability, label=labels[i], **line_style(first + i))
    return _probability_axis(ax, "gate probability")


def plot_experts(G, x, *, s=1, ax=None, first=1, labels=None):
    """Plot the experts' probabilities of class s, one curve for each expert, against x.

    Parameters and errors are those of :func:`plot_gate` and :func:`plot_density`; the labels' default is "expert 1",
    and so on.

    Returns
    -------
    matplotlib.axes.Axes
    """
    x, s = _check(G, x, s)
    labels = _labels(G, labels, "expert")
    ax = _axes(ax)
    for i, probability in enumerate(np.exp(expert_log_probabilities(G, x))[:, s - 1]):
        ax.plot(x, probability, label=labels[i], **line_style(first + i))
    return _probability_axis(ax, f"expert's probability of class {s}")


def plot_responsibilities(G, x, *, gate=identity, atom=1, ax=None, first=1):
    """Plot the posterior probability of one expert, P(expert | Y = s, x), one curve for each class, against x.

    Parameters
    ----------
    G, x, gate, ax
        As in :func:`plot_density`.
    atom : int
        The expert, in 1..k.
    first : int
        Number of the first curve's style, see :func:`line_style`.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    TypeError, ValueError
        As :func:`plot_density`, and if there is no such expert.
    """
    x, _ = _check(G, x)
    atom = _position(atom, G.k, "atom")
    ax = _axes(ax)
    for s, probability in enumerate(responsibilities(G, x, gate)[atom - 1], start=1):
        ax.plot(x, probability, label=f"given $Y = {s}$", **line_style(first + s - 1))
    return _probability_axis(ax, f"posterior probability of expert {atom}")


@dataclass(frozen=True, eq=False)
class BinnedFrequencies:
    """Frequencies of one class in bins of x, with intervals.

    Attributes
    ----------
    edges : ndarray, shape (bins + 1,)
        Ends of the bins.
    index : ndarray of int, shape (n,)
        The bin, 0 to bins - 1, of each sample.
    count : ndarray of int, shape (bins,)
        Samples in each bin, of any class.
    share : ndarray, shape (bins,)
        Part of them that is of the class; NaN in an empty bin, as are `low` and `high`.
    low, high : ndarray, shape (bins,)
        Wilson's interval for the probability.
    """

    edges: np.ndarray
    index: np.ndarray
    count: np.ndarray
    share: np.ndarray
    low: np.ndarray
    high: np.ndarray

    @property
    def centre(self):
        """Middles of the bins, shape (bins,)."""
        return 0.5 * (self.edges[:-1] + self.edges[1:])

    def mean(self, values):
        """Mean over each bin's samples of ``values``, shape (n,): shape (bins,), NaN in an empty bin."""
        sums = np.bincount(self.index, weights=values, minlength=self.count.size)
        return np.divide(sums, self.count, out=np.full(self.count.size, np.nan), where=self.count > 0)


def binned_frequencies(x, y, *, s=1, bins=20, domain=(0.0, 1.0), level=0.95):
    """Frequency of class s in bins of equal width, with Wilson's intervals.

    Parameters
    ----------
    x : array_like, shape (n,) or (n, 1)
        Covariates inside `domain`.
    y : array_like of int, shape (n,)
        Labels 1, 2, ...
    s : int
        The class.
    bins : int
        Number of bins.
    domain : tuple of float
        Ends, low < high.
    level : float
        Nominal coverage of each interval, inside (0, 1). Given x the labels of a bin are independent with unequal
        probabilities, so that the variance of their share is a little less than the interval assumes.

    Returns
    -------
    BinnedFrequencies

    Raises
    ------
    TypeError, ValueError
        If an argument is out of range, lengths differ, or some x is outside the domain.
    """
    x = as_covariates(x, d=1)[:, 0]
    y = as_labels(y)
    s, bins = as_count(s, "s"), as_count(bins, "bins")
    low, high = as_float_array(domain, "domain", shape=(2,))
    level = float(as_float_array(level, "level", ndim=0))
    if len(x) != len(y):
        raise ValueError(message("y", f"{len(x)} labels, one for each x", f"{len(y)}", "drop or add samples"))
    if not low < high:
        raise ValueError(message("domain", "low < high", f"{low}, {high}", "exchange them"))
    if x.min() < low or x.max() > high:
        raise ValueError(message("x", f"values in [{low}, {high}]", f"{x.min()} to {x.max()}", "widen the domain"))
    if not 0.0 < level < 1.0:
        raise ValueError(message("level", "a number inside (0, 1)", f"{level}", "0.95 is usual"))
    edges = np.linspace(low, high, bins + 1)
    index = np.clip(np.searchsorted(edges, x, side="right") - 1, 0, bins - 1)
    count = np.bincount(index, minlength=bins)
    hits = np.bincount(index[y == s], minlength=bins)
    with np.errstate(invalid="ignore", divide="ignore"):
        share = hits / count
        z2 = ndtri(0.5 + 0.5 * level) ** 2
        middle = (hits + 0.5 * z2) / (count + z2)
        half = np.sqrt(z2 * (count * share * (1.0 - share) + 0.25 * z2)) / (count + z2)
    return BinnedFrequencies(edges, index, count, share, middle - half, middle + half)


def plot_frequencies(frequencies, *, s=1, ax=None, number=1, label=None):
    """Plot frequencies in bins with their intervals.

    Parameters
    ----------
    frequencies : BinnedFrequencies
        From :func:`binned_frequencies`. Empty bins are left out.
    s : int
        The class, for the label of the axis.
    ax : matplotlib.axes.Axes, optional
        Default: the axes of a new figure.
    number : int
        Number of the points' style, see :func:`marker_style`.
    label : str, optional
        For the legend.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    TypeError
        If `frequencies` is something else.
    """
    if not isinstance(frequencies, BinnedFrequencies):
        got = type(frequencies).__name__
        raise TypeError(message("frequencies", "BinnedFrequencies", got, "make them with binned_frequencies(x, y)"))
    ax = _axes(ax)
    f, seen = frequencies, frequencies.count > 0
    # Rounding can put the end of an interval of width zero beyond the share.
    reach = np.maximum(np.stack([f.share - f.low, f.high - f.share])[:, seen], 0.0)
    ax.errorbar(f.centre[seen], f.share[seen], reach, elinewidth=1.2, capsize=2.0, label=label, **marker_style(number))
    return _probability_axis(ax, f"frequency of class {s}")


def plot_trace(log_likelihood, *, reference=None, ax=None, log_iterations=True, **style):
    """Plot how far each iteration's log-likelihood is from a reference, on a logarithmic scale.

    Parameters
    ----------
    log_likelihood : array_like, shape (T + 1,)
        Entry t after t iterations, as in :class:`~logitmoe.results.Trace`.
    reference : float, optional
        Default: the last entry. Iterations that reach it are not drawn, since their gap has no logarithm.
    ax : matplotlib.axes.Axes, optional
        Default: the axes of a new figure.
    log_iterations : bool
        Whether the iterations have a logarithmic axis too; the start, iteration 0, is then left out.
    **style
        For ``Axes.plot``; see :func:`line_style`.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    TypeError, ValueError
        If the trace is not a finite vector or the reference not a finite number, or if no gap is positive.
    """
    trace = as_float_array(log_likelihood, "log_likelihood", ndim=1)
    reference = trace[-1] if reference is None else float(as_float_array(reference, "reference", ndim=0))
    gap = reference - trace
    t = np.arange(trace.size)
    drawn = (gap > 0.0) & (t >= (1 if log_iterations else 0))
    if not drawn.any():
        raise ValueError(
            message("reference", "a number above some entry of the trace", f"{reference}", "take the maximum")
        )
    ax = _axes(ax)
    ax.plot(t[drawn], gap[drawn], **style)
    ax.set(xlabel="iteration", ylabel="gap of the log-likelihood", yscale="log")
    if log_iterations:
        ax.set_xscale("log")
    return ax


def plot_log_log(n, loss, *, interval=None, slope=None, ax=None, number=1, label=None):
    """Plot a loss against the sample size on logarithmic scales.

    Parameters
    ----------
    n : array_like, shape (m,)
        Positive sample sizes.
    loss : array_like, shape (m,)
        Positive losses: means or medians, say.
    interval : tuple of two array_like, each of shape (m,), optional
        Positive lower and upper ends, with the loss between them.
    slope : float, optional
        Draw a thin grey line of this slope through the geometric mean of the points.
    ax : matplotlib.axes.Axes, optional
        Default: the axes of a new figure.
    number : int
        Number of the points' style, see :func:`marker_style`.
    label : str, optional
        For the legend.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    TypeError, ValueError
        If shapes differ, a value is not positive, or the loss is outside its interval.
    """
    n = as_float_array(n, "n", ndim=1)
    values = {"n": n, "loss": as_float_array(loss, "loss", shape=n.shape)}
    if interval is not None:
        low, high = interval
        values["interval[0]"] = as_float_array(low, "interval[0]", shape=n.shape)
        values["interval[1]"] = as_float_array(high, "interval[1]", shape=n.shape)
    for name, value in values.items():
        if value.size == 0 or value.min() <= 0.0:
            got = f"{value.min()}" if value.size else "no value"
            raise ValueError(message(name, "positive numbers, at least one", got, "a log scale shows no others"))
    loss, reach = values["loss"], None
    if interval is not None:
        reach = np.stack([loss - values["interval[0]"], values["interval[1]"] - loss])
        if reach.min() < 0.0:
            raise ValueError(message("interval", "ends around the loss", "a loss outside", "check their order"))
    ax = _axes(ax)
    ax.errorbar(n, loss, reach, elinewidth=1.2, capsize=2.0, label=label, **marker_style(number))
    if slope is not None:
        slope = float(as_float_array(slope, "slope", ndim=0))
        ends = np.array([n.min(), n.max()])
        middle = np.exp(np.log(loss).mean() + slope * (np.log(ends) - np.log(n).mean()))
        ax.plot(ends, middle, color="#767676", linewidth=1.0, linestyle="-", label=f"slope {slope:g}")
    ax.set(xscale="log", yscale="log", xlabel="sample size $n$", ylabel="loss")
    return ax


@dataclass(frozen=True)
class Table:
    """A table that a notebook and the book render; made by :func:`table`, whose arguments it keeps as text."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    align: str | None
    caption: str | None = None
    name: str | None = None

    def __repr__(self):
        return f"<table of {len(self.rows)} rows and {len(self.header)} columns>"

    def _repr_markdown_(self):
        rules = {"l": ":---", "c": ":---:", "r": "---:", "-": "---"}
        rule = [rules[letter] for letter in self.align or "-" * len(self.header)]
        lines = ["| " + " | ".join(cells) + " |" for cells in (self.header, rule, *self.rows)]
        if self.caption is not None:
            fence = ":::" if "`" in self.caption else "```"  # a fence of backticks may have none in its first line
            lines = [f"{fence}{{table}} {self.caption}", f":name: {self.name}", "", *lines, fence]
        return "\n".join(lines)


def table(header, rows, align=None, *, caption=None, name=None):
    """Make a table of text, with a caption and a number in the book if it is given both.

    Parameters
    ----------
    header : sequence of str
        Titles of the columns, in Markdown.
    rows : sequence of sequences of str or int
        Cells. Floats are refused: write them with the digits that other processors reproduce.
    align : str, optional
        One of the letters l, c, r for each column; default: as the page aligns its tables.
    caption : str, optional
        In Markdown, without line breaks.
    name : str, optional
        Label in the book, e.g. ``"tab-model-truths"``; goes with the caption.

    Returns
    -------
    Table

    Raises
    ------
    TypeError
        If a cell is neither a string nor an integer.
    ValueError
        If a row or `align` has another length than the header, `align` has other letters, or there is a caption
        without a name or a name without a caption.

    Examples
    --------
    >>> print(table(["$n$", "loss"], [[100, "0.25"]], "rr")._repr_markdown_())
    | $n$ | loss |
    | ---: | ---: |
    | 100 | 0.25 |
    """
    header = tuple(title.replace("|", r"\|") for title in header)
    if (caption is None) != (name is None):
        raise ValueError(message("name", "a caption and a name, or neither", f"{name!r}, {caption!r}", "give both"))
    if align is not None and (len(align) != len(header) or set(align) - set("lcr")):
        expected = f"{len(header)} of the letters l, c and r, one for each column"
        raise ValueError(message("align", expected, f"{align!r}", "for example 'lr' for two columns"))
    cells = []
    for number, row in enumerate(rows):
        row = tuple(row)
        if len(row) != len(header):
            got = f"{len(row)} in row {number}"
            raise ValueError(message("rows", f"{len(header)} cells in each", got, "fill it with empty strings"))
        for cell in row:
            if isinstance(cell, bool) or not isinstance(cell, str | int | np.integer):
                got = f"{cell!r} in row {number}"
                raise TypeError(message("rows", "strings or integers", got, "format it with fixed digits"))
        cells.append(tuple(str(cell).replace("|", r"\|") for cell in row))
    return Table(header, tuple(cells), align, caption, name)


def _check(G, x, s=1):
    """Check a single measure with d = 1, points and a class: x as a vector, and s."""
    if not isinstance(G, MixingMeasure):
        raise TypeError(message("G", "a MixingMeasure", type(G).__name__, "build one first"))
    if G.batch_shape:
        raise ValueError(message("G", "a measure without batch axes", f"{G!r}", "plot each G[index]"))
    if G.d != 1:
        raise ValueError(message("G", "d = 1 covariate", f"d = {G.d}", "a curve has one covariate"))
    return as_covariates(x, d=1)[:, 0], _position(s, G.K, "s")


def _position(value, count, name):
    value = as_count(value, name)
    if value > count:
        raise ValueError(message(name, f"a number in 1..{count}", f"{value}", "numbering starts at 1"))
    return value


def _labels(G, labels, word):
    labels = [f"{word} {i}" for i in range(1, G.k + 1)] if labels is None else list(labels)
    if len(labels) != G.k:
        raise ValueError(message("labels", f"{G.k}, one for each atom", f"{len(labels)}", "give one for each"))
    return labels


def _axes(ax):
    return figure()[1] if ax is None else ax


def _probability_axis(ax, ylabel):
    ax.set(xlabel="$x$", ylabel=ylabel, ylim=(-0.02, 1.02))
    return ax
