"""The figures: they show the numbers that they are given, can be told apart in grey, and refuse bad input."""

import subprocess
import sys

import matplotlib as mpl
import numpy as np
import pytest

mpl.use("Agg")
from matplotlib import pyplot as plt  # noqa: E402

from logitmoe import MixingMeasure, density, sample
from replication import show
from replication.paper import TABLE_2, TABLE_3

X = np.linspace(0.0, 1.0, 21)


@pytest.fixture(autouse=True)
def closed():
    with mpl.rc_context():
        yield
    plt.close("all")


def curves(ax):
    return [np.array(drawn.get_xydata()) for drawn in ax.get_lines()]


def logistic(z):
    return 1.0 / (1.0 + np.exp(-z))


def test_the_package_does_not_import_matplotlib():
    code = "import sys, logitmoe; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_importing_changes_no_setting_and_use_style_does():
    with mpl.rc_context():
        mpl.rcdefaults()
        show.figure()
        assert mpl.rcParams["axes.grid"] is False
        show.use_style()
        for key, value in show.STYLE.items():
            # Matplotlib may keep a tuple as a list.
            assert mpl.rcParams[key] == (list(value) if isinstance(value, tuple) else value)


def test_figures_fill_the_column():
    show.use_style()
    figure, axes = show.figure(1, 2, height=2.5)
    assert axes.shape == (2,)
    assert figure.get_size_inches().tolist() == [show.WIDTH, 2.5]
    assert figure.dpi * show.WIDTH == 2 * 720


def luminance(colour):
    """Relative luminance of an sRGB colour (WCAG 2)."""
    c = np.array(mpl.colors.to_rgb(colour))
    linear = np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
    return linear @ [0.2126, 0.7152, 0.0722]


def test_curves_differ_without_colour_and_are_seen_on_white():
    styles = [show.line_style(i) for i in range(len(show.COLOURS))]
    assert len({str(s["linestyle"]) for s in styles}) == len({s["color"] for s in styles}) == len(styles)
    assert len({show.marker_style(i)["marker"] for i in range(len(styles))}) == len(styles)
    assert show.line_style(len(styles)) == show.line_style(0)
    contrast = [1.05 / (luminance(s["color"]) + 0.05) for s in styles]
    assert min(contrast) > 2.0
    assert min(contrast[:4]) > 3.0  # enough for thin lines (WCAG 2, non-text contrast)


def test_plot_density_draws_the_density_of_the_class():
    # By hand: a mixture of two logistic curves with a logistic weight.
    weight = logistic(1.0 + 3.0 * X)
    expected = weight * logistic(-1.0 + 2.0 * X) + (1.0 - weight) * logistic(1.0 - X)
    ax = show.plot_density(TABLE_2, X, label="truth")
    np.testing.assert_allclose(curves(ax)[0], np.column_stack([X, expected]), rtol=1e-13)
    assert show.plot_density(TABLE_2, X, s=2, ax=ax) is ax
    np.testing.assert_allclose(curves(ax)[1][:, 1], 1.0 - expected, rtol=1e-12)
    assert ax.get_ylim()[0] < 0.0 < 1.0 < ax.get_ylim()[1]


def test_plot_density_uses_the_gate():
    ax = show.plot_density(TABLE_3, X, gate="cos")
    np.testing.assert_array_equal(curves(ax)[0][:, 1], density(TABLE_3, X, "cos")[0])


def test_plot_gate_and_experts():
    ax = show.plot_gate(TABLE_2, X)
    np.testing.assert_allclose(curves(ax)[0][:, 1], logistic(1.0 + 3.0 * X), rtol=1e-13)
    np.testing.assert_allclose(curves(ax)[1][:, 1], logistic(-1.0 - 3.0 * X), rtol=1e-12)
    assert [text.get_label() for text in ax.get_lines()] == ["atom 1", "atom 2"]
    ax = show.plot_experts(TABLE_2, X, s=2, labels=["a", "b"])
    np.testing.assert_allclose(curves(ax)[1][:, 1], logistic(X - 1.0), rtol=1e-12)
    assert [text.get_label() for text in ax.get_lines()] == ["a", "b"]


def test_plot_responsibilities_follow_bayes_rule():
    weight, one, two = logistic(1.0 + 3.0 * X), logistic(-1.0 + 2.0 * X), logistic(1.0 - X)
    ax = show.plot_responsibilities(TABLE_2, X)
    np.testing.assert_allclose(curves(ax)[0][:, 1], weight * one / (weight * one + (1 - weight) * two), rtol=1e-12)
    other = show.plot_responsibilities(TABLE_2, X, atom=2)
    for mine, rest in zip(curves(ax), curves(other), strict=True):
        np.testing.assert_allclose(mine[:, 1] + rest[:, 1], 1.0, rtol=1e-13)


def test_binned_frequencies_by_hand():
    # Wilson's interval for 1 of 4 at 95 %, by hand: 0.0456 to 0.6994.
    f = show.binned_frequencies([0.0, 0.1, 0.2, 0.49, 0.5, 1.0], [1, 2, 2, 2, 1, 1], bins=2)
    assert f.count.tolist() == [4, 2]
    assert f.index.tolist() == [0, 0, 0, 0, 1, 1]
    assert f.share.tolist() == [0.25, 1.0]
    assert f.centre.tolist() == [0.25, 0.75]
    np.testing.assert_allclose([f.low[0], f.high[0]], [0.0456, 0.6994], atol=5e-5)
    np.testing.assert_allclose(f.mean([1.0, 2.0, 3.0, 6.0, 5.0, 7.0]), [3.0, 6.0])


def test_intervals_agree_with_scipy():
    from scipy.stats import binomtest

    x, y = sample(TABLE_2, 500, np.random.default_rng(5))
    f = show.binned_frequencies(x, y, bins=7, level=0.9)
    for count, share, low, high in zip(f.count, f.share, f.low, f.high, strict=True):
        interval = binomtest(round(share * count), count).proportion_ci(0.9, method="wilson")
        np.testing.assert_allclose([low, high], [interval.low, interval.high], rtol=1e-12)


def test_empty_bins_are_not_drawn():
    f = show.binned_frequencies([0.1, 0.2], [1, 1], bins=4)
    assert np.isnan(f.share).tolist() == [False, True, True, True]
    assert np.isnan(f.mean([1.0, 2.0])[1:]).all()
    container = show.plot_frequencies(f, label="data").containers[0]
    assert container.lines[0].get_xdata().tolist() == [0.125]
    assert container.get_label() == "data"


def test_plot_trace_draws_the_gaps():
    ax = show.plot_trace([-9.0, -3.0, -2.0, -1.0])
    np.testing.assert_allclose(curves(ax)[0], [[1, 2.0], [2, 1.0]])
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    ax = show.plot_trace([-9.0, -3.0, -2.0, -1.0], reference=-0.5, log_iterations=False)
    np.testing.assert_allclose(curves(ax)[0], [[0, 8.5], [1, 2.5], [2, 1.5], [3, 0.5]])
    assert ax.get_xscale() == "linear"


def test_plot_log_log():
    n, loss = np.array([1e2, 1e4]), np.array([2.0, 0.2])
    ax = show.plot_log_log(n, loss, interval=(0.5 * loss, 3.0 * loss), slope=-0.5)
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    bars = ax.containers[0].lines[2][0].get_segments()
    np.testing.assert_allclose(bars, [[[1e2, 1.0], [1e2, 6.0]], [[1e4, 0.1], [1e4, 0.6]]])
    reference = curves(ax)[-1]
    np.testing.assert_allclose(reference, [[1e2, 2.0], [1e4, 0.2]])  # these points have the slope -1/2


def labels(ax):
    """What the axes say: names of the axes, title, and the entries of the legend."""
    drawn = ax.get_legend_handles_labels()[1]
    return [ax.get_xlabel(), ax.get_ylabel(), *drawn]


def test_axes_and_legends_name_what_is_drawn():
    assert labels(show.plot_density(TABLE_2, X, s=2, label="truth")) == ["$x$", r"$g_G(Y = 2 \mid x)$", "truth"]
    assert labels(show.plot_gate(TABLE_2, X)) == ["$x$", "gate probability", "atom 1", "atom 2"]
    ax = show.plot_experts(TABLE_2, X, s=2)
    assert labels(ax) == ["$x$", "expert's probability of class 2", "expert 1", "expert 2"]
    ax = show.plot_responsibilities(TABLE_2, X, atom=2)
    assert labels(ax) == ["$x$", "posterior probability of expert 2", "given $Y = 1$", "given $Y = 2$"]
    ax = show.plot_frequencies(show.binned_frequencies([0.1, 0.2], [1, 2]), s=2, label="data")
    assert labels(ax) == ["$x$", "frequency of class 2", "data"]
    assert labels(show.plot_trace([-3.0, -2.0, -1.0])) == ["iteration", "gap of the log-likelihood"]
    ax = show.plot_log_log([1e2, 1e4], [2.0, 0.2], slope=-0.5, label="loss of EM")
    assert labels(ax) == ["sample size $n$", "loss", "slope -0.5", "loss of EM"]


def test_the_curve_of_a_label_is_that_of_its_atom_or_class():
    drawn = {line.get_label(): line.get_ydata() for line in show.plot_gate(TABLE_2, X).get_lines()}
    np.testing.assert_allclose(drawn["atom 1"], logistic(1.0 + 3.0 * X), rtol=1e-13)
    drawn = {line.get_label(): line.get_ydata() for line in show.plot_experts(TABLE_2, X).get_lines()}
    np.testing.assert_allclose(drawn["expert 1"], logistic(-1.0 + 2.0 * X), rtol=1e-13)
    weight, one, two = logistic(1.0 + 3.0 * X), logistic(-1.0 + 2.0 * X), logistic(1.0 - X)
    drawn = {line.get_label(): line.get_ydata() for line in show.plot_responsibilities(TABLE_2, X).get_lines()}
    np.testing.assert_allclose(drawn["given $Y = 1$"], weight * one / (weight * one + (1 - weight) * two), rtol=1e-12)
    f = show.binned_frequencies([0.1, 0.2, 0.3, 0.9], [1, 2, 2, 2], s=2, bins=2)
    np.testing.assert_allclose(f.share, [2 / 3, 1.0])


def test_table_is_markdown():
    made = show.table(["a", "$b$"], [[1, "x|y"], [np.int64(20), ""]], "rl")
    assert made._repr_markdown_() == "| a | $b$ |\n| ---: | :--- |\n| 1 | x\\|y |\n| 20 |  |"
    assert repr(made) == "<table of 2 rows and 2 columns>"
    assert show.table(["a", "b"], [[1, "2"]])._repr_markdown_() == "| a | b |\n| --- | --- |\n| 1 | 2 |"


def test_a_table_with_a_caption_is_a_directive():
    made = show.table(["a"], [[1]], "r", caption="One $a$.", name="tab-one")
    body = "| a |\n| ---: |\n| 1 |"
    assert made._repr_markdown_() == f"```{{table}} One $a$.\n:name: tab-one\n\n{body}\n```"
    other = show.table(["a"], [[1]], "r", caption="As {numref}`fig-one`.", name="tab-one")
    assert other._repr_markdown_() == f":::{{table}} As {{numref}}`fig-one`.\n:name: tab-one\n\n{body}\n:::"
    assert repr(made) == "<table of 1 rows and 1 columns>"


TWO = MixingMeasure(np.zeros((3, 2)), np.zeros((3, 2, 1)), np.zeros((3, 2, 2)), np.zeros((3, 2, 2, 1)))
PLANE = MixingMeasure([0.0], [[0.0, 0.0]], [[0.0, 0.0]], [[[0.0, 0.0], [0.0, 0.0]]])


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: show.plot_density("G", X), TypeError, "^G: expected a MixingMeasure"),
        (lambda: show.plot_density(TWO, X), ValueError, "^G: expected a measure without batch axes"),
        (lambda: show.plot_gate(PLANE, X), ValueError, "^G: expected d = 1"),
        (lambda: show.plot_density(TABLE_2, X, s=3), ValueError, r"^s: expected a number in 1\.\.2"),
        (lambda: show.plot_density(TABLE_2, X, s=0), ValueError, "^s: "),
        (lambda: show.plot_responsibilities(TABLE_2, X, atom=3), ValueError, "^atom: "),
        (lambda: show.plot_gate(TABLE_2, X, labels=["one"]), ValueError, "^labels: expected 2"),
        (lambda: show.plot_density(TABLE_2, [np.nan]), ValueError, "^x: "),
        (lambda: show.figure(0), ValueError, "^rows: "),
        (lambda: show.figure(height=0.0), ValueError, "^height: "),
        (lambda: show.line_style(-1), ValueError, "^number: "),
        (lambda: show.binned_frequencies([0.5], [1, 2]), ValueError, "^y: expected 1 labels"),
        (lambda: show.binned_frequencies([1.5], [1]), ValueError, "^x: expected values in"),
        (lambda: show.binned_frequencies([0.5], [1], level=1.0), ValueError, "^level: "),
        (lambda: show.binned_frequencies([0.5], [1], domain=(1, 0)), ValueError, "^domain: "),
        (lambda: show.plot_frequencies([0.5]), TypeError, "^frequencies: "),
        (lambda: show.plot_trace([1.0, np.inf]), ValueError, "^log_likelihood: "),
        (lambda: show.plot_trace([3.0, 3.0]), ValueError, "^reference: "),
        (lambda: show.table(["a"], [[0.5]]), TypeError, "^rows: expected strings or integers, got 0.5 in row 0"),
        (lambda: show.table(["a"], [[True]]), TypeError, "^rows: "),
        (lambda: show.table(["a"], [["x"], ["x", "y"]]), ValueError, "^rows: expected 1 cells in each, got 2 in row"),
        (lambda: show.table(["a"], [], "lr"), ValueError, "^align: "),
        (lambda: show.table(["a"], [], caption="One."), ValueError, "^name: "),
        (lambda: show.table(["a"], [], name="tab-one"), ValueError, "^name: "),
        (lambda: show.table(["a"], [], "x"), ValueError, "^align: "),
        (lambda: show.plot_log_log([1.0, 2.0], [1.0, 0.0]), ValueError, "^loss: expected positive"),
        (lambda: show.plot_log_log([1.0], [1.0, 2.0]), ValueError, "^loss: "),
        (lambda: show.plot_log_log([1.0], [1.0], interval=([2.0], [3.0])), ValueError, "^interval: "),
    ],
)
def test_bad_input_is_named(call, error, words):
    with pytest.raises(error, match=words):
        call()
    assert not plt.get_fignums()
