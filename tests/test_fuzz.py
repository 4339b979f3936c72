"""Whatever comes in through the public door, a right answer comes out, or an error that names the argument.

FUZZ_EXAMPLES, an environment variable, is the number of inputs that are tried; 2,000 if it is not set.
"""

import os
import re
import warnings
from fractions import Fraction

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from logitmoe import (
    MixingMeasure,
    Starts,
    StoppingRule,
    Theta,
    WeightedPoints,
    compress,
    density,
    em,
    fisher_information,
    fit,
    hellinger,
    log_likelihood,
    mle,
    random_start,
    responsibilities,
    sample,
    sample_design,
    standard_errors,
    total_variation,
    voronoi_loss,
)

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "2000"))
G1 = MixingMeasure([1, 0], [[3], [0]], [[-1, 0], [1, 0]], [[[2], [0]], [[-1], [0]]])
G2 = MixingMeasure([0], [[0, 0]], [[1, -1, 0]], [[[2, 1], [0, 3], [0, 0]]])

number = st.one_of(
    st.integers(-3, 4),
    st.floats(allow_nan=True, allow_infinity=True),
    st.sampled_from([0.0, 1.0, 2.0, 1e300, 1e-300, 1e8, 5e-324, 1e49, 1e51]),
)
scalar = st.one_of(number, st.sampled_from([None, "a", b"a", 1j, True, Fraction(1, 3), 2**70, object, np.ma.masked]))
wild = st.one_of(scalar, st.lists(scalar, max_size=6), st.lists(st.lists(scalar, max_size=3), max_size=4))
dtype = st.sampled_from([None, None, float, np.float32, np.int64, bool, object, "U5", "ma"])


@st.composite
def inputs(draw):
    """A measure, points, labels, weights and a number that go together, with at most two of them replaced."""
    G = draw(st.sampled_from([G1, G2, MixingMeasure.stack([G1, G1])]))
    n = draw(st.integers(1, 8))
    real = st.one_of(st.floats(-1, 1), st.sampled_from([0.0, 0.5]), number)
    row = st.lists(real, min_size=G.d, max_size=G.d) if G.d > 1 else real
    x = draw(st.lists(row, min_size=n, max_size=n))
    y = draw(st.lists(st.integers(1, G.K), min_size=n, max_size=n))
    weight = st.lists(st.one_of(st.floats(-1, 3), number), min_size=n, max_size=n)
    w = draw(st.lists(weight, min_size=G.K, max_size=G.K))
    values = [G, x, y, w, draw(st.integers(1, 3))]
    for place in draw(st.lists(st.integers(0, 4), max_size=2)):
        values[place] = draw(wild)
    kind = draw(dtype)
    return [value if isinstance(value, MixingMeasure) else as_given(value, kind) for value in values[:4]] + values[4:]


def as_given(value, dtype):
    """A list as it is, or as an array of some type, if there is one."""
    if dtype is None:
        return value
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return np.ma.masked_invalid(np.asarray(value, float)) if dtype == "ma" else np.asarray(value, dtype)
    except (TypeError, ValueError, OverflowError, np.ma.MaskError):
        return value


def finite(*values):
    return all(np.isfinite(value).all() for value in values)


def check_density(G, x, y, w, o):
    g = density(G, x)
    return finite(g) and np.allclose(g.sum(axis=-2), 1.0) and (g >= 0.0).all()


def check_responsibilities(G, x, y, w, o):
    r = responsibilities(G, x)
    return finite(r) and np.allclose(r.sum(axis=-3), 1.0)


def check_points(G, x, y, w, o):
    data = WeightedPoints(x, w)
    return finite(data.points, data.weights, data.class_totals, data.total)


def check_labels(G, x, y, w, o):
    data = WeightedPoints.from_labels(x, y)
    return np.array_equal(data.weights.argmax(axis=0) + 1, np.asarray(y)) and data.total == data.m


def check_log_likelihood(G, x, y, w, o):
    value = log_likelihood(G, WeightedPoints.from_labels(x, y))
    return finite(value) and (np.asarray(value) <= 0.0).all()


def check_em(G, x, y, w, o):
    data = WeightedPoints(x, w)
    result = em(data, G, stopping=StoppingRule(max_iter=2), theta=Theta.cube(20.0))
    return finite(result.log_likelihood, result.measure.b)


def check_mle(G, x, y, w, o):
    result = mle(WeightedPoints(x, w), G, max_iter=2, theta=Theta.cube(20.0))
    return finite(result.log_likelihood, result.measure.b)


def check_fit(G, x, y, w, o):
    few = Starts(random=1, partitions=1, splits=0, perturbations=0, short=2, long=1)
    result = fit(x, y, o, rng=np.random.default_rng(0), starts=few)
    return finite(result.log_likelihood, result.measure.b) and result.log_likelihood <= 0.0


def check_compress(G, x, y, w, o):
    moments = compress(x, y, domain=(-1.0, 1.0), p=o)
    return finite(moments.moments) and moments.total == len(y)


def check_voronoi(G, x, y, w, o):
    loss = voronoi_loss(G, G1, o)
    return (loss >= 0.0).all() and finite(loss)


def check_sample(G, x, y, w, o):
    points, classes = sample(G, o, np.random.default_rng(0))
    return len(points) == len(classes) == o and 1 <= classes.min() <= classes.max() <= G.K


def check_measure(G, x, y, w, o):
    new = MixingMeasure(x, w, y, o)
    return finite(new.beta0, new.b)


def check_designs(G, x, y, w, o):
    design = sample_design(x)
    values = np.stack([total_variation(G, G1, design), hellinger(G, G1, design)])
    return ((0.0 <= values) & (values <= 1.0)).all()


def check_information(G, x, y, w, o):
    design = sample_design(x)
    return finite(fisher_information(G, design)) and (standard_errors(G, design, n=o) >= 0.0).all()


def check_start(G, x, y, w, o):
    return Theta.cube(o).contains(random_start(o, 2, 1, np.random.default_rng(0), theta=Theta.cube(o)))


CHECKS = [value for name, value in sorted(globals().items()) if name.startswith("check_")]
#: Names of arguments, and of what is made of them: an error begins with one of these.
NAMES = "x|y|k|K|n|p|r|d|G|G_true|G and G_true|G_other|G and G_other|points|weights|data|design|start|domain"
NAMES += "|beta0|beta1|a|b|rng|theta|m|beta0 of G|data.points|data.weights"


def outcome(check, G, x, y, w, o):
    """Whether the answer is right, or the text of the error."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "x: expected covariates of order one|Warning: converting a masked element")
        try:
            return bool(check(G, x, y, w, o))
        except (TypeError, ValueError) as error:
            return str(error)


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(check=st.sampled_from(CHECKS), values=inputs())
def test_a_right_answer_or_an_error_that_names_the_argument(check, values):
    found = outcome(check, *values)
    assert found is True or re.match(rf"({NAMES}): expected .+, got .+; .+\.$", str(found), re.DOTALL), found


def test_every_check_can_be_passed():
    x, y, w = [0.1, 0.5, 0.9], [1, 2, 1], [[1.0, 0.0, 2.0], [0.5, 1.0, 0.0]]
    for check in CHECKS:
        others = {"check_measure": (None, [0.0], [[1.0, 0.0]], [[1.0]], [[[1.0], [0.0]]])}
        found = outcome(check, *others.get(check.__name__, (G1, x, y, w, 2)))
        assert found is True, (check, found)
