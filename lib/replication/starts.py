"""Starting values around a known truth: as in the paper's simulations (Appendix D.1), and with one atom more."""

from __future__ import annotations

import numpy as np

from logitmoe.checks import as_count, as_generator, as_number, as_shape
from logitmoe.measure import DEFAULT_THETA, MixingMeasure, Theta

__all__ = [
    "cells_in_turn",
    "lightest_last",
    "near_truth",
    "random_cells",
    "small_atoms",
    "splits",
    "standard_noise",
    "starts_from_noise",
]

#: Part of an atom's mass that is below every bound of a Theta in use: the bound then decides.
NEGLIGIBLE = float(np.exp(-30.0))


def random_cells(k: int, k_true: int, rng: np.random.Generator, size: int | tuple[int, ...] = ()) -> np.ndarray:
    """Assign k atoms to k_true cells at random, uniformly among the assignments that leave no cell empty.

    Parameters
    ----------
    k, k_true : int
        Numbers of fitted and of true atoms, ``k >= k_true >= 1``.
    rng : numpy.random.Generator
    size : int or tuple of int, default ()
        Batch shape.

    Returns
    -------
    ndarray of int, batch shape size, and k on the last axis
        The cell, 0 to k_true - 1, of each atom.

    Raises
    ------
    TypeError, ValueError
        If ``k < k_true``, a count is not a positive integer, or ``rng`` is not a Generator.

    Notes
    -----
    The sets S_1, ..., S_k* of the initialisation in Appendix D.1, which does not say how uneven they may be.
    """
    rng = as_generator(rng)
    (k, k_true), shape = _as_sizes(k, k_true), as_shape(size, "size")
    cells = np.zeros((int(np.prod(shape)), k), dtype=int)
    redo = np.arange(len(cells))
    while redo.size:
        cells[redo] = rng.integers(k_true, size=(redo.size, k))
        hit = (cells[redo, :, None] == np.arange(k_true)).any(axis=1).all(axis=-1)
        redo = redo[~hit]
    return cells.reshape(*shape, k)


def cells_in_turn(k: int, k_true: int, count: int) -> np.ndarray:
    """Assign k atoms to k_true cells, none empty, such that the cells with atoms too many take turns.

    Parameters
    ----------
    k, k_true : int
        Numbers of fitted and of true atoms, ``k >= k_true >= 1``.
    count : int
        Number of assignments.

    Returns
    -------
    ndarray of int, shape (count, k)
        The cell, 0 to k_true - 1, of each atom, ascending.  Assignment j has one atom in every cell and the others in
        the cells j, j + 1, ... modulo k_true.

    Raises
    ------
    TypeError, ValueError
        If ``k < k_true``, or a number is not a positive integer (``count``: not a non-negative one).
    """
    k, k_true = _as_sizes(k, k_true)
    count = as_count(count, "count", minimum=0)
    extra = (np.arange(count)[:, None] + np.arange(k - k_true)) % k_true
    one = np.broadcast_to(np.arange(k_true), (count, k_true))
    return np.sort(np.concatenate([one, extra], axis=-1), axis=-1)


def _as_sizes(k, k_true) -> tuple[int, int]:
    k, k_true = as_count(k, "k"), as_count(k_true, "k_true")
    if k < k_true:
        raise ValueError(f"k: expected at least k_true = {k_true} atoms, got {k}; every cell needs one")
    return k, k_true


def _as_cells(cells, k: int, k_true: int, shape: tuple[int, ...]) -> np.ndarray:
    cells = np.asarray(cells)
    if cells.dtype.kind not in "iu" or cells.size == 0 or cells.min() < 0 or cells.max() >= k_true:
        raise ValueError(f"cells: expected integers from 0 to {k_true - 1}, got {cells!r}; index the true atoms from 0")
    try:
        return np.broadcast_to(cells, (*shape, k))
    except ValueError:
        raise ValueError(
            f"cells: expected a shape that broadcasts to {(*shape, k)}, got {cells.shape}; give k on the last axis"
        ) from None


def near_truth(
    truth: MixingMeasure,
    k: int,
    rng: np.random.Generator,
    *,
    size: int | tuple[int, ...] = (),
    sd: float = 0.05,
    split_mass: bool = False,
    cells: np.ndarray | None = None,
    theta: Theta = DEFAULT_THETA,
) -> MixingMeasure:
    """Starts around a known truth: each atom is drawn about the true atom of its cell.

    Parameters
    ----------
    truth : MixingMeasure, batch shape ()
    k : int
        Number of atoms of the start, at least ``truth.k``.
    rng : numpy.random.Generator
    size : int or tuple of int, default ()
        Batch shape of the result.
    sd : float, default 0.05
        Standard deviation of the Gaussian draw, the same for every parameter (class K stays zero).
    split_mass : bool, default False
        Whether the atoms of a cell share the true atom's mass exp(beta0), or each take it whole.
    cells : array_like of int, shape (..., k), optional
        The true atom, 0 to k* - 1, that each atom of the start is drawn about; broadcast to ``size``.  Default: drawn
        by :func:`random_cells`; see also :func:`cells_in_turn`.
    theta : Theta
        Draws outside are moved to its boundary.

    Returns
    -------
    MixingMeasure, batch shape size

    Raises
    ------
    TypeError, ValueError
        If ``truth`` has batch axes or lies outside ``theta``, ``k`` is too small, ``sd`` is negative, ``cells`` do not
        fit, or ``rng`` is not a Generator.

    Notes
    -----
    Appendix D.1; the size of its "small variance" and whether masses are split are not stated there.
    """
    rng = as_generator(rng)
    sd, shape = as_number(sd, "sd", "a standard deviation >= 0", "pass e.g. 0.05", least=0.0), as_shape(size, "size")
    if not isinstance(truth, MixingMeasure) or truth.batch_shape != ():
        raise ValueError("truth: expected one MixingMeasure without batch axes; index it first")
    if not theta.contains(truth):
        raise ValueError(f"truth: expected parameters inside {theta}; widen theta")
    cells = random_cells(k, truth.k, rng, shape) if cells is None else _as_cells(cells, k, truth.k, shape)
    noise = standard_noise(truth, cells.shape, rng)
    return starts_from_noise(truth, cells, noise, sd=sd, split_mass=split_mass, theta=theta)


def standard_noise(truth: MixingMeasure, shape: tuple[int, ...], rng: np.random.Generator) -> list[np.ndarray]:
    """Standard normal draws for atoms of the given shape, (..., k): for beta0, beta1, a and b."""
    return [rng.standard_normal(shape + v.shape[1:]) for v in (truth.beta0, truth.beta1, truth.a, truth.b)]


def starts_from_noise(
    truth: MixingMeasure, cells: np.ndarray, noise: list[np.ndarray], *, sd: float, split_mass: bool, theta: Theta
) -> MixingMeasure:
    """The starts of :func:`near_truth` from their cells (..., k) and their noise."""
    truth = truth.canonical()
    beta0, beta1, a, b = (v[cells] for v in (truth.beta0, truth.beta1, truth.a, truth.b))
    if split_mass:
        beta0 = beta0 - np.log((cells[..., :, None] == cells[..., None, :]).sum(axis=-1))
    shifts = [sd * value for value in noise]
    shifts[2][..., -1] = 0.0
    shifts[3][..., -1, :] = 0.0
    return theta.clip(MixingMeasure(*(v + shift for v, shift in zip((beta0, beta1, a, b), shifts, strict=True))))


def lightest_last(truth: MixingMeasure) -> MixingMeasure:
    """The same measure with its atoms in the order of their masses exp(beta0), the lightest last, in the gauge "last".

    In that gauge the bound of a :class:`.Theta` on beta0 is one on the masses next to that of the last atom.  Which
    atom is the last thus decides how light an added one may be: with the lightest there, it may be lightest.

    Parameters
    ----------
    truth : MixingMeasure, batch shape ()

    Returns
    -------
    MixingMeasure
        In the class reference too.
    """
    order = np.argsort(-truth.mass, kind="stable")
    return truth.permute(order).in_gauge("last").canonical()


def splits(
    truth: MixingMeasure, rng: np.random.Generator, size: int, *, sd: float = 0.5, theta: Theta = DEFAULT_THETA
) -> MixingMeasure:
    """Starts with one atom more than a truth: atoms split, in turn, into two whose mean is the atom.

    Parameters
    ----------
    truth : MixingMeasure, batch shape ()
    rng : numpy.random.Generator
    size : int
        Number of starts.
    sd : float, default 0.5
        Standard deviation of the difference of the two atoms in beta1, a and b.
    theta : Theta
        Splits outside are moved to its boundary.

    Returns
    -------
    MixingMeasure, batch shape (size,)
        In the gauge "last".  The first of the two has a random part of the atom's mass, 0.1 to 0.5.  The truth's atom
        of the least mass, or its larger part, is the last, see :func:`lightest_last`.

    Notes
    -----
    To first order in the difference the density is that of the truth: these are starts in the valley of the likelihood.
    """
    return _one_more(truth, rng, size, sd, theta, lambda rng: 2 * (rng.uniform(0.1, 0.5),))



def small_atoms(
    truth: MixingMeasure, rng: np.random.Generator, size: int, *, sd: float = 1.5, theta: Theta = DEFAULT_THETA
) -> MixingMeasure:
    """Starts with one atom more than a truth: an atom of the smallest mass, about each true atom in turn.

    Where the density is nearly the true one, the likelihood has maxima with an atom on the lower bound of the masses,
    several for each true atom: these are starts for them.

    Parameters
    ----------
    truth : MixingMeasure, batch shape ()
    rng : numpy.random.Generator
    size : int
        Number of starts.
    sd : float, default 1.5
        Standard deviation of the difference between the new atom and the true one in beta1, a and b.
    theta : Theta
        The smallest mass is that of its bound on beta0, next to the last atom.

    Returns
    -------
    MixingMeasure, batch shape (size,)
        In the gauge "last".  The truth's atom of the least mass is the last, see :func:`lightest_last`.
    """
    return _one_more(truth, rng, size, sd, theta, lambda rng: (NEGLIGIBLE, 0.0))


def _one_more(truth, rng, size, sd, theta, shares):
    """The atoms of a truth in turn as two: `shares` draws the new one's part of the mass, and of the way between them.

    Of that difference, drawn here, the old atom goes its part back and the new one the rest on.
    """
    rng, size, truth = as_generator(rng), as_count(size, "size"), lightest_last(truth)
    found = []
    for j in np.arange(size) % truth.k:
        mass, back = shares(rng)
        noise = [rng.standard_normal(v.shape[1:]) for v in (truth.beta1, truth.a, truth.b)]
        noise[1][-1], noise[2][-1] = 0.0, 0.0
        beta1, a, b = (
            np.stack([v[j] + (1.0 - back) * sd * e, v[j] - back * sd * e])
            for v, e in zip((truth.beta1, truth.a, truth.b), noise, strict=True)
        )
        found.append(truth.split(int(j), mass, beta1=beta1, a=a, b=b))
    return theta.clip(MixingMeasure.stack(found).in_gauge("last"))
