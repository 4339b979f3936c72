"""Each figure of the book as a vector graphic, what it plots as a CSV file, and its image at a third of the size.

When the book is built, :func:`keep_figure_files` lets a chapter's cells give the first two beside the image that the
page shows; a Sphinx extension takes them out of the chapter's outputs, puts links to them under the figure, and makes
the image smaller. A chapter that is run in any other way has the image alone, so that nothing of this is stored.
"""

from __future__ import annotations

import csv
import io
import os

import matplotlib as mpl
import numpy as np
from matplotlib.collections import Collection, PathCollection, QuadMesh
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Polygon, Rectangle
from matplotlib.text import Text
from PIL import Image

__all__ = ["COLUMNS", "figure_csv", "figure_rows", "figure_svg", "keep_figure_files", "small_png"]

#: Columns of the CSV file: number and title of the panel; label in the legend, or a number; kind of thing; the part
#: of it (a line of a contour, an error bar); coordinates; and the value that a colour stands for.
COLUMNS = ("panel", "title", "series", "kind", "part", "x", "y", "value")
#: A cloud of more points than this is an image within the SVG, whose size would be a megabyte otherwise.
CLOUD = 200


def figure_rows(figure):
    """What a figure plots, as rows with the entries of :data:`COLUMNS`.

    Lines, points, bars (their centre and upper end), areas and error bars (their corners), words at a place, images
    and meshes (the middles of their cells, or the corners of a smooth one) are there; ticks and legends are not. A line
    across a panel, as ``axhline`` draws it, is of the kind "guide": one of its coordinates is a part of the panel, from
    0 to 1.

    Parameters
    ----------
    figure : matplotlib.figure.Figure

    Yields
    ------
    tuple
        Coordinates and values are floats, or None where there is none.
    """
    for panel, ax in enumerate(figure.axes, 1):
        title = ax.get_title(loc="left") or ax.get_title() or ax.get_ylabel()
        together = {id(part): group.get_label() for group in ax.containers for part in group.get_children()}
        for number, artist in enumerate(ax.get_children(), 1):
            if not artist.get_visible():
                continue
            label = str(together.get(id(artist)) or artist.get_label() or "")
            series = str(number) if label.startswith("_") or not label else label
            series = artist.get_text() if isinstance(artist, Text) else series
            for kind, part, x, y, value in _points(ax, artist):
                yield (panel, title, series, kind, part, x, y, value)


def figure_csv(figure):
    """The rows of :func:`figure_rows` as the text of a CSV file, numbers with seven digits."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(COLUMNS)
    for *words, x, y, value in figure_rows(figure):
        writer.writerow([*words, *("" if number is None else f"{number:.7g}" for number in (x, y, value))])
    return file.getvalue()


def figure_svg(figure):
    """The figure as the text of an SVG file, the same for the same figure: no date, letters drawn as curves.

    A scatter of more than 200 points is an image within it.
    """
    file = io.StringIO()
    clouds = [points for points in figure.findobj(PathCollection) if len(points.get_offsets()) > CLOUD]
    before = [cloud.get_rasterized() for cloud in clouds]
    for cloud in clouds:
        cloud.set_rasterized(True)
    with mpl.rc_context({"svg.hashsalt": "book", "svg.fonttype": "path"}):
        figure.savefig(file, format="svg", dpi=figure.dpi, bbox_inches="tight", metadata={"Date": None})
    for cloud, rasterized in zip(clouds, before, strict=True):
        cloud.set_rasterized(rasterized)
    return file.getvalue()


def small_png(content):
    """A PNG file, as bytes, with at most 256 colours, chosen so that none is far from the one that it stands for."""
    file = io.BytesIO()
    image = Image.open(io.BytesIO(content)).convert("RGB")
    image.quantize(256, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(file, "PNG", optimize=True)
    return file.getvalue()


def keep_figure_files():
    """Let the cells of the notebook that is running give SVG and CSV beside each figure, in a build of the book only.

    It is one if the environment variable ``BOOK_CHAPTERS`` is set, as ``tools/execute.py`` does for a build.
    """
    if "BOOK_CHAPTERS" not in os.environ:
        return
    from IPython import get_ipython

    shell = get_ipython()
    if shell is not None:
        bundles = shell.display_formatter.mimebundle_formatter
        bundles.for_type_by_name("matplotlib.figure", "Figure", _bundle)


def _bundle(figure, include=None, exclude=None):
    return {"image/svg+xml": figure_svg(figure), "text/csv": figure_csv(figure)}


def _points(ax, artist):
    """Yield kind, part, x, y and value of all that one artist draws."""
    transform = artist.get_data_transform() if isinstance(artist, Patch) else artist.get_transform()
    inside = transform is ax.transData
    if isinstance(artist, Line2D):
        across = transform is ax.get_xaxis_transform() or transform is ax.get_yaxis_transform()
        if inside or across:
            for x, y in zip(*map(_floats, (artist.get_xdata(orig=False), artist.get_ydata(orig=False))), strict=True):
                yield "guide" if across else "line", 1, x, y, None
    elif isinstance(artist, QuadMesh):
        at, values = artist.get_coordinates(), artist.get_array()
        if values.size < at[..., 0].size:  # one for each cell; a smooth mesh has one for each corner
            at = 0.25 * (at[1:, 1:] + at[1:, :-1] + at[:-1, 1:] + at[:-1, :-1])
        for (x, y), value in zip(at.reshape(-1, 2), _floats(values), strict=True):
            yield "mesh", 1, x, y, value
    elif isinstance(artist, PathCollection):
        colours = artist.get_array()
        for count, (x, y) in enumerate(artist.get_offsets()):
            yield "points", 1, x, y, None if colours is None else colours[count]
    elif isinstance(artist, Collection) and inside:
        levels = getattr(artist, "levels", ())  # of contours, one path for each
        for part, path in enumerate(artist.get_paths(), 1):
            for x, y in path.vertices:
                value = levels[part - 1] if part <= len(levels) else None
                yield "area" if artist.get_fill() else "segments", part, x, y, value
    elif isinstance(artist, AxesImage):
        left, right, bottom, top = artist.get_extent()
        values = np.ma.filled(artist.get_array(), np.nan)
        if values.ndim == 2:
            rows, columns = values.shape
            lower, upper = (top, bottom) if artist.origin == "upper" else (bottom, top)
            for (row, column), value in np.ndenumerate(values):
                x = left + (column + 0.5) * (right - left) / columns
                yield "image", 1, x, lower + (row + 0.5) * (upper - lower) / rows, value
    elif isinstance(artist, Polygon) and inside:
        for x, y in artist.get_xy():
            yield "area", 1, x, y, None
    elif isinstance(artist, Text) and inside:
        yield "text", 1, *map(float, artist.get_position()), None
    elif isinstance(artist, Rectangle) and inside and artist is not ax.patch:
        yield "bar", 1, artist.get_x() + 0.5 * artist.get_width(), artist.get_y() + artist.get_height(), None


def _floats(values):
    return np.ma.filled(np.ma.asarray(values, dtype=float), np.nan).ravel()
