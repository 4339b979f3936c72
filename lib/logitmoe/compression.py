r"""Data: weighted points, and samples compressed to Chebyshev moments.

The log-likelihood and every step of EM see a sample only through sums :math:`\sum_{i: y_i = s} \varphi(x_i)`
over the samples of one class. So the one data type of the estimator is a set of points with one weight for
each class: a raw sample has a weight of one for the class that was seen and zero for the others.

For a smooth :math:`\varphi` and d = 1 or 2 the same sums can be had from few numbers. With the domain mapped
to [-1, 1] and :math:`T_j` the Chebyshev polynomials, keep for each class s the moments

.. math:: \mu_{sj} = \sum_{i: y_i = s} T_j(x_i), \qquad j = 0, \dots, p - 1.

At the p first-kind Chebyshev nodes :math:`t_l` the discrete orthogonality of the :math:`T_j` gives weights

.. math:: w_{sl} = \frac{1}{p} \Bigl( \mu_{s0} + 2 \sum_{j=1}^{p-1} \mu_{sj} T_j(t_l) \Bigr), \qquad
          \sum_l w_{sl} \varphi(t_l) = \sum_{i: y_i = s} (I_p \varphi)(x_i),

where :math:`I_p \varphi` is the polynomial of degree below p that interpolates :math:`\varphi` at the nodes.
The weights are signed; the nodes are the same for every sample. The only error is that of interpolation,
which falls geometrically in p when :math:`\varphi` is analytic [1]_. Moments of samples add, and the moments
of a lower order are the first ones of a higher order.

References
----------
.. [1] L. N. Trefethen, *Approximation Theory and Approximation Practice, Extended Edition*, SIAM (2019),
   doi:10.1137/1.9781611975949, chapters 4 and 8.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from math import prod

import numpy as np
from scipy.fft import dct

from .chebyshev import (
    as_domain,
    chebyshev_coefficients,
    chebyshev_nodes,
    chebyshev_order,
    chebyshev_polynomials,
    to_unit,
)
from .checks import as_count, as_float_array, as_instance, broadcast_shapes, message
from .data import WeightedPoints, check_classes, labelled_sample, read_only, select
from .gates import Gate, as_gate, identity
from .measure import DEFAULT_THETA, MixingMeasure, Theta, as_measure
from .model import log_density
from .results import sample_positions

__all__ = ["ChebyshevMoments", "compress", "compress_chunks", "compression_error"]

#: Nodes along each axis on which fits are made first; doubled for those that turn out to need more.
FIRST_NODES = 32
#: Points that are handled together: the Chebyshev polynomials of a block stay in a core's cache.
BLOCK = 8192
#: Most moments for each class and axis that are kept without being asked for.
MAX_ORDER = 512
#: Numbers that compression_error holds at once for each array it needs.
ELEMENTS = 2**20
#: Fewest nodes on which compression_error resolves the log-density, by d.
FINE_NODES = {1: 128, 2: 64}


@dataclass(frozen=True, eq=False, repr=False)
class ChebyshevMoments:
    r"""A compressed sample: the Chebyshev moments of every class, for d = 1 or 2.

    Parameters
    ----------
    moments : array_like, shape (..., K, p) for d = 1, (..., K, p, p) for d = 2
        :math:`\sum_{i: y_i = s} T_j(x_i)`, or :math:`\sum_{i: y_i = s} T_j(x_{i1}) T_l(x_{i2})`, with the
        domain mapped to [-1, 1] along each axis. Entry 0 (or 0, 0) is the class's total weight.
    domain : array_like, shape (2,) or (d, 2), default (0, 1)
        Low and high end for each axis. Two numbers mean d = 1; for d = 2 give two rows.

    Both are copied and made read-only.

    Raises
    ------
    TypeError, ValueError
        If a value is not a finite real number, a shape does not match, K < 2, d > 2, or an interval is empty.

    See Also
    --------
    compress, compress_chunks : from a raw sample.
    """

    moments: np.ndarray
    domain: np.ndarray = (0.0, 1.0)

    def __post_init__(self) -> None:
        domain = as_domain(self.domain)
        d = domain.shape[0]
        moments = as_float_array(self.moments, "moments", shape=(..., None) + d * (None,))
        if d == 2 and moments.shape[-1] != moments.shape[-2] or moments.shape[-1] == 0:
            expected = "shape (..., K, p)" if d == 1 else "shape (..., K, p, p), as the domain has two rows"
            remedy = "keep the same number p >= 1 of moments along each axis"
            raise ValueError(message("moments", expected, f"shape {moments.shape}", remedy))
        check_classes(moments.shape[-1 - d])
        object.__setattr__(self, "domain", read_only(domain))
        object.__setattr__(self, "moments", read_only(moments))

    @classmethod
    def from_points(cls, data: WeightedPoints, p: int, *, domain=(0.0, 1.0)) -> ChebyshevMoments:
        """Compress weighted points: counts on a grid, or quadrature nodes with expected counts.

        Parameters
        ----------
        data : WeightedPoints
            With d = 1 or 2.
        p : int
            Moments for each class and axis.
        domain : array_like, shape (2,) or (d, 2)
            Interval that holds the points; two numbers are used for every axis.

        Raises
        ------
        TypeError, ValueError
            If d > 2, p < 1, or a point is outside the domain.
        """
        as_instance(data, WeightedPoints, "data", "use WeightedPoints.from_labels or compress")
        p = as_count(p, "p")
        domain = as_domain(domain, data.d)
        t = to_unit(data.points, domain, "points")
        moments = np.zeros((*data.batch_shape, data.K, *data.d * (p,)))
        for start in range(0, data.m, BLOCK):
            block = slice(start, start + BLOCK)
            T = [chebyshev_polynomials(axis[block], p) for axis in t]
            weights = data.weights[..., block]
            if data.d == 2:
                weights = weights[..., None, :] * T[0]
            moments += weights @ T[-1].T
        return cls(moments, domain)

    @classmethod
    def stack(cls, items: Sequence[ChebyshevMoments]) -> ChebyshevMoments:
        """Put samples of one domain, order, K and batch shape on a new leading batch axis."""
        items = list(items)
        if not items:
            raise ValueError(message("items", "at least one ChebyshevMoments", "none", "give some samples"))
        for other in items:
            items[0]._check_same(other)
        return cls(np.stack([item.moments for item in items]), items[0].domain)

    @property
    def d(self) -> int:
        """Number of covariates."""
        return self.domain.shape[0]

    @property
    def K(self) -> int:
        """Number of classes."""
        return self.moments.shape[-1 - self.d]

    @property
    def order(self) -> int:
        """Number p of moments for each class and axis."""
        return self.moments.shape[-1]

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """Shape of the batch axes."""
        return self.moments.shape[: -1 - self.d]

    @property
    def class_totals(self) -> np.ndarray:
        """Total weight of each class, (..., K)."""
        return self.moments[(..., *self.d * (0,))]

    @property
    def total(self) -> np.ndarray:
        """Total weight, (...): the size of the sample."""
        return self.class_totals.sum(axis=-1)

    def truncate(self, p: int) -> ChebyshevMoments:
        """The sample compressed with p moments, p in 1..order."""
        p = self._checked_order(p)
        return ChebyshevMoments(self.moments[(..., *self.d * (slice(p),))], self.domain)

    def points(self, p: int | None = None) -> WeightedPoints:
        """Nodes and signed weights that stand for the sample.

        Parameters
        ----------
        p : int, optional
            Nodes along each axis, at most `order` (the default).

        Returns
        -------
        WeightedPoints
            p nodes for d = 1, p**2 for d = 2 (the second covariate varies fastest), ascending along each
            axis. Exact for polynomials of degree below p in each covariate.
        """
        p = self.order if p is None else self._checked_order(p)
        axes = tuple(range(-self.d, 0))
        weights = self.moments[(..., *self.d * (slice(p),))]
        for axis in axes:
            weights = dct(weights, type=3, axis=axis)  # mu_0 + 2 sum_j mu_j cos(j theta_l)
        weights = np.flip(weights, axes) / p**self.d
        return WeightedPoints(chebyshev_nodes(p, self.domain), weights.reshape(*self.batch_shape, self.K, p**self.d))

    def solve(self, run: Callable, start: MixingMeasure, gate: Gate, tol: float, *, p: int | None = None):
        """Make fits on few nodes, and from their start again on twice as many, and so on, those that need it.

        Parameters
        ----------
        run : callable
            ``run(points, start)`` gives the :class:`.FitResult` of weighted points and starts, batch axes broadcast.
        start : MixingMeasure
            Batch axes that broadcast against those of the samples.
        gate : Gate
        tol : float
            A fit needs more nodes if its `compression_error` is above this, and there are more.
        p : int, optional
            Nodes along each axis to begin with; default ``FIRST_NODES``, or all if there are fewer.

        Returns
        -------
        FitResult
            As ``run`` gives it, with ``compression_error`` and ``nodes``.
        """
        p = min(FIRST_NODES if p is None else p, self.order)
        shape = np.broadcast_shapes(self.batch_shape, start.batch_shape)
        start = start.broadcast_to(shape)

        def on(p, moments, start):
            result = run(moments.points(p), start)
            error = np.asarray(compression_error(result.measure, moments, gate, p))
            return replace(result, compression_error=error, nodes=np.full(error.shape, p))

        result = on(p, self, start)
        while p < self.order and (poor := result.compression_error > tol).any():
            p = min(2 * p, self.order)
            moments = self
            if self.batch_shape:
                position = sample_positions(self, shape)[poor]
                moments = self[np.unravel_index(position, self.batch_shape)]
            result = result.with_fits(poor, on(p, moments, start.reshape((-1,))[poor.ravel()]))
        return result

    def __add__(self, other: ChebyshevMoments) -> ChebyshevMoments:
        """The two samples put together; domain, order, K and batch shape must agree."""
        if not isinstance(other, ChebyshevMoments):
            return NotImplemented
        self._check_same(other)
        return ChebyshevMoments(self.moments + other.moments, self.domain)

    def __getitem__(self, index) -> ChebyshevMoments:
        """The samples at an index of the batch axes; IndexError if there are not as many."""
        return ChebyshevMoments(select(self.moments, self.batch_shape, index), self.domain)

    def __repr__(self) -> str:
        return (
            f"ChebyshevMoments(order={self.order}, domain={self.domain.tolist()}, K={self.K}, "
            f"batch_shape={self.batch_shape})"
        )

    def _checked_order(self, p) -> int:
        p = as_count(p, "p")
        if p > self.order:
            expected = f"at most the {self.order} moments that were kept"
            raise ValueError(message("p", expected, p, "compress with a larger p"))
        return p

    def _check_same(self, other) -> None:
        """Raise unless `other` can be merged with or stacked on this sample."""
        as_instance(other, ChebyshevMoments, "items", "compress the samples first")
        if not np.array_equal(self.domain, other.domain):
            got, remedy = f"{other.domain.tolist()}", "compress on one domain"
            raise ValueError(message("domain", f"{self.domain.tolist()}", got, remedy))
        if self.moments.shape != other.moments.shape:
            remedy = "compress with the same K and p, or call truncate(p) on the longer one"
            got = f"shape {other.moments.shape}"
            raise ValueError(message("moments", f"shape {self.moments.shape}", got, remedy))


# ----------------------------------------------------------------------------------------------------
# Compression
def compress(
    x,
    y,
    K: int | None = None,
    *,
    domain=(0.0, 1.0),
    p: int | None = None,
    theta: Theta = DEFAULT_THETA,
    gate: Gate = identity,
    tol: float = 1e-10,
) -> ChebyshevMoments:
    """Compress a labelled sample with d = 1 or 2 to Chebyshev moments.

    Parameters
    ----------
    x : array_like, shape (n, d), or (n,) when d = 1
        Covariates inside `domain`.
    y : array_like, shape (n,)
        Labels in 1..K.
    K : int, optional
        Number of classes, at least 2; the largest label when None.
    domain : array_like, shape (2,) or (d, 2), default (0, 1)
        Low and high end; two numbers are used for every axis.
    p : int, optional
        Moments for each class and axis. By default `chebyshev_order` chooses it from `theta`, `gate` and
        `tol`. A p of your own is taken as it is, even for a gate that is not analytic on the domain: see
        `compression_error`.
    theta, gate, tol
        See `chebyshev_order`.

    Returns
    -------
    ChebyshevMoments

    Raises
    ------
    TypeError, ValueError
        If x or y is empty, not finite or of a wrong shape, d > 2, a label is not a whole number in 1..K, some
        x is outside the domain, the gate is not analytic there, or more than 512 moments would be needed.

    Notes
    -----
    The cost is of the order of n times the square root of p, plus one multiplication for each sample and
    moment.

    Examples
    --------
    >>> import numpy as np
    >>> sample = compress([0.1, 0.5, 0.9], [1, 2, 2], p=4)
    >>> sample
    ChebyshevMoments(order=4, domain=[[0.0, 1.0]], K=2, batch_shape=())
    >>> data = sample.points()
    >>> exact = (0.5**3 + 0.9**3)
    >>> bool(np.isclose(data.weights[1] @ data.points[:, 0] ** 3, exact, rtol=1e-14))
    True
    """
    x, y, K = labelled_sample(x, y, K)
    domain = as_domain(domain, x.shape[1])
    p = _choose_order(p, K, domain, theta, gate, tol)
    sums = _MomentSums(K, p, domain)
    sums.add(x, y)
    return sums.result()


def compress_chunks(
    chunks: Iterable,
    K: int,
    *,
    domain=(0.0, 1.0),
    p: int | None = None,
    theta: Theta = DEFAULT_THETA,
    gate: Gate = identity,
    tol: float = 1e-10,
) -> ChebyshevMoments:
    """Compress a labelled sample that comes in pieces and need not fit in memory.

    Parameters
    ----------
    chunks : iterable of (x, y)
        Pieces of the sample, each as in `compress`; used once, one at a time.
    K : int
        Number of classes, at least 2.
    domain, p, theta, gate, tol
        As in `compress`.

    Returns
    -------
    ChebyshevMoments
        The same, up to rounding, as for all pieces at once: sums over blocks are compensated, so that no
        digits are lost for long samples.

    Raises
    ------
    TypeError, ValueError
        As `compress`, with the number of the piece; also if there is no piece.
    """
    K = check_classes(as_count(K, "K"))
    sums = None
    for number, chunk in enumerate(chunks):
        try:
            try:
                x, y = chunk
            except (TypeError, ValueError):
                got, remedy = type(chunk).__name__, "yield one pair of arrays at a time"
                raise TypeError(message("chunks", "pairs (x, y)", got, remedy)) from None
            x, y, _ = labelled_sample(x, y, K)
            if sums is None:
                box = as_domain(domain, x.shape[1])
                order = _choose_order(p, K, box, theta, gate, tol)
                sums = _MomentSums(K, order, box)
            elif x.shape[1] != box.shape[0]:
                expected, remedy = f"{box.shape[0]} covariates", "give every piece the same columns"
                raise ValueError(message("x", expected, x.shape[1], remedy))
            sums.add(x, y)
        except (TypeError, ValueError) as error:
            raise type(error)(f"chunk {number}: {error}") from error
    if sums is None:
        raise ValueError(message("chunks", "at least one pair (x, y)", "none", "check the source of the data"))
    return sums.result()


class _MomentSums:
    """Running sums of Chebyshev polynomials, by class.

    For d = 1 the product rule ``2 T_a T_b = T_{a+b} + T_{|a-b|}`` saves most of the work: with q = 8 or 16
    only ``T_0 .. T_{q-1}`` and ``T_0, T_q, T_{2q}, ..`` are computed at each point, a matrix product sums all
    their products, and the moments follow from those sums at the end.
    """

    def __init__(self, K: int, p: int, domain: np.ndarray) -> None:
        self.K, self.p, self.domain = K, p, domain
        if domain.shape[0] == 1:
            self.low = min(p, 8 if p <= 128 else 16)
            self.high = -(-p // self.low)
            shape = (self.high, self.low)
            self._T = [np.empty((self.low + 1, BLOCK)), np.empty((self.high, BLOCK))]
        else:
            shape = (p, p)
            self._T = [np.empty((p, BLOCK)), np.empty((p, BLOCK))]
        self.sums = np.zeros((K, *shape))
        self.carry = np.zeros((K, *shape))

    def add(self, x: np.ndarray, y: np.ndarray) -> None:
        """Add samples x (n, d) with labels y (n,)."""
        t = to_unit(x, self.domain, "x")
        step = 2 * self.K * BLOCK  # about two blocks for each class
        for piece in (slice(start, start + step) for start in range(0, len(y), step)):
            for s in range(self.K):
                here = y[piece] == s + 1
                axes = [np.compress(here, axis[piece]) for axis in t]
                for start in range(0, axes[0].size, BLOCK):
                    self._accumulate(s, self._products(*(axis[start : start + BLOCK] for axis in axes)))

    def _products(self, t: np.ndarray, t2: np.ndarray | None = None) -> np.ndarray:
        """Sums over one block of the products that are kept."""
        A, B = (T[:, : t.size] for T in self._T)
        if t2 is not None:
            return chebyshev_polynomials(t, self.p, A) @ chebyshev_polynomials(t2, self.p, B).T
        chebyshev_polynomials(t, self.low + 1, A)
        chebyshev_polynomials(A[self.low], self.high, B)  # T_j(T_q) = T_{jq}
        return B @ A[: self.low].T

    def _accumulate(self, s: int, value: np.ndarray) -> None:
        """Compensated addition: the rounding error of each sum is kept and added at the end."""
        old = self.sums[s]
        new = old + value
        part = new - old
        self.carry[s] += (old - (new - part)) + (value - part)
        self.sums[s] = new

    def result(self) -> ChebyshevMoments:
        sums = self.sums + self.carry
        if self.domain.shape[0] == 1:
            moments = sums.copy()
            for j in range(1, self.high):
                # T_{jq+i} = 2 T_{jq} T_i - T_{jq-i}, and jq - i = (j-1) q + (q - i)
                moments[:, j, 1:] = 2.0 * sums[:, j, 1:] - moments[:, j - 1, :0:-1]
            sums = moments.reshape(self.K, -1)[:, : self.p]
        return ChebyshevMoments(sums, self.domain)


def compression_error(
    G: MixingMeasure, moments: ChebyshevMoments, gate: Gate = identity, p: int | None = None
) -> np.ndarray:
    r"""Estimate the relative error that compression makes in the log-likelihood of given measures.

    Parameters
    ----------
    G : MixingMeasure, batch shape (...)
        With the K and d of the sample.
    moments : ChebyshevMoments, batch shape (...)
        The compressed sample, with all the moments that there are; its batch axes broadcast against those of
        G.
    gate : Gate, str or callable, default identity
        The map M.
    p : int, optional
        Nodes along each axis that the log-likelihood is computed with; `moments.order` when None.

    Returns
    -------
    ndarray, shape (...)
        Estimate of abs(l_p - l) / abs(l), l the log-likelihood of the raw sample and l_p that of
        ``moments.points(p)``.

    Raises
    ------
    TypeError, ValueError
        If K, d or the batch axes do not match, or p is not an integer in 1..moments.order.

    Notes
    -----
    Let :math:`c_{sj}` be the Chebyshev coefficients of :math:`\log g_s`, computed at twice as many nodes as
    there are moments, P (at least 128; 64 along each axis for d = 2). As :math:`\ell = \sum_s \sum_j c_{sj}
    \mu_{sj}`, what is known of the error is

    .. math:: \sum_s \sum_{j < P} c_{sj} \mu_{sj} - \ell_p,

    computed as it stands, and what is not known is the rest of the sum, with moments that were not kept. They
    are taken to be no larger than the largest of their class in the upper half, :math:`P / 2 \le j < P`: for
    a sample from a bounded density the moments fall to the noise level :math:`\sqrt{n}`, and for a few
    repeated points they stay at n. The estimate is the sum of the absolute values of both parts. A strict
    bound would take n_s for the unseen moments; a sample made to be small on all the moments that are kept
    can be worse than the estimate. It is pessimistic where only unseen moments matter (p = P), and most so
    for gates that are not analytic. The tests hold the true error to 1.5 times the estimate. Rounding, of the
    order of 1e-15 relative to the log-likelihood, is not in it.
    """
    as_instance(moments, ChebyshevMoments, "moments", "raw points have no compression error")
    if (as_measure(G).K, G.d) != (moments.K, moments.d):
        expected, got = f"K = {moments.K}, d = {moments.d}", f"K = {G.K}, d = {G.d}"
        raise ValueError(message("G", expected, got, "compress with the same K and d"))
    gate = as_gate(gate)
    p = moments.order if p is None else as_count(p, "p")
    data = moments.points(p)
    shape = broadcast_shapes("G and moments", G.batch_shape, moments.batch_shape)
    d, P = moments.d, moments.order
    N = max(2 * P, FINE_NODES[d])
    axes = tuple(range(-d, 0))
    nodes = chebyshev_nodes(N, moments.domain)
    kept = (..., *d * (slice(P),))

    def evaluate(measure):
        fine = log_density(measure, nodes, gate)
        fine = chebyshev_coefficients(fine.reshape(*fine.shape[:-1], *d * (N,)), axes)
        known = fine[kept].copy()
        fine = np.abs(fine)
        fine[kept] = 0.0
        return log_density(measure, data.points, gate), known, fine.sum(axis=axes)

    upper = np.abs(moments.moments)
    if P > 1:
        index = np.arange(P)
        top = index >= P // 2
        upper = upper * (top if d == 1 else top[:, None] | top)
    unseen = upper.max(axis=axes)  # (..., K)

    size = prod(shape)
    error = np.empty(size)
    single = evaluate(G.reshape(())) if prod(G.batch_shape) == 1 else None
    batch = None if single else G.broadcast_to(shape).reshape((size,))
    weights, mu, unseen = (
        np.broadcast_to(value, shape + value.shape[len(moments.batch_shape) :])
        for value in (data.weights, moments.moments, unseen)
    )
    step = max(1, ELEMENTS // (G.k * G.K * N**d))
    for start in range(0, size, step):
        part = slice(start, min(start + step, size))
        where = np.unravel_index(np.arange(part.start, part.stop), shape) if shape else ...
        log_g, known, tail = single or evaluate(batch[part])
        value = (known * mu[where]).reshape(-1, G.K * P**d).sum(axis=-1)
        low = (log_g * weights[where]).reshape(-1, G.K * p**d).sum(axis=-1)
        rest = (tail * unseen[where]).reshape(-1, G.K).sum(axis=-1)
        error[part] = (np.abs(value - low) + rest) / np.maximum(np.abs(value), np.finfo(float).tiny)
    return error.reshape(shape)


def _choose_order(p, K, domain, theta, gate, tol) -> int:
    """The order asked for, or the rule's, if it is not more than `MAX_ORDER`."""
    if p is not None:
        return as_count(p, "p")
    p = chebyshev_order(theta, K, domain, gate, tol)
    if p > MAX_ORDER:
        got = f"the {p} that {theta} and tol = {tol:g} ask for on {domain.tolist()}"
        remedy = "take a smaller Theta or a looser tol, give p yourself, or use raw points (WeightedPoints.from_labels)"
        raise ValueError(message("p", f"at most {MAX_ORDER} moments", got, remedy))
    return p
