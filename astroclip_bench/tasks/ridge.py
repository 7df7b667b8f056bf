"""Ridge regression on embeddings at many strengths: one eigendecomposition serves them all.

Memory holds a few (d, d) matrices and blocks of rows, however many objects there are.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from astroclip_bench.tasks.protocols import ROWS_AT_ONCE, moments

Vectors = NDArray[np.floating]
Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]

ALPHAS: Float64 = 10.0 ** np.arange(-6.0, 4.25, 0.5)
"""Strengths tried, for each reference object: the penalty is n times this, so that it means the same for every n."""


@dataclass(frozen=True)
class RidgePath:
    """Ridge regressions of t targets on d standardised dimensions, of every strength of `ALPHAS`.

    A strength is scikit-learn's ``Ridge(alpha=count * strength)`` on the standardised embeddings.

    Parameters
    ----------
    count
        Number of reference objects.
    mean, deviation
        Of their embeddings, (d,).
    intercept
        Mean of each target over them, (t,); it is not penalised.
    axes
        Principal axes of the standardised embeddings, in columns, (d, d).
    along
        Products of targets and embeddings along each axis, (d, t).
    gains
        What each strength multiplies `along` by, (strengths, d).
    """

    count: int
    mean: Float64
    deviation: Float64
    intercept: Float64
    axes: Float64
    along: Float64
    gains: Float64

    def predict(self, vectors: Vectors, strengths: Int64) -> Float64:
        """Return the predictions (m, t) for embeddings (m, d); `strengths` are places in `ALPHAS`, one a target."""
        coefficients = self.gains[strengths].T * self.along
        blocks = self._projected(vectors)
        return np.concatenate([self.intercept + projected @ coefficients for _, projected in blocks])

    def best_elsewhere(self, vectors: Vectors, labels: Float64) -> Int64:
        """Return, for each target, the strength (place in `ALPHAS`) of the least squared error on other objects.

        Parameters
        ----------
        vectors, labels
            Their embeddings (v, d) and labels (v, t).
        """
        errors = [
            self._squares(labels[rows] - self._at_every_strength(projected))
            for rows, projected in self._projected(vectors)
        ]
        best: Int64 = np.sum(errors, axis=0).argmin(axis=0)
        return best

    def best_left_out(self, vectors: Vectors, labels: Float64) -> Int64:
        """Return the same for the reference objects themselves, each predicted from all others, in closed form."""
        errors = []
        for rows, projected in self._projected(vectors):
            # What an object contributes to its own prediction; the intercept is a mean over all.
            own = 1 / self.count + self.gains @ (projected**2).T
            errors.append(self._squares((labels[rows] - self._at_every_strength(projected)) / (1 - own)[:, :, None]))
        best: Int64 = np.sum(errors, axis=0).argmin(axis=0)
        return best

    def _at_every_strength(self, projected: Float64) -> Float64:
        predictions: Float64 = np.stack([projected @ (gain[:, None] * self.along) for gain in self.gains])
        return predictions + self.intercept

    @staticmethod
    def _squares(residual: Float64) -> Float64:
        squares: Float64 = np.einsum("abt,abt->at", residual, residual)
        return squares

    def _projected(self, vectors: Vectors) -> Iterator[tuple[slice, Float64]]:
        """Yield blocks of rows along the axes."""
        for rows, block in _standardised(vectors, self.mean, self.deviation):
            yield rows, block @ self.axes


def fit_ridge(vectors: Vectors, targets: Float64) -> RidgePath:
    """Fit ridge regressions of every strength to reference embeddings (n, d) and their labels (n, t), all finite."""
    mean, deviation = moments(vectors)
    intercept = targets.mean(axis=0)
    products = np.zeros((len(mean), len(mean)))
    moment = np.zeros((len(mean), len(intercept)))
    for rows, block in _standardised(vectors, mean, deviation):
        products += block.T @ block
        moment += block.T @ (targets[rows] - intercept)
    eigenvalues, axes = np.linalg.eigh(products)
    # Rounding may turn an eigenvalue of zero negative.
    gains = 1 / (np.maximum(eigenvalues, 0) + len(vectors) * ALPHAS[:, None])
    return RidgePath(len(vectors), mean, deviation, intercept, axes, axes.T @ moment, gains)


def _standardised(vectors: Vectors, mean: Float64, deviation: Float64) -> Iterator[tuple[slice, Float64]]:
    for start in range(0, len(vectors), ROWS_AT_ONCE):
        rows = slice(start, start + ROWS_AT_ONCE)
        yield rows, (vectors[rows].astype(np.float64) - mean) / deviation
