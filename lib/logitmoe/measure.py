"""Mixing measures: the parameters of the model, in the paper's letters.

A mixing measure of k atoms is ``G = sum_i exp(beta0_i) delta_(beta1_i, a_i, b_i)``: atom i has the mass
exp(beta0_i), the gate's slope beta1_i in R^d, and an expert, the multinomial logistic regression with
intercepts a_i in R^K and one slope b_is in R^d for each class s (Section 1 of the paper, where b_i is a d x K
matrix). Classes are labelled 1..K; class s is found at index s - 1, and class K is the reference.

The parameters are redundant in two ways. A translation of all beta0_i by one number, or of all beta1_i by one
vector, leaves the gate unchanged (Section 1): the choice of a representative is called the gauge here. Adding
one pair (a, b) to all the classes of an expert leaves this expert unchanged: the representative with a_iK = 0
and b_iK = 0 is said to be in the class reference.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np
from scipy.optimize import linear_sum_assignment

from .checks import as_count, as_float_array, as_instance, as_number, as_shape, broadcast_shapes, message
from .files import read_arrays, write_arrays

__all__ = ["DEFAULT_THETA", "FIELDS", "GAUGES", "MixingMeasure", "Theta", "as_measure", "as_theta", "pair", "single"]

#: The four arrays of a mixing measure, and the four radii of a `Theta`.
FIELDS = ("beta0", "beta1", "a", "b")
#: Names of the gauges of `MixingMeasure.in_gauge`.
GAUGES = ("as_is", "last", "mean")


def _field_shapes(*shape):
    """Shapes of the four arrays of measures of the batch axes, k, K and d."""
    *batch, k, K, d = shape
    return {name: (*batch, *tail) for name, tail in zip(FIELDS, ((k,), (k, d), (k, K), (k, K, d)), strict=True)}


@dataclass(frozen=True, eq=False, repr=False)
class MixingMeasure:
    """Mixing measure of k atoms with K classes and d covariates, or a batch of such measures.

    Leading axes, written ``...``, are batch axes: one measure for each index. They must be the same in all
    four arrays. The arrays are copied and made read-only; methods return new measures.

    Raises TypeError or ValueError if an array is not of finite real numbers, the shapes disagree, or k, K or d is less
    than 1.

    Parameters
    ----------
    beta0 : array_like, shape (..., k)
        Logarithm of the atoms' masses; the intercepts of the gate. k >= 1.
    beta1 : array_like, shape (..., k, d)
        Slopes of the gate. d >= 1.
    a : array_like, shape (..., k, K)
        Intercepts of the experts, one for each class. K >= 1.
    b : array_like, shape (..., k, K, d)
        Slopes of the experts.

    Examples
    --------
    >>> G = MixingMeasure(beta0=[1, 0], beta1=[[3], [0]], a=[[-1, 0], [1, 0]], b=[[[2], [0]], [[-1], [0]]])
    >>> G
    MixingMeasure(k=2, K=2, d=1, batch_shape=())
    >>> G.in_gauge("mean").beta0
    array([ 0.5, -0.5])
    """

    beta0: np.ndarray
    beta1: np.ndarray
    a: np.ndarray
    b: np.ndarray

    def __post_init__(self):
        for name in FIELDS:
            array = as_float_array(getattr(self, name), name).copy()
            array.setflags(write=False)
            object.__setattr__(self, name, array)
        if self.beta0.ndim < 1 or self.beta0.shape[-1] < 1:
            got = f"shape {self.beta0.shape}"
            raise ValueError(message("beta0", "shape (..., k) with k >= 1", got, "give at least one atom"))
        n, d = len(self.batch_shape), self.beta1.shape[-1] if self.beta1.ndim else 0
        shapes = _field_shapes(*self.beta0.shape, self.a.shape[-1] if self.a.ndim else 0, d)
        for name, letters in (("beta1", "k, d"), ("a", "k, K"), ("b", "k, K, d")):
            if getattr(self, name).shape != shapes[name] or 0 in shapes[name][n:]:
                expected = f"shape (..., {letters}) = {shapes[name]}, with k and the batch axes of beta0 and d, K >= 1"
                remedy = "d is taken from the last axis of beta1 and K from that of a; make the shapes agree"
                raise ValueError(message(name, expected, f"shape {getattr(self, name).shape}", remedy))

    def __repr__(self):
        return f"MixingMeasure(k={self.k}, K={self.K}, d={self.d}, batch_shape={self.batch_shape})"

    @property
    def k(self):
        """Number of atoms (experts)."""
        return self.beta0.shape[-1]

    @property
    def K(self):
        """Number of classes."""
        return self.a.shape[-1]

    @property
    def d(self):
        """Number of covariates."""
        return self.beta1.shape[-1]

    @property
    def batch_shape(self):
        """Shape of the batch axes; () for a single measure."""
        return self.beta0.shape[:-1]

    @property
    def mass(self):
        """Masses exp(beta0) of the atoms, shape (..., k)."""
        return np.exp(self.beta0)

    # -- gauges and references -------------------------------------------------------------------------------

    def translate(self, t0=0.0, t1=0.0):
        """Translate the gate: beta0 + t0 and beta1 + t1. The density does not change (Section 1).

        t0 is of shape (...) and t1 (..., d), or a number for all coordinates; batch axes broadcast.
        """
        t0 = as_float_array(t0, "t0")
        t1 = as_float_array(t1, "t1")
        t1 = as_float_array(t1 if t1.ndim else np.full(self.d, t1), "t1", shape=(..., self.d))
        G = self.broadcast_to(broadcast_shapes("t0 and t1", self.batch_shape, t0.shape, t1.shape[:-1]))
        return G._replace(beta0=G.beta0 + t0[..., None], beta1=G.beta1 + t1[..., None, :])

    def in_gauge(self, name):
        """Return the translation of this measure that lies in a gauge of `GAUGES`.

        ``"as_is"``: no translation. ``"last"``: the last atom has beta0 = 0 and beta1 = 0, as the paper assumes of the
        true measure. ``"mean"``: beta0 and beta1 sum to zero over the atoms.
        """
        if name == "as_is":
            return self
        if name == "last":
            return self._replace(beta0=self.beta0 - self.beta0[..., -1:], beta1=self.beta1 - self.beta1[..., -1:, :])
        if name == "mean":
            return self._replace(
                beta0=self.beta0 - self.beta0.mean(axis=-1, keepdims=True),
                beta1=self.beta1 - self.beta1.mean(axis=-2, keepdims=True),
            )
        raise ValueError(message("gauge", f"one of {', '.join(GAUGES)}", f"{name!r}", "use one of these"))

    def canonical(self):
        """Return the measure in the class reference: a_iK = 0 and b_iK = 0 (Section 1). Same density."""
        return self._replace(a=self.a - self.a[..., -1:], b=self.b - self.b[..., -1:, :])

    def rescale(self, shift, scale):
        """Return the measure in other units: of the covariates ``t = shift + scale * x``, given this one of x.

        So a fit to ``x = (t - shift) / scale`` is stated in t; it may lie outside the Theta of the fit. The density at
        t is that of this measure at x, for the identity gate only: ``M((t - shift) / scale)`` of another gate is no
        affine function of M(t). `shift` and `scale`, not zero, are arrays (d,) or numbers, in units of t.

        Examples
        --------
        Slopes for one kilogram, and for one gram:

        >>> G = MixingMeasure([0], [[0]], [[-8, 0]], [[[2], [0]]])
        >>> G.rescale(0, 1000).b[0, :, 0]
        array([0.002, 0.   ])
        """
        shift, scale = (as_float_array(value, name) for name, value in (("shift", shift), ("scale", scale)))
        shift, scale = (
            as_float_array(value if value.ndim else np.full(self.d, value), name, shape=(self.d,))
            for name, value in (("shift", shift), ("scale", scale))
        )
        if (scale == 0.0).any():
            raise ValueError(message("scale", "numbers other than 0", f"{scale}", "drop covariates that are constant"))
        beta1, b = self.beta1 / scale, self.b / scale
        return MixingMeasure(self.beta0 - beta1 @ shift, beta1, self.a - b @ shift, b)

    # -- atoms and classes -----------------------------------------------------------------------------------

    def permute(self, order):
        """Reorder the atoms: atom i of the result is atom ``order[i]`` of this measure. Same density."""
        return self._take(_as_permutation(order, self.k))

    def sorted(self):
        """Return the measure with its atoms by falling mass, and among equal masses by beta1, a and b. Same density."""
        keys = np.concatenate([-self.beta0[..., None], self.atom_vectors()], axis=-1)
        return self._ordered(np.lexsort(np.moveaxis(keys, -1, 0)[::-1], axis=-1))

    def aligned(self, other):
        """Return the measure with its atoms in the order that is nearest to those of `other`. Same density.

        The sum over the atoms of the squared differences of all parameters is least, gates and experts centred, so that
        neither gauges nor class references matter. `other` is of the same k, K and d; its batch axes broadcast to those
        of this measure. So the refits of a bootstrap are made comparable, parameter by parameter.

        Examples
        --------
        >>> G = MixingMeasure([1, 0], [[3], [0]], [[-1, 0], [1, 0]], [[[2], [0]], [[-1], [0]]])
        >>> G.permute([1, 0]).in_gauge("last").aligned(G).in_gauge("last").allclose(G)
        True
        """
        if (as_measure(other, "other").k, other.K, other.d) != (self.k, self.K, self.d):
            expected = f"a measure of k = {self.k}, K = {self.K} and d = {self.d}"
            raise ValueError(message("other", expected, f"{other}", "align fits of one model"))
        mine, theirs = (G._centred_atoms() for G in (self, other.broadcast_to(self.batch_shape)))
        cost = np.square(theirs[..., :, None, :] - mine[..., None, :, :]).sum(axis=-1).reshape(-1, self.k, self.k)
        orders = np.array([linear_sum_assignment(c)[1] for c in cost], dtype=int).reshape(self.beta0.shape)
        return self._ordered(orders)

    def relabel_classes(self, order):
        """Reorder the classes: class index s of the result is class index ``order[s]`` of this measure.

        The result is not in the class reference if the last class moved: call `canonical` if that is wanted.
        """
        order = _as_permutation(order, self.K)
        return self._replace(a=self.a[..., order], b=self.b[..., order, :])

    def split(self, atom, fraction=0.5, *, beta1=None, a=None, b=None):
        """Replace one atom by two that share its mass, at positions `atom` and `atom` + 1.

        Without `beta1`, `a` and `b` both new atoms equal the old one, and the density does not change.

        Parameters
        ----------
        atom : int
            Index of the atom, in 0..k-1.
        fraction : array_like, shape (...)
            Part of the mass, strictly between 0 and 1, that the first new atom receives.
        beta1, a, b : array_like, shapes (..., 2, d), (..., 2, K) and (..., 2, K, d), optional
            Parameters of the new atoms. The batch axes of the measure and of the arguments broadcast.
        """
        atom = _as_position(atom, self.k, "atom")
        fraction = as_float_array(fraction, "fraction")
        outside = fraction[(fraction <= 0) | (fraction >= 1)]
        if outside.size:
            remedy = "leave both atoms some mass"
            raise ValueError(message("fraction", "a number inside (0, 1)", f"{outside[0]}", remedy))
        shapes = {"beta1": (2, self.d), "a": (2, self.K), "b": (2, self.K, self.d)}
        given = {
            name: as_float_array(value, name, shape=(..., *shapes[name]))
            for name, value in {"beta1": beta1, "a": a, "b": b}.items()
            if value is not None
        }
        batches = (value.shape[: value.ndim - len(shapes[name])] for name, value in given.items())
        batch = broadcast_shapes("fraction, beta1, a and b", self.batch_shape, fraction.shape, *batches)
        G = self.broadcast_to(batch)
        old = G._take([atom, atom])
        new = {"beta0": old.beta0 + np.stack([np.log(fraction), np.log1p(-fraction)], axis=-1)}
        for name, shape in shapes.items():
            new[name] = np.broadcast_to(given[name], batch + shape) if name in given else getattr(old, name)
        return G._take([*range(atom), self.k, self.k + 1, *range(atom + 1, self.k)], new)

    def merge(self, atoms):
        """Replace the atoms of these indices by one of their total mass and of their mass-weighted mean parameters.

        The density is the same only if the atoms were equal in (beta1, a, b). The new atom takes the place of the first
        one listed; the atoms that are not listed keep their order.
        """
        atoms = [_as_position(atom, self.k, "atoms") for atom in atoms]
        if not atoms or len(set(atoms)) != len(atoms):
            raise ValueError(message("atoms", "one or more distinct indices", f"{atoms}", "list each atom once"))
        axis = len(self.batch_shape)
        listed = self._take(atoms)
        total = np.logaddexp.reduce(listed.beta0, axis=-1, keepdims=True)
        weight = np.exp(listed.beta0 - total)
        new = {"beta0": total}
        for name in FIELDS[1:]:
            values = getattr(listed, name)
            first = np.take(values, [0], axis=axis)
            w = weight.reshape(weight.shape + (1,) * (values.ndim - weight.ndim))
            # The mean is taken relative to the first atom, so that equal atoms merge to exactly their values.
            new[name] = first + (w * (values - first)).sum(axis=axis, keepdims=True)
        order = [self.k if i == atoms[0] else i for i in range(self.k) if i == atoms[0] or i not in atoms]
        return self._take(order, new)

    # -- batch axes ------------------------------------------------------------------------------------------

    def __getitem__(self, index):
        """Index the batch axes, with any index that NumPy accepts; IndexError if it does not fit them."""
        # Numbering the measures first keeps the index away from the axes k, K and d.
        count, n = prod(self.batch_shape), len(self.batch_shape)
        try:
            chosen = np.arange(count).reshape(self.batch_shape)[index]
        except IndexError as error:
            expected, remedy = f"an index of the batch axes {self.batch_shape}", "atoms are in beta0, beta1, a, b"
            raise IndexError(message("G[index]", expected, f"{index!r}", remedy)) from error
        return self._map(lambda array: array.reshape(count, *array.shape[n:])[chosen])

    def __iter__(self):
        """Iterate over the first batch axis."""
        if not self.batch_shape:
            raise TypeError(message("iteration", "batch axes", "none", "atoms are in beta0, beta1, a, b"))
        return (self[i] for i in range(self.batch_shape[0]))

    def reshape(self, batch_shape):
        """Return the measure with its batch axes reshaped; ``-1`` is allowed once, as in `numpy.reshape`."""
        batch_shape = as_shape(batch_shape, "batch_shape", minimum=-1)
        n = len(self.batch_shape)
        try:
            batch_shape = np.empty(self.batch_shape).reshape(batch_shape).shape  # replaces a -1
        except ValueError as error:
            expected = f"a shape of {prod(self.batch_shape)} measures"
            raise ValueError(message("batch_shape", expected, f"{batch_shape}", "keep their number")) from error
        return self._map(lambda array: array.reshape(batch_shape + array.shape[n:]))

    def broadcast_to(self, batch_shape):
        """Return the measure repeated along new or broadcast batch axes, by NumPy's rules."""
        batch_shape = as_shape(batch_shape, "batch_shape")
        if batch_shape == self.batch_shape:
            return self
        n = len(self.batch_shape)
        if broadcast_shapes("batch_shape", self.batch_shape, batch_shape) != batch_shape:
            expected = f"a shape that {self.batch_shape} broadcasts to"
            raise ValueError(message("batch_shape", expected, f"{batch_shape}", "add axes in front of it"))
        return self._map(lambda array: np.broadcast_to(array, batch_shape + array.shape[n:]))

    @classmethod
    def stack(cls, measures):
        """Stack measures, at least one and all of the same shapes, along a new leading batch axis."""
        measures = list(measures)
        if not measures:
            raise ValueError(message("measures", "at least one measure", "none", "give a non-empty list"))
        for i, G in enumerate(measures):
            if as_measure(G, f"measures[{i}]").b.shape != measures[0].b.shape:
                expected = f"measures like the first, {measures[0]}"
                raise ValueError(message("measures", expected, f"{G} at index {i}", "stack those of one shape"))
        return cls(*(np.stack([getattr(G, name) for G in measures]) for name in FIELDS))

    @classmethod
    def concatenate(cls, measures, axis=0):
        """Join measures along an existing batch axis; the axis after the batch axes is that of the atoms."""
        return cls(*(np.concatenate([getattr(G, name) for G in measures], axis=axis) for name in FIELDS))

    # -- vectors ---------------------------------------------------------------------------------------------

    def to_vector(self, *, translations=False):
        """Return the free coordinates: gauge ``"last"`` and class reference, without what these fix at zero.

        Parameters
        ----------
        translations : bool
            Whether to keep the translations of the gate: beta0 and beta1 of all the atoms then, in the gauge they are.

        Returns
        -------
        ndarray, shape (..., P), P = (k - 1)(1 + d) + k (K - 1)(1 + d), or k (1 + d) K with the translations
            beta0 of the atoms 1..k-1 (or k), then beta1 of the same, then a and then b of all the atoms and of the
            classes 1..K-1, each in C order. `parameter_names` has the names.
        """
        G = self.canonical() if translations else self.in_gauge("last").canonical()
        gates = self.k if translations else self.k - 1
        parts = (G.beta0[..., :gates], G.beta1[..., :gates, :], G.a[..., :-1], G.b[..., :-1, :])
        n = len(self.batch_shape)
        return np.concatenate([part.reshape(*self.batch_shape, prod(part.shape[n:])) for part in parts], axis=-1)

    @classmethod
    def from_vector(cls, v, k, K, d, *, translations=False):
        """Return the measure with the free coordinates `v`, shape (..., P): the inverse of `to_vector`.

        It is in the class reference and, without `translations`, in the gauge ``"last"``.
        """
        k, K, d = as_count(k, "k"), as_count(K, "K"), as_count(d, "d")
        fixed = 0 if translations else 1
        shapes = ((k - fixed,), (k - fixed, d), (k, K - 1), (k, K - 1, d))
        sizes = [prod(shape) for shape in shapes]
        v = as_float_array(v, "v", shape=(..., sum(sizes)))
        batch = v.shape[:-1]
        parts = np.split(v, np.cumsum(sizes)[:-1], axis=-1)
        beta0, beta1, a, b = (part.reshape(batch + shape) for part, shape in zip(parts, shapes, strict=True))
        return cls(
            np.concatenate([beta0, np.zeros((*batch, fixed))], axis=-1),
            np.concatenate([beta1, np.zeros((*batch, fixed, d))], axis=-2),
            np.concatenate([a, np.zeros((*batch, k, 1))], axis=-1),
            np.concatenate([b, np.zeros((*batch, k, 1, d))], axis=-2),
        )

    def atom_vectors(self):
        """Return (beta1, a, b) of each atom, classes 1..K-1 in the class reference, shape (..., k, K (1 + d) - 1)."""
        G = self.canonical()
        b = G.b[..., :-1, :]
        return np.concatenate([G.beta1, G.a[..., :-1], b.reshape(*b.shape[:-2], prod(b.shape[-2:]))], axis=-1)

    @staticmethod
    def parameter_names(k, K, d):
        """Return the names of the coordinates of `to_vector`, with indices from 1 as in the paper.

        Examples
        --------
        >>> MixingMeasure.parameter_names(2, 2, 1)
        ['beta0[1]', 'beta1[1,1]', 'a[1,1]', 'a[2,1]', 'b[1,1,1]', 'b[2,1,1]']
        """
        k, K, d = as_count(k, "k"), as_count(K, "K"), as_count(d, "d")
        atoms, classes, coordinates = range(1, k + 1), range(1, K), range(1, d + 1)
        return (
            [f"beta0[{i}]" for i in atoms[:-1]]
            + [f"beta1[{i},{u}]" for i in atoms[:-1] for u in coordinates]
            + [f"a[{i},{s}]" for i in atoms for s in classes]
            + [f"b[{i},{s},{u}]" for i in atoms for s in classes for u in coordinates]
        )

    # -- comparison and files --------------------------------------------------------------------------------

    def allclose(self, other, rtol=0.0, atol=1e-12):
        """Whether all parameters agree, as they are, with tolerances as in `numpy.allclose`: a bool."""
        return self.b.shape == as_measure(other, "other").b.shape and all(
            np.allclose(getattr(self, name), getattr(other, name), rtol=rtol, atol=atol) for name in FIELDS
        )

    def save(self, path):
        """Write the measure to a file that `load` reads back bit for bit.

        A file that was there is replaced when the new one is complete. The suffix decides the format: ``.json`` (text,
        one line for each array) or ``.npz`` (NumPy).
        """
        arrays = {name: getattr(self, name) for name in FIELDS}
        write_arrays(path, "logitmoe.MixingMeasure", [*self.batch_shape, self.k, self.K, self.d], arrays)

    @classmethod
    def load(cls, path):
        """Read a measure from a file that `save` wrote; a ValueError if any bit of it has changed since."""
        return cls(**read_arrays(path, "logitmoe.MixingMeasure", _field_shapes))

    def _replace(self, **fields):
        """Return a copy with some arrays replaced."""
        return MixingMeasure(**{name: fields.get(name, getattr(self, name)) for name in FIELDS})

    def _map(self, function):
        """Return the measure of the four arrays that `function` returns for those of this one."""
        return MixingMeasure(*(function(getattr(self, name)) for name in FIELDS))

    def _centred_atoms(self):
        """All parameters of each atom, (..., k, (1 + d)(1 + K)), gates less their mean and experts likewise."""
        G = self.in_gauge("mean")
        experts = np.concatenate([G.a[..., None], G.b], axis=-1)
        experts = experts - experts.mean(axis=-2, keepdims=True)
        flat = experts.reshape(*G.beta0.shape, prod(experts.shape[-2:]))
        return np.concatenate([G.beta0[..., None], G.beta1, flat], axis=-1)

    def _ordered(self, orders):
        """Return the atoms in an order for each measure, (..., k)."""
        n = orders.ndim
        shaped = (orders.reshape(orders.shape + (1,) * (getattr(self, name).ndim - n)) for name in FIELDS)
        pairs = zip(FIELDS, shaped, strict=True)
        return MixingMeasure(*(np.take_along_axis(getattr(self, name), order, axis=n - 1) for name, order in pairs))

    def _take(self, order, new=None):
        """Return the atoms in `order`, where k, k + 1, ... are the atoms of the arrays `new`, if given."""
        axis = len(self.batch_shape)
        fields = {name: getattr(self, name) for name in FIELDS}
        if new is not None:
            fields = {name: np.concatenate([fields[name], new[name]], axis=axis) for name in FIELDS}
        return MixingMeasure(**{name: np.take(fields[name], order, axis=axis) for name in FIELDS})


@dataclass(frozen=True)
class Theta:
    """The compact set of parameters: a box that bounds the modulus of every entry of beta0, beta1, a and b.

    The box is asked of the parameters as they are, in the gauge and class reference that the measure has.

    Parameters
    ----------
    beta0, beta1, a, b : float
        Radii, positive and finite. Those of the slopes, `beta1` and `b`, may be one for each covariate, sequences (d,):
        a radius of 0 leaves the covariate out, of the gate or of the experts, with all its slopes held at zero.

    Examples
    --------
    The gate sees the first of two covariates only:

    >>> Theta(10, [10, 0], 10, 10)
    Theta(beta0=10.0, beta1=(10.0, 0.0), a=10.0, b=10.0)
    """

    beta0: float
    beta1: float | tuple[float, ...]
    a: float
    b: float | tuple[float, ...]

    def __post_init__(self):
        expected, remedy = "a positive radius", "give the box some width"
        for name in FIELDS:
            radius = getattr(self, name)
            if name in ("beta1", "b") and np.ndim(radius):
                radii = as_float_array(radius, name, ndim=1)
                if radii.min(initial=0.0) < 0.0 or radii.size == 0:
                    raise ValueError(message(name, "radii of at least 0", f"{radii}", "0 leaves a covariate out"))
                radius = tuple(float(r) for r in radii)
            else:
                radius = as_number(radius, name, expected, remedy, above=0.0)
            object.__setattr__(self, name, radius)

    def radii(self, d):
        """Radii of an intercept and the slopes of the gate, and the same of the experts: two arrays (1 + d,)."""
        pairs = (("beta0", "beta1"), ("a", "b"))
        return tuple(np.append(getattr(self, one), self._slopes(many, d)) for one, many in pairs)

    def _slopes(self, name, d):
        """Radii (d,) of `beta1` or `b`."""
        radius = np.asarray(getattr(self, name))
        if radius.ndim and radius.size != d:
            remedy = "give one radius, or one for each covariate"
            raise ValueError(message(f"theta.{name}", f"d = {d} radii", f"{radius.size}", remedy))
        return np.broadcast_to(radius, (d,))

    @classmethod
    def cube(cls, radius):
        """Return the box with one radius for all the parameters."""
        return cls(radius, radius, radius, radius)

    def contains(self, G):
        """Whether the parameters lie in the box (its boundary included), bool array of shape (...)."""
        return np.logical_and.reduce([(size <= radius).all(axis=axes) for size, radius, axes in self._sizes(G)])

    def touches(self, G, rtol=1e-9):
        """Whether some parameter's modulus is at least ``(1 - rtol)`` times its radius, not 0: bool array (...)."""
        return np.logical_or.reduce(
            [((size >= (1 - rtol) * r) & (r > 0.0)).any(axis=axes) for size, r, axes in self._sizes(G)]
        )

    def touching(self, G, rtol=1e-9):
        """Names of the parameters that are at the box's boundary, as in `touches`, in some measure of the batch.

        Spelled as `parameter_names` does, those of the last atom's gate and of class K included.

        Examples
        --------
        >>> a, b = [[3, 0], [10, 0]], [[[1], [0]], [[4], [0]]]
        >>> G = MixingMeasure([2, 0], [[-10], [0]], a, b)
        >>> Theta.cube(10).touching(G)
        ['beta1[1,1]', 'a[2,1]']
        """
        n, names = len(as_measure(G).batch_shape), []
        for name, (size, radius, _) in zip(FIELDS, self._sizes(G), strict=True):
            there = (size >= (1 - rtol) * radius) & (radius > 0.0)
            indices = np.argwhere(there.any(axis=tuple(range(n)))) + 1
            names += [f"{name}[{','.join(map(str, index))}]" for index in indices]
        return names

    def clip(self, G):
        """Return the measure with every parameter moved to the nearest value in the box."""
        radii = [radius for _, radius, _ in self._sizes(G)]
        return MixingMeasure(*(np.clip(getattr(G, n), -r, r) for n, r in zip(FIELDS, radii, strict=True)))

    def _sizes(self, G):
        """For each array the moduli, the radius, which broadcasts against them, and the axes behind the batch axes."""
        n = len(as_measure(G).batch_shape)
        for name in FIELDS:
            array = getattr(G, name)
            radius = self._slopes(name, G.d) if name in ("beta1", "b") else np.asarray(getattr(self, name))
            yield np.abs(array), radius, tuple(range(n, array.ndim))


#: The box used when none is given.
DEFAULT_THETA = Theta.cube(10.0)


def as_measure(G, name="G"):
    """Return `G` if it is a measure."""
    remedy = f"pass {name}.measure" if isinstance(getattr(G, "measure", None), MixingMeasure) else "build one first"
    return as_instance(G, MixingMeasure, name, remedy)


def as_theta(theta, name="theta"):
    """Return `theta` if it is a `Theta`."""
    return as_instance(theta, Theta, name, "pass e.g. Theta.cube(10.0)")


def single(G, name="G"):
    """Return `G` if it is a measure without batch axes."""
    if as_measure(G, name).batch_shape:
        raise ValueError(message(name, "a measure without batch axes", f"{G!r}", f"take one of them, {name}[index]"))
    return G


def pair(G, G_other, names=("G", "G_true")):
    """Return the broadcast batch shape of two measures of the same K and d."""
    for value, name in zip((G, G_other), names, strict=True):
        as_measure(value, name)
    if (G.K, G.d) != (G_other.K, G_other.d):
        expected = f"the K = {G_other.K} and d = {G_other.d} of {names[1]}"
        raise ValueError(message(names[0], expected, f"{G}", "compare measures of one model"))
    return broadcast_shapes(f"{names[0]} and {names[1]}", G.batch_shape, G_other.batch_shape)


def _as_position(value, size, name):
    """Return an index in 0..size-1."""
    position = as_count(value, name, minimum=0)
    if position >= size:
        raise ValueError(message(name, f"an index in 0..{size - 1}", f"{position}", "count atoms from 0"))
    return position


def _as_permutation(order, size):
    """Return a permutation of 0..size-1 as a list."""
    order = [as_count(i, "order", minimum=0) for i in order]
    if sorted(order) != list(range(size)):
        raise ValueError(message("order", f"a permutation of 0..{size - 1}", f"{order}", "list each index once"))
    return order
