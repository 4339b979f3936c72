"""How many densities it takes to cover a set of densities: what Lemma B.1 of the paper bounds.

A set of conditional densities is given by its members' values on the points of a design. Distances are

* ``"mean"``: :math:`E_X \\sum_s |g - g'|`, the :math:`\\|\\cdot\\|_1` of Lemma B.1 (twice the total variation);
* ``"sup"``: :math:`\\sup_x \\sum_s |g - g'|`, what the brackets in the lemma's proof need.
"""

from __future__ import annotations

import numpy as np

from logitmoe.checks import as_count, as_float_array, message
from logitmoe.measure import MixingMeasure, pair

__all__ = ["cover_radii", "lipschitz_bound", "monotone_brackets"]



def cover_radii(values, count, weights=None):
    """Radii of nested covers of a finite set of densities, by farthest points.

    Every new centre is the member that is farthest from the centres so far.

    Parameters
    ----------
    values : array_like, shape (N, K, m)
        Densities of N members on m points.
    count : int
        Number of centres, at most N.
    weights : array_like, shape (m,), optional
        Weights of the points, for the distance ``"mean"``; without them the distance is ``"sup"`` over the points.

    Returns
    -------
    radii : ndarray, shape (count,)
        ``radii[i]`` is the largest distance of a member to the first i + 1 centres; decreasing.
    centres : ndarray of int, shape (count,)
        Index of the members chosen; the first one is member 0.

    Raises
    ------
    TypeError, ValueError
        If a shape does not fit, a weight is negative, or `count` is not in 1..N.

    Notes
    -----
    Let N(e) be the least number of balls of radius e, with centres in the set, that cover it. Then
    N(radii[i]) <= i + 1. The first i + 2 centres are at distances of at least radii[i] from one another, and a ball
    of a radius below radii[i] / 2 holds at most one of them: N(e) >= i + 2 for e < radii[i] / 2 [1]_.

    References
    ----------
    .. [1] T. F. Gonzalez, "Clustering to minimize the maximum intercluster distance", *Theoretical Computer Science*
       38 (1985), 293-306, doi:10.1016/0304-3975(85)90224-5.
    """
    values = as_float_array(values, "values", ndim=3)
    if values.size == 0:
        raise ValueError(message("values", "at least one member and point", f"shape {values.shape}", "add some"))
    count = as_count(count, "count")
    if count > len(values):
        raise ValueError(message("count", f"at most the {len(values)} members", f"{count}", "ask for fewer centres"))
    if weights is not None:
        weights = as_float_array(weights, "weights", shape=(values.shape[2],))
        if weights.min() < 0.0:
            raise ValueError(message("weights", "numbers >= 0", f"{weights.min()}", "use a design's weights"))
    nearest = np.full(len(values), np.inf)
    radii, centres = np.empty(count), np.empty(count, dtype=int)
    farthest = 0
    for i in range(count):
        centres[i] = farthest
        difference = np.abs(values - values[farthest]).sum(axis=1)
        distance = difference.max(axis=1) if weights is None else difference @ weights
        np.minimum(nearest, distance, out=nearest)
        farthest = int(nearest.argmax())
        radii[i] = nearest[farthest]
    return radii, centres


def lipschitz_bound(G, G_other, radius_x=1.0, radius_gate=None):
    r"""Bound of :math:`\sup_x \sum_s |g_G - g_{G'}|` by differences of parameters, atom by atom.

    .. math:: \frac12 \sum_i (|\Delta \beta_{0i}| + R_M \|\Delta \beta_{1i}\|)
              + \frac12 \max_i \sum_\ell (|\Delta a_{i\ell}| + R_x \|\Delta b_{i\ell}\|)

    Parameters
    ----------
    G, G_other : MixingMeasure
        Same k, K and d; atom i is compared with atom i. Batch axes broadcast.
    radius_x : float
        Bound of the norm of x.
    radius_gate : float, optional
        Bound of the norm of M(x); default `radius_x`, for the gate M(x) = x.

    Returns
    -------
    ndarray (...)

    Raises
    ------
    TypeError, ValueError
        If the measures do not fit together or a radius is negative.

    Notes
    -----
    The derivative of softmax with respect to its i-th argument is p_i (e_i - p), of L1 norm 2 p_i (1 - p_i) <= 1/2:
    softmax moves by at most half of the L1 distance of its arguments. Write g - g' as
    :math:`\sum_i \pi_i (f_i - f'_i) + \sum_i (\pi_i - \pi'_i) f'_i` and use that the gates :math:`\pi` and each
    expert sum to one.
    """
    for value, name in ((G, "G"), (G_other, "G_other")):
        if not isinstance(value, MixingMeasure):
            raise TypeError(message(name, "a MixingMeasure", f"a {type(value).__name__}", "build one first"))
    pair(G, G_other)
    if G.k != G_other.k:
        raise ValueError(message("G_other", f"k = {G.k} atoms", f"{G_other.k}", "compare atom with atom"))
    radius_x = float(as_float_array(radius_x, "radius_x", ndim=0))
    radius_gate = radius_x if radius_gate is None else float(as_float_array(radius_gate, "radius_gate", ndim=0))
    if min(radius_x, radius_gate) < 0.0:
        raise ValueError(message("radius_x", "bounds >= 0", f"{radius_x}, {radius_gate}", "give norms"))
    gate = np.abs(G.beta0 - G_other.beta0) + radius_gate * np.linalg.norm(G.beta1 - G_other.beta1, axis=-1)
    expert = np.abs(G.a - G_other.a) + radius_x * np.linalg.norm(G.b - G_other.b, axis=-1)
    return 0.5 * gate.sum(axis=-1) + 0.5 * expert.sum(axis=-1).max(axis=-1)


def monotone_brackets(probability, weights, size):
    """Smallest number of Hellinger brackets that cover a family of two classes that rises with one parameter.

    Parameters
    ----------
    probability : array_like, shape (N, m)
        Probability of class 1 at m points for N increasing values of the parameter; no column falls.
    weights : array_like, shape (m,)
        Weights of the points, of sum 1.
    size : float
        Largest bracket: :math:`(\\frac12 E_X \\sum_s (\\sqrt{U_s} - \\sqrt{L_s})^2)^{1/2}` at most this.

    Returns
    -------
    int

    Raises
    ------
    TypeError, ValueError
        If a shape does not fit, a probability is outside [0, 1] or falls, or `size` is too small for the steps of the
        parameter.

    Notes
    -----
    The smallest bracket that holds the members i to j has the lower and upper functions (p_i, 1 - p_j) and (p_j,
    1 - p_i), and holds all between. So it is optimal to start each bracket at the upper end of the last one and to
    make it as long as its size allows. A bracket may begin and end at members only.
    """
    p = as_float_array(probability, "probability", ndim=2)
    weights = as_float_array(weights, "weights", shape=(p.shape[1],))
    size = float(as_float_array(size, "size", ndim=0))
    if len(p) < 2 or p.min() < 0.0 or p.max() > 1.0 or np.diff(p, axis=0).min() < 0.0:
        raise ValueError(
            message("probability", "two or more rows in [0, 1] that do not fall", "others", "sort the parameter")
        )
    one, two = np.sqrt(p), np.sqrt(1.0 - p)
    first, count = 0, 0
    while first < len(p) - 1:
        low, high = first, len(p) - 1
        while low < high:  # the last member that the bracket can hold
            middle = (low + high + 1) // 2
            square = (one[middle] - one[first]) ** 2 + (two[middle] - two[first]) ** 2
            if 0.5 * square @ weights <= size**2:
                low = middle
            else:
                high = middle - 1
        if low == first:
            raise ValueError(message("size", "room for one step of the parameter", f"{size}", "use a finer grid"))
        first, count = low, count + 1
    return count
