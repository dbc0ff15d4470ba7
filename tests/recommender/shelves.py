"""Clustered item vectors with a bias column, queries near them, and a source of candidates with known results."""

import numpy as np

from reprise.arrays import BoolArray, Float32Array, Int64Array


def shelves(items: int, width: int) -> Float32Array:
    """Return vectors in 100 clusters, longer for the first items; the last column is a bias."""
    generator = np.random.default_rng(0)
    centre_CD = generator.standard_normal((100, width))
    vectors_ID = centre_CD[generator.integers(100, size=items)] + 0.5 * generator.standard_normal(
        (items, width)
    )
    vectors_ID *= np.linspace(1.5, 0.5, items)[:, None]
    vectors_ID[:, -1] = np.linspace(2, -2, items)
    return vectors_ID.astype(np.float32)


def typical_queries(vectors_ID: Float32Array, count: int) -> Float32Array:
    """Return queries near random items, which read the bias with weight 1."""
    generator = np.random.default_rng(1)
    near_ND = vectors_ID[generator.integers(len(vectors_ID), size=count)]
    query_ND = near_ND + 0.3 * generator.standard_normal(near_ND.shape)
    query_ND[:, -1] = 1
    return query_ND.astype(np.float32)


class SomeCandidates:
    """The best items by their products, among the first `blind_from` ones, and a record of the calls."""

    def __init__(self, vectors_ID: Float32Array, blind_from: int | None = None) -> None:
        self._vectors_ID = vectors_ID[:blind_from].astype(np.float64)
        self.masked: list[bool] = []
        self.lists_read: list[int] = []
        self.counts: list[int] = []

    lists = 1000

    def candidates(
        self, query_BD: Float32Array, lists: int, count: int, allowed_I: BoolArray | None = None
    ) -> Int64Array:
        self.masked.append(allowed_I is not None)
        self.lists_read.append(lists)
        self.counts.append(count)
        score_BI = query_BD.astype(np.float64) @ self._vectors_ID.T
        if allowed_I is not None:
            score_BI[:, ~allowed_I[: score_BI.shape[1]]] = -np.inf
        order_BC = np.argsort(-score_BI, axis=1, kind="stable")[:, :count]
        best_BC = np.take_along_axis(score_BI, order_BC, axis=1)
        return np.where(np.isfinite(best_BC), order_BC, -1)
