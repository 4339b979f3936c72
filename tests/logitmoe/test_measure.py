"""Mixing measures: construction, gauges, atoms, batches and vectors; and the box Theta."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from logitmoe import MixingMeasure, Theta, density
from logitmoe.checks import as_covariates, as_float_array, as_labels
from logitmoe.measure import DEFAULT_THETA, FIELDS, GAUGES, pair, single

X1 = np.linspace(-1.5, 1.5, 11)[:, None]


def random_measure(seed=0, k=3, K=3, d=2, batch=(), scale=2.0):
    rng = np.random.default_rng(seed)
    return MixingMeasure(*(scale * rng.normal(size=(*batch, *shape)) for shape in ((k,), (k, d), (k, K), (k, K, d))))


def points(d, seed=99, m=7):
    return np.random.default_rng(seed).uniform(-1, 1, (m, d))


def assert_same_density(G, H, atol=1e-14):
    x = points(G.d)
    np.testing.assert_allclose(density(G, x), density(H, x), rtol=0, atol=atol)


def assert_equal(G, H):
    for name in FIELDS:
        np.testing.assert_array_equal(getattr(G, name), getattr(H, name), err_msg=name)


sizes = {"k": st.integers(1, 4), "K": st.integers(1, 4), "d": st.integers(1, 3), "seed": st.integers(0, 10**6)}
quick = settings(deadline=None, derandomize=True, max_examples=60)


# -- construction ----------------------------------------------------------------------------------------------


def test_properties():
    G = random_measure(k=4, K=3, d=2, batch=(5, 6))
    assert (G.k, G.K, G.d, G.batch_shape) == (4, 3, 2, (5, 6))
    assert repr(G) == "MixingMeasure(k=4, K=3, d=2, batch_shape=(5, 6))"
    np.testing.assert_array_equal(G.mass, np.exp(G.beta0))


def test_arrays_are_copied_and_read_only():
    beta0 = np.zeros(1)
    G = MixingMeasure(beta0, [[1]], [[0, 0]], [[[0], [0]]])
    beta0[0] = 5
    assert G.beta0[0] == 0
    assert G.beta1.dtype == np.float64
    with pytest.raises(ValueError, match="read-only"):
        G.beta0[0] = 1
    with pytest.raises(AttributeError):
        G.beta0 = beta0


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_entries_must_be_finite(name, bad):
    fields = {field: getattr(random_measure(), field).copy() for field in FIELDS}
    fields[name].flat[-1] = bad
    with pytest.raises(ValueError, match=rf"^{name}: expected finite numbers, got {bad} at index"):
        MixingMeasure(**fields)


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize("bad", [lambda v: v + 1j, lambda v: v.astype(str), lambda v: v.astype(object)])
def test_entries_must_be_real_numbers(name, bad):
    fields = {field: getattr(random_measure(), field) for field in FIELDS}
    with pytest.raises(TypeError, match=rf"^{name}: expected real numbers, got dtype"):
        MixingMeasure(**{**fields, name: bad(fields[name])})


def test_ragged_lists():
    with pytest.raises(ValueError, match="^beta1: expected a rectangular array of real numbers"):
        MixingMeasure([0, 0], [[1], [1, 2]], np.zeros((2, 2)), np.zeros((2, 2, 1)))


@pytest.mark.parametrize("beta0", [np.zeros(0), np.zeros((3, 0)), 0.0])
def test_no_atom(beta0):
    with pytest.raises(ValueError, match=r"^beta0: expected shape \(\.\.\., k\) with k >= 1"):
        MixingMeasure(beta0, np.zeros((0, 1)), np.zeros((0, 2)), np.zeros((0, 2, 1)))


@pytest.mark.parametrize(
    "name, shape",
    [
        ("beta1", (2,)),  # d = 1 needs its axis
        ("beta1", (3, 2)),  # another k
        ("beta1", (2, 0)),  # d = 0
        ("beta1", (4, 2, 2)),  # batch axes of its own
        ("beta1", ()),
        ("a", (3, 3)),
        ("a", (2, 0)),
        ("a", ()),
        ("b", (2, 3)),
        ("b", (2, 4, 2)),  # another K
        ("b", (2, 3, 1)),  # another d
    ],
)
def test_shapes_that_do_not_match(name, shape):
    fields = {field: getattr(random_measure(k=2), field) for field in FIELDS}
    with pytest.raises(ValueError, match=rf"^{name}: expected shape \(\.\.\., k.*got shape \("):
        MixingMeasure(**{**fields, name: np.zeros(shape)})


def test_batch_axes_must_agree_exactly():
    G = random_measure(k=2, batch=(3,))
    with pytest.raises(ValueError, match=r"^a: expected shape .* = \(3, 2, 3\).*got shape \(1, 2, 3\)"):
        MixingMeasure(G.beta0, G.beta1, G.a[:1], G.b)


# -- gauges and references -------------------------------------------------------------------------------------


@quick
@given(**sizes, t0=st.floats(-50, 50), t1=st.floats(-20, 20))
def test_translation_keeps_the_density(k, K, d, seed, t0, t1):
    G = random_measure(seed, k, K, d)
    H = G.translate(t0, t1)
    np.testing.assert_array_equal(H.beta0, G.beta0 + t0)
    np.testing.assert_array_equal(H.beta1, G.beta1 + t1)
    assert_same_density(G, H, atol=1e-13)


def test_translation_by_a_vector_and_broadcast():
    G = random_measure(d=2)
    t0, t1 = np.array([1.0, 2.0, 3.0]), np.array([[[1.0, -1.0]], [[0.0, 2.0]]])
    H = G.translate(t0, t1)
    assert H.batch_shape == (2, 3)
    np.testing.assert_array_equal(H[1, 2].beta0, G.beta0 + 3)
    np.testing.assert_array_equal(H[1, 2].beta1, G.beta1 + [0.0, 2.0])
    np.testing.assert_array_equal(H[0, 0].b, G.b)


def test_bad_translations():
    G = random_measure(d=2, batch=(3,))
    with pytest.raises(ValueError, match=r"^t1: expected shape \(\.\.\., 2\), got shape \(3,\)"):
        G.translate(t1=np.zeros(3))
    with pytest.raises(ValueError, match="^t0: expected finite numbers, got nan"):
        G.translate(np.nan)
    with pytest.raises(ValueError, match="^t0 and t1: expected batch axes that broadcast"):
        G.translate(np.zeros(2))


@quick
@given(**sizes, gauge=st.sampled_from(GAUGES))
def test_gauges_are_idempotent_translations(k, K, d, seed, gauge):
    G = random_measure(seed, k, K, d, batch=(2,))
    H = G.in_gauge(gauge)
    assert_same_density(G, H)
    assert H.in_gauge(gauge).allclose(H, atol=1e-14)
    shift = H.beta1 - G.beta1  # one vector for all the atoms
    np.testing.assert_allclose(shift, np.broadcast_to(shift[:, :1], shift.shape), atol=1e-14)
    moved = G.translate(3.0, -2.0).in_gauge(gauge)
    assert moved.allclose(H, atol=1e-13) == (gauge != "as_is")


def test_gauges_fix_what_they_say():
    G = random_measure(batch=(4,))
    last, mean = G.in_gauge("last"), G.in_gauge("mean")
    assert not last.beta0[:, -1].any() and not last.beta1[:, -1].any()
    np.testing.assert_allclose(mean.beta0.sum(-1), 0, atol=1e-14)
    np.testing.assert_allclose(mean.beta1.sum(-2), 0, atol=1e-14)
    assert_equal(G.in_gauge("as_is"), G)


def test_unknown_gauge():
    with pytest.raises(ValueError, match="^gauge: expected one of as_is, last, mean, got 'first'"):
        random_measure().in_gauge("first")


@quick
@given(**sizes)
def test_class_reference(k, K, d, seed):
    G = random_measure(seed, k, K, d)
    H = G.canonical()
    assert not H.a[:, -1].any() and not H.b[:, -1].any()
    assert_same_density(G, H)
    assert_equal(H.canonical(), H)


# -- units of the covariates -----------------------------------------------------------------------------------


@quick
@given(**sizes)
def test_rescaling_keeps_the_density_and_is_undone(k, K, d, seed):
    rng = np.random.default_rng(seed)
    G = random_measure(seed, k, K, d, batch=(2,))
    shift, scale = rng.uniform(-3, 3, d), rng.uniform(0.2, 5, d) * rng.choice([-1, 1], d)
    x = points(d)
    H = G.rescale(shift, scale)
    np.testing.assert_allclose(density(H, shift + scale * x), density(G, x), rtol=0, atol=1e-12)
    assert H.rescale(-shift / scale, 1 / scale).allclose(G, atol=1e-12)


def test_rescaling_of_one_expert_by_hand():
    G = MixingMeasure([0.5, 0.0], [[4.0], [0.0]], [[3.0, 0.0], [1.0, 0.0]], [[[2.0], [0.0]], [[-6.0], [0.0]]])
    H = G.rescale(10.0, 2.0)  # x = (t - 10) / 2
    assert_equal(H, MixingMeasure([-19.5, 0], [[2], [0]], [[-7, 0], [31, 0]], [[[1], [0]], [[-3], [0]]]))
    assert_equal(G.rescale(0, 1), G)


def test_rescaling_keeps_gauge_and_reference():
    G = random_measure(3, d=2)
    for gauge in ("last", "mean"):
        H = G.in_gauge(gauge).canonical().rescale([1.0, -2.0], 3.0)
        assert H.allclose(H.in_gauge(gauge).canonical(), atol=1e-14)


@pytest.mark.parametrize(
    ("shift", "scale", "error", "text"),
    [
        (0.0, 0.0, ValueError, "^scale: expected numbers other than 0"),
        (0.0, [1.0, 0.0], ValueError, "^scale: expected numbers other than 0"),
        (0.0, [1.0, 2.0, 3.0], ValueError, r"^scale: expected shape \(2,\)"),
        ([1.0], 1.0, ValueError, r"^shift: expected shape \(2,\)"),
        (np.nan, 1.0, ValueError, "^shift: expected finite"),
        ("kg", 1.0, TypeError, "^shift: expected real numbers"),
    ],
)
def test_bad_units(shift, scale, error, text):
    with pytest.raises(error, match=text):
        random_measure(d=2).rescale(shift, scale)


# -- atoms and classes -----------------------------------------------------------------------------------------


@quick
@given(**sizes, data=st.data())
def test_permutation_keeps_the_density(k, K, d, seed, data):
    G = random_measure(seed, k, K, d)
    order = data.draw(st.permutations(range(k)))
    H = G.permute(order)
    for i in range(k):
        np.testing.assert_array_equal(H.b[i], G.b[order[i]])
        assert H.beta0[i] == G.beta0[order[i]]
    assert_same_density(G, H)
    assert_equal(H.permute(np.argsort(order)), G)


@quick
@given(**sizes, data=st.data())
def test_relabelling_permutes_the_density(k, K, d, seed, data):
    G = random_measure(seed, k, K, d)
    order = data.draw(st.permutations(range(K)))
    x = points(d)
    for H in (G.relabel_classes(order), G.relabel_classes(order).canonical()):
        np.testing.assert_allclose(density(H, x), density(G, x)[order], rtol=0, atol=1e-14)


@pytest.mark.parametrize("order", [[0, 1], [0, 1, 1], [1, 2, 3], [0, 1, 2, 3]])
def test_not_a_permutation(order):
    for method in ("permute", "relabel_classes"):
        with pytest.raises(ValueError, match=r"^order: expected a permutation of 0\.\.2, got \["):
            getattr(random_measure(), method)(order)


def test_order_of_fractions():
    with pytest.raises(TypeError, match="^order: expected an integer"):
        random_measure().permute([0.0, 1.0, 2.0])


@quick
@given(**sizes, fraction=st.floats(0.01, 0.99), data=st.data())
def test_split_keeps_the_density_and_merge_undoes_it(k, K, d, seed, fraction, data):
    G = random_measure(seed, k, K, d)
    atom = data.draw(st.integers(0, k - 1))
    H = G.split(atom, fraction)
    assert H.k == k + 1
    np.testing.assert_allclose(H.mass[atom], fraction * G.mass[atom], rtol=1e-13)
    np.testing.assert_allclose(H.mass[atom : atom + 2].sum(), G.mass[atom], rtol=1e-13)
    assert_same_density(G, H)
    back = H.merge([atom, atom + 1])
    assert back.allclose(G, atol=1e-13)
    for name in ("beta1", "a", "b"):
        np.testing.assert_array_equal(getattr(back, name), getattr(G, name))


def test_split_with_new_values_on_a_batch():
    G = random_measure(k=2, K=2, d=1, batch=(3,))
    fraction, beta1, a = np.array([0.2, 0.5, 0.9]), np.array([[7.0], [8.0]]), np.arange(12.0).reshape(3, 2, 2)
    H = G.split(1, fraction, beta1=beta1, a=a)
    assert H.batch_shape == (3,)
    assert_equal(H[2], G[2].split(1, 0.9, beta1=beta1, a=a[2]))
    np.testing.assert_array_equal(H.beta1[:, 1:], np.broadcast_to(beta1, (3, 2, 1)))
    np.testing.assert_array_equal(H.a[:, 1:], a)
    np.testing.assert_array_equal(H.b[:, 1:], G.b[:, [1, 1]])
    np.testing.assert_array_equal(H.a[:, :1], G.a[:, :1])


def test_split_broadcasts_to_new_batch_axes():
    G = random_measure(k=2)
    fractions = np.array([0.25, 0.75])
    H = G.split(0, fractions)
    assert H.batch_shape == (2,)
    assert_equal(H[1], G.split(0, 0.75))


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.5, 2.0])
def test_split_fraction_outside(fraction):
    with pytest.raises(ValueError, match=rf"^fraction: expected a number inside \(0, 1\), got {fraction}"):
        random_measure().split(0, fraction)


def test_split_of_no_atom_or_with_wrong_shapes():
    G = random_measure(k=3, K=3, d=2)
    with pytest.raises(ValueError, match=r"^atom: expected an index in 0\.\.2, got 3"):
        G.split(3)
    with pytest.raises(ValueError, match="^atom: expected an integer of at least 0, got -1"):
        G.split(-1)
    with pytest.raises(ValueError, match=r"^a: expected shape \(\.\.\., 2, 3\), got shape \(2, 2\)"):
        G.split(0, a=np.zeros((2, 2)))
    with pytest.raises(ValueError, match="^fraction, beta1, a and b: expected batch axes that broadcast"):
        G.split(0, [0.5, 0.5], beta1=np.zeros((3, 2, 2)))


def test_merge_means_and_order():
    G = MixingMeasure(
        np.log([1.0, 2.0, 3.0, 4.0]), [[0], [1], [2], [3]], np.arange(8).reshape(4, 2), np.zeros((4, 2, 1))
    )
    H = G.merge([2, 0])
    np.testing.assert_allclose(H.mass, [2.0, 4.0, 4.0], rtol=1e-15)
    np.testing.assert_allclose(H.beta1[:, 0], [1.0, 1.5, 3.0], rtol=1e-15)
    np.testing.assert_allclose(H.a, [[2, 3], [3, 4], [6, 7]], rtol=1e-15)
    assert G.merge([0, 1, 2, 3]).k == 1
    assert_equal(G.merge([3]), G)


def test_merge_of_masses_far_apart():
    G = MixingMeasure([700.0, -700.0], [[1], [2]], np.zeros((2, 2)), np.zeros((2, 2, 1)))
    H = G.merge([1, 0])
    assert H.beta0 == [700.0] and H.beta1 == [[1.0]]


@pytest.mark.parametrize("atoms", [[], [1, 1]])
def test_merge_of_wrong_lists(atoms):
    with pytest.raises(ValueError, match="^atoms: expected one or more distinct indices"):
        random_measure().merge(atoms)


# -- batch axes ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("index", [0, -1, (1, 2), slice(1), ..., (..., 1), None, ([0, 1], [2, 2]), (0, None)])
def test_indexing_the_batch(index):
    G = random_measure(batch=(2, 3))
    H = G[index]
    for name in FIELDS:
        trailing = getattr(G, name).shape[2:]
        lanes = np.moveaxis(getattr(G, name).reshape(2, 3, -1), -1, 0)
        expected = np.stack([lane[index] for lane in lanes], axis=-1)
        np.testing.assert_array_equal(getattr(H, name), expected.reshape(*H.batch_shape, *trailing))


def test_indexing_with_a_mask_and_an_empty_result():
    G = random_measure(batch=(2, 3))
    mask = np.array([[True, False, True], [False, False, True]])
    np.testing.assert_array_equal(G[mask].b, G.b[mask])
    assert G[:0].batch_shape == (0, 3)
    assert G[:0].to_vector().shape == (0, 3, 2 * 3 + 3 * 2 * 3)


def test_index_must_stay_in_the_batch_axes():
    with pytest.raises(IndexError, match=r"^G\[index\]: expected an index of the batch axes \(2,\), got \(0, 0\)"):
        random_measure(batch=(2,))[0, 0]
    with pytest.raises(IndexError, match=r"^G\[index\]: expected an index of the batch axes \(2,\), got 2;"):
        random_measure(batch=(2,))[2]
    with pytest.raises(IndexError, match=r"^G\[index\]: expected an index of the batch axes \(\), got 0"):
        random_measure()[0]
    assert_equal(random_measure()[()], random_measure())


def test_iteration_over_the_first_batch_axis():
    G = random_measure(batch=(2, 3))
    assert_equal(MixingMeasure.stack(G), G)
    assert [H.batch_shape for H in G] == [(3,), (3,)]
    with pytest.raises(TypeError, match="^iteration: expected batch axes, got none"):
        list(random_measure())


def test_reshape_stack_and_broadcast():
    G = random_measure(batch=(2, 3))
    assert G.reshape((3, -1)).batch_shape == (3, 2)
    assert_equal(G.reshape(-1)[5], G[1, 2])
    assert_equal(MixingMeasure.stack([G[0], G[1]]), G)
    assert_equal(MixingMeasure.concatenate([G[:1], G[1:]]), G)
    assert_equal(MixingMeasure.concatenate([G[:, :2], G[:, 2:]], axis=1), G)
    H = random_measure().broadcast_to((4, 2))
    assert_equal(H[3, 1], random_measure())
    assert G.broadcast_to((2, 3)) is G


def test_bad_batch_shapes():
    G = random_measure(batch=(2, 3))
    with pytest.raises(ValueError, match=r"^batch_shape: expected a shape of 6 measures, got \(4,\)"):
        G.reshape(4)
    with pytest.raises(ValueError, match="^batch_shape: expected batch axes that broadcast"):
        G.broadcast_to((2, 4))
    with pytest.raises(ValueError, match=r"^batch_shape: expected a shape that \(2, 3\) broadcasts to"):
        G.broadcast_to((3,))
    with pytest.raises(ValueError, match="^measures: expected at least one measure"):
        MixingMeasure.stack([])
    with pytest.raises(ValueError, match="^measures: expected measures like the first.*at index 1"):
        MixingMeasure.stack([random_measure(k=2), random_measure(k=3)])


# -- vectors ---------------------------------------------------------------------------------------------------


@quick
@given(**sizes)
def test_vector_round_trip(k, K, d, seed):
    G = random_measure(seed, k, K, d, batch=(2,))
    v = G.to_vector()
    assert v.shape == (2, (k - 1) * (1 + d) + k * (K - 1) * (1 + d))
    H = MixingMeasure.from_vector(v, k, K, d)
    assert_equal(H, G.in_gauge("last").canonical())
    np.testing.assert_array_equal(H.to_vector(), v)
    np.testing.assert_array_equal(G[1].to_vector(), v[1])


def test_vector_names_name_the_entries():
    G = random_measure(k=3, K=3, d=2).in_gauge("last").canonical()
    names = MixingMeasure.parameter_names(3, 3, 2)
    assert len(names) == len(set(names)) == G.to_vector().size
    for name, value in zip(names, G.to_vector(), strict=True):
        field, index = name.rstrip("]").split("[")
        assert getattr(G, field)[tuple(int(i) - 1 for i in index.split(","))] == value


@quick
@given(**sizes)
def test_vectors_with_translations_and_of_atoms(k, K, d, seed):
    G = random_measure(seed, k, K, d, batch=(2,))
    v = G.to_vector(translations=True)
    assert v.shape == (2, k * (1 + d) * K)
    assert_equal(MixingMeasure.from_vector(v, k, K, d, translations=True), G.canonical())
    rows = G.atom_vectors()
    assert rows.shape == (2, k, K * (1 + d) - 1)
    parts = np.split(v, [k, k + k * d, k * (K + d)], axis=-1)[1:]
    parts = [part.reshape(2, k, -1) for part in parts if part.size]
    np.testing.assert_array_equal(rows, np.concatenate(parts, axis=-1))


def test_single_and_pair():
    G = random_measure(batch=(2, 1))
    assert single(G[0, 0]).batch_shape == () and pair(G, random_measure(k=1, batch=(3,))) == (2, 3)
    with pytest.raises(ValueError, match=r"^H: expected a measure without batch axes, .*take one of them, H\[index\]"):
        single(G, "H")
    with pytest.raises(TypeError, match="^G: expected a MixingMeasure, got a list; build one first"):
        single([1.0])
    with pytest.raises(TypeError, match="^G_true: expected a MixingMeasure, got a NoneType"):
        pair(G, None)
    with pytest.raises(ValueError, match="^G: expected the K = 2 and d = 2 of G_true"):
        pair(G, random_measure(K=2))
    with pytest.raises(ValueError, match="^G and G_true: expected batch axes that broadcast"):
        pair(random_measure(batch=(2,)), random_measure(batch=(3,)))


def test_bad_vectors():
    with pytest.raises(ValueError, match=r"^v: expected shape \(\.\.\., 6\), got shape \(5,\)"):
        MixingMeasure.from_vector(np.zeros(5), 2, 2, 1)
    with pytest.raises(ValueError, match="^k: expected an integer of at least 1, got 0"):
        MixingMeasure.from_vector(np.zeros(5), 0, 2, 1)
    with pytest.raises(TypeError, match="^K: expected an integer of at least 1, got 2.0 of type float"):
        MixingMeasure.parameter_names(2, 2.0, 1)


# -- comparison and files --------------------------------------------------------------------------------------


def test_allclose():
    G = random_measure()
    assert G.allclose(G.translate(1e-13)) and not G.allclose(G.translate(1e-11))
    assert not G.allclose(random_measure(k=2)) and not G.allclose(G.reshape((1,)))
    assert not G.allclose(G.relabel_classes([1, 0, 2]))


# -- Theta -----------------------------------------------------------------------------------------------------


def test_theta_contains_touches_and_clips():
    theta = Theta(beta0=1, beta1=2, a=3, b=4)
    inside = MixingMeasure([0.5], [[-1.5]], [[2.5, 0]], [[[-3.5], [0]]])
    assert theta.contains(inside) and not theta.touches(inside)
    assert_equal(theta.clip(inside), inside)
    for name, radius in zip(FIELDS, (1.0, 2.0, 3.0, 4.0), strict=True):
        fields = {field: getattr(inside, field).copy() for field in FIELDS}
        fields[name].flat[0] = -radius
        edge = MixingMeasure(**fields)
        assert theta.contains(edge) and theta.touches(edge)
        fields[name].flat[0] = radius * 1.01
        outside = MixingMeasure(**fields)
        assert not theta.contains(outside) and theta.touches(outside)
        clipped = theta.clip(outside)
        assert theta.contains(clipped) and theta.touches(clipped)
        assert getattr(clipped, name).flat[0] == radius
        fields[name].flat[0] = radius * (1 - 1e-6)
        assert not theta.touches(MixingMeasure(**fields))
        assert theta.touches(MixingMeasure(**fields), rtol=1e-5)


def test_theta_names_what_touches():
    k, K, d, theta = 3, 3, 2, Theta(2.0, 3.0, 4.0, 5.0)
    v = np.zeros(len(MixingMeasure.parameter_names(k, K, d)))
    for p, name in enumerate(MixingMeasure.parameter_names(k, K, d)):  # one by one, in the order of the vector
        v[p] = -getattr(theta, name.partition("[")[0])
        assert theta.touching(MixingMeasure.from_vector(v, k, K, d)) == [name]
        v[p] = 0.0
    G = MixingMeasure.from_vector([v, v, v], k, K, d).translate([0.0, 1.0, 2.0], [[0, 3], [0, 0], [0, 0]])
    assert theta.touching(G) == [f"beta0[{i}]" for i in (1, 2, 3)] + [f"beta1[{i},2]" for i in (1, 2, 3)]
    assert theta.touching(G[1]) == [] and theta.touching(G[1], rtol=0.5) == ["beta0[1]", "beta0[2]", "beta0[3]"]


def test_theta_on_a_batch():
    G = MixingMeasure.stack([random_measure(scale=s) for s in (1e-3, 1.0, 1e3)])
    np.testing.assert_array_equal(DEFAULT_THETA.contains(G), [True, True, False])
    np.testing.assert_array_equal(DEFAULT_THETA.touches(G), [False, False, True])
    assert DEFAULT_THETA.contains(DEFAULT_THETA.clip(G)).all()


def test_default_theta():
    assert DEFAULT_THETA == Theta(10.0, 10.0, 10.0, 10.0) == Theta.cube(10)


@pytest.mark.parametrize("radius", [0.0, -1.0])
def test_theta_radius_not_positive(radius):
    with pytest.raises(ValueError, match=f"^a: expected a positive radius, got {radius}"):
        Theta(1, 1, radius, 1)


@pytest.mark.parametrize("radius, error", [(np.inf, ValueError), (np.nan, ValueError), ("1", TypeError)])
def test_theta_radius_not_a_finite_number(radius, error):
    with pytest.raises(error, match="^beta0: expected"):
        Theta.cube(radius)


def test_theta_radius_of_several():
    with pytest.raises(ValueError, match=r"^a: expected 0 axes, got shape \(2,\)"):
        Theta(1, 1, [1, 2], 1)


# -- shared checks ---------------------------------------------------------------------------------------------


def test_covariates():
    assert as_covariates([1, 2, 3]).shape == (3, 1)
    assert as_covariates(np.zeros((4, 2)), d=2).shape == (4, 2)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_covariates_not_finite(bad):
    with pytest.raises(ValueError, match=f"^x: expected finite numbers, got {bad} at index 2"):
        as_covariates([0, 1, bad, bad])


@pytest.mark.parametrize("x, d", [([1.0, 2.0], 2), (np.zeros((3, 1)), 2), (np.zeros((2, 2, 2)), None), (1.0, 1)])
def test_covariates_of_wrong_shape(x, d):
    with pytest.raises(ValueError, match=r"^x: expected shape \(m, .\).*, got shape"):
        as_covariates(x, d=d)


@pytest.mark.parametrize("x, lacking", [([], "point"), (np.zeros((0, 2)), "point"), (np.zeros((2, 0)), "covariate")])
def test_no_covariates(x, lacking):
    with pytest.raises(ValueError, match=f"^x: expected at least one {lacking}"):
        as_covariates(x)


def test_labels():
    y = as_labels([1.0, 3.0, 2.0])
    assert y.dtype == np.int64 and y.tolist() == [1, 3, 2]
    assert as_labels(np.array([1, 1], dtype=np.uint8), K=4).tolist() == [1, 1]


@pytest.mark.parametrize(
    "y, K, got",
    [
        ([1, 0, 2], None, "0 at index 1"),
        ([1, 2, -1], 3, "-1 at index 2"),
        ([1, 4], 3, "4 at index 1"),
        ([1.0, 1.5], None, "1.5 at index 1"),
        ([1.0, np.nan], None, "nan at index 1"),
        ([1.0, np.nan], 2, "nan at index 1"),
        ([np.inf, 1.0], None, "inf at index 0"),
        ([1.0, 1e300], None, r"1e\+300 at index 1"),
    ],
)
def test_labels_outside(y, K, got):
    with pytest.raises(ValueError, match=rf"^y: expected whole numbers in 1\.\..*, got {got}; code the classes"):
        as_labels(y, K)


@pytest.mark.parametrize("y", [[True, False], ["1", "2"], [1j]])
def test_labels_of_a_wrong_kind(y):
    with pytest.raises(TypeError, match=r"^y: expected whole numbers in 1\.\.K, got dtype"):
        as_labels(y)


def test_labels_of_wrong_shape():
    with pytest.raises(ValueError, match=r"^y: expected shape \(m,\), got shape \(2, 1\)"):
        as_labels([[1], [2]])
    with pytest.raises(ValueError, match="^y: expected at least one label, got none"):
        as_labels([])


@pytest.mark.parametrize("K, error", [(0, ValueError), (2.0, TypeError)])
def test_number_of_classes(K, error):
    with pytest.raises(error, match="^K: expected an integer of at least 1"):
        as_labels([1, 2], K)


def test_float_array_shapes():
    assert as_float_array([[1, 2]], "v", shape=(None, 2)).dtype == np.float64
    assert as_float_array(np.zeros((5, 1, 2)), "v", shape=(..., 1, 2)).shape == (5, 1, 2)
    for shape in ((3, None), (..., 2, 2, 2), (2,)):
        with pytest.raises(ValueError, match=r"^v: expected shape \(.*\), got shape \(2, 2\)"):
            as_float_array(np.zeros((2, 2)), "v", shape=shape)
    with pytest.raises(ValueError, match=r"^v: expected 1 axes, got shape \(2, 2\)"):
        as_float_array(np.zeros((2, 2)), "v", ndim=1)
    with pytest.raises(ValueError, match=r"^v: expected finite numbers, got nan;"):
        as_float_array(np.nan, "v")
