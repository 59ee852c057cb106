"""The random walker: whether a walk over a picture, which shuns edges, comes to a click before it comes far away.

Grady 2006, "Random walks for image segmentation", IEEE PAMI 28(11): the chances of all pixels at once are the solution
of one sparse system of equations.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, diags_array
from scipy.sparse.linalg import cg

Grid = NDArray[np.float64]

_BETA = 400.0  # of squared differences of RGB in 0..1: how much an edge is shunned
_LEAST = 1e-6  # weight of the sharpest edge, so that each pixel is reached
_TOLERANCE = 1e-3
_ROUNDS = 300  # of conjugate gradients, at most


def walk(colours: Grid, ends: Grid) -> Grid:
    """The chance of each pixel, (h, w) in 0..1, that a walk from there comes to a 1 before it comes to a 0.

    `colours` (h, w, 3) in 0..1; `ends` (h, w) is 1 or 0 where a walk ends, NaN elsewhere.
    """
    chance = np.nan_to_num(ends).ravel()
    steps = _steps(colours)
    between = np.flatnonzero(np.isnan(ends))
    if between.size:
        degree = np.asarray(steps.sum(axis=1)).ravel()[between]
        inner = steps[between]
        # Scaled to a diagonal of ones, the equations are solved in a third of the rounds.
        scale = diags_array(1 / np.sqrt(degree))
        equations = scale @ (diags_array(degree) - inner[:, between]) @ scale
        found, _ = cg(equations, scale @ (inner @ chance), rtol=_TOLERANCE, maxiter=_ROUNDS)
        chance[between] = np.clip(scale @ found, 0, 1)
    return chance.reshape(ends.shape)


def _steps(colours: Grid) -> csr_array:
    """Weights of the steps between neighbours, (h * w, h * w): 1 between equal pixels, little across an edge."""
    number = np.arange(colours[..., 0].size).reshape(colours.shape[:2])
    pairs = [
        (
            number[first].ravel(),
            number[second].ravel(),
            np.square(colours[first] - colours[second]).sum(axis=2).ravel(),
        )
        for first, second in (
            (np.s_[:, 1:], np.s_[:, :-1]),
            (np.s_[1:], np.s_[:-1]),
        )
    ]
    start, end, difference = (np.concatenate(one) for one in zip(*pairs, strict=True))
    weight = np.exp(-_BETA * difference) + _LEAST
    size = (number.size, number.size)
    return csr_array((np.r_[weight, weight], (np.r_[start, end], np.r_[end, start])), shape=size)
