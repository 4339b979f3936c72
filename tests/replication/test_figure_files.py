"""What a figure plots, as rows: each kind of thing with its numbers, and the files that are made of them."""

import csv
import io

import matplotlib.pyplot as plt
import numpy as np
import pytest
from PIL import Image

from replication.figure_files import COLUMNS, figure_csv, figure_rows, figure_svg, keep_figure_files, small_png


@pytest.fixture
def panels():
    figure, axes = plt.subplots(1, 2)
    yield figure, axes
    plt.close(figure)


def rows(figure, kind):
    return [row for row in figure_rows(figure) if row[3] == kind]


def test_a_line_gives_its_points_with_panel_title_and_label(panels):
    figure, axes = panels
    axes[1].set_title("right", loc="left")
    axes[1].plot([1, 2], [0.1, 1 / 3], label="a curve")
    expected = [(2, "right", "a curve", "line", 1, x, y, None) for x, y in ((1.0, 0.1), (2.0, 1 / 3))]
    assert list(figure_rows(figure)) == expected


def test_points_carry_the_value_of_their_colour(panels):
    figure, axes = panels
    axes[0].scatter([1.0, 2.0], [3.0, 4.0], c=[0.5, 0.25])
    axes[1].scatter([1.0], [2.0])
    assert [row[5:] for row in rows(figure, "points")] == [(1.0, 3.0, 0.5), (2.0, 4.0, 0.25), (1.0, 2.0, None)]


def test_error_bars_have_the_label_of_their_points(panels):
    figure, axes = panels
    axes[0].errorbar([1.0, 2.0], [5.0, 6.0], yerr=0.5, label="medians")
    assert {row[2] for row in figure_rows(figure)} == {"medians"}
    assert [row[4:7] for row in rows(figure, "segments")] == [(1, 1, 4.5), (1, 1, 5.5), (2, 2, 5.5), (2, 2, 6.5)]


def test_bars_areas_guides_images_and_meshes(panels):
    figure, axes = panels
    axes[0].bar([1.0], [7.0], width=0.5)
    axes[0].axhline(3.0)
    axes[0].fill_between([0.0, 1.0], 2.0)
    axes[1].imshow([[1.0, 2.0]], extent=(0.0, 4.0, 0.0, 1.0))
    axes[1].pcolormesh([0.0, 2.0], [0.0, 2.0], [[9.0]])
    assert rows(figure, "bar")[0][5:7] == (1.0, 7.0)
    assert {row[6] for row in rows(figure, "guide")} == {3.0}
    assert {row[6] for row in rows(figure, "area")} == {0.0, 2.0}
    assert [row[5:] for row in rows(figure, "image")] == [(1.0, 0.5, 1.0), (3.0, 0.5, 2.0)]
    assert [row[5:] for row in rows(figure, "mesh")] == [(1.0, 1.0, 9.0)]
    _, ax = plt.subplots()
    ax.pcolormesh([0.0, 2.0], [0.0, 3.0], [[9.0, 8.0], [7.0, 6.0]], shading="gouraud")
    corners = [(0.0, 0.0, 9.0), (2.0, 0.0, 8.0), (0.0, 3.0, 7.0), (2.0, 3.0, 6.0)]
    assert [row[5:] for row in rows(ax.figure, "mesh")] == corners


def test_a_contour_knows_its_level(panels):
    figure, axes = panels
    axes[0].contour([0.0, 1.0], [0.0, 1.0], [[0.0, 1.0], [0.0, 1.0]], levels=[0.25, 0.5])
    assert {(row[5], row[7]) for row in rows(figure, "segments")} == {(0.25, 0.25), (0.5, 0.5)}


def test_names_on_an_axis_are_counted(panels):
    figure, axes = panels
    axes[0].plot(["sigmoid", "tanh"], [3, 4])
    assert [row[5:7] for row in rows(figure, "line")] == [(0.0, 3.0), (1.0, 4.0)]


def test_words_and_polygons_in_a_panel(panels):
    figure, axes = panels
    axes[0].fill([0.0, 1.0, 1.0], [0.0, 0.0, 2.0])
    axes[0].text(0.5, 0.25, "proved")
    assert rows(figure, "text") == [(1, "", "proved", "text", 1, 0.5, 0.25, None)]
    assert (1.0, 2.0) in [row[5:7] for row in rows(figure, "area")]


def test_what_is_hidden_or_beside_the_panel_is_left_out(panels):
    figure, axes = panels
    axes[0].plot([1, 2], [3, 4], visible=False)
    axes[0].text(0.5, 0.5, "a note", transform=axes[0].transAxes)
    assert list(figure_rows(figure)) == []


def test_the_csv_gives_the_numbers_back(panels):
    figure, axes = panels
    y = np.array([np.pi * 1e-9, np.nan, 1e12])
    axes[0].plot(range(3), y, label='a "label", with a comma')
    read = list(csv.DictReader(io.StringIO(figure_csv(figure))))
    assert tuple(read[0]) == COLUMNS and {row["series"] for row in read} == {'a "label", with a comma'}
    np.testing.assert_allclose([float(row["y"]) for row in read], y, rtol=1e-6)
    assert {row["value"] for row in read} == {""}


def test_the_svg_is_the_same_for_the_same_figure(panels):
    figure, axes = panels
    axes[0].plot([1, 2], [3, 4])
    first = figure_svg(figure)
    assert first.startswith("<?xml") and first == figure_svg(figure) and "<dc:date>" not in first
    axes[0].plot([1, 2], [4, 3])
    assert figure_svg(figure) != first


def test_a_cloud_of_points_is_an_image_within_the_svg(panels):
    figure, axes = panels
    axes[0].scatter(np.arange(50), np.arange(50))
    assert "<image" not in figure_svg(figure)
    cloud = axes[1].scatter(np.arange(4000), np.arange(4000) % 61, s=3)
    drawing = figure_svg(figure)
    assert "<image" in drawing and drawing.count("<use") < 200 and not cloud.get_rasterized()
    assert drawing == figure_svg(figure)
    assert len(rows(figure, "points")) == 4050


def test_the_small_image_shows_what_was_drawn(panels):
    figure, axes = panels
    axes[0].imshow(np.linspace(0, 1, 4096).reshape(64, 64), cmap="viridis")  # more colours than the small image has
    axes[1].plot([1, 2], [3, 4], color="#CC79A7", label="a line")
    axes[1].legend()
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=figure.dpi, bbox_inches="tight")
    small = small_png(drawn.getvalue())
    assert len(small) < 0.5 * len(drawn.getvalue())
    before, after = (np.asarray(Image.open(io.BytesIO(data)).convert("RGB"), int) for data in (drawn.getvalue(), small))
    assert before.shape == after.shape and np.abs(after - before).max() <= 24


def test_outside_a_notebook_nothing_is_kept(monkeypatch):
    monkeypatch.setenv("BOOK_CHAPTERS", "any")
    keep_figure_files()
