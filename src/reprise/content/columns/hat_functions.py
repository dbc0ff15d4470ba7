"""Hat functions: a number as its position between knots, a linear spline that a linear map can bend at each knot.

Shape letters: M rows, K knots.
"""

import numpy as np

from reprise.arrays import Float32Array, Float64Array

MAX_NUMBER = 1e150
"""Larger numbers are clipped, so that differences and squares stay finite."""


def hat_features(number_M: Float64Array, knot_K: Float64Array) -> Float32Array:
    """Return the values of the K hat functions at each number, [M, K]; all 0 for NaN.

    The hat function of a knot is 1 there, 0 at all other knots, and linear between them (a B-spline of degree 1). Numbers
    outside the knots have the features of the nearest knot. The knots ascend.
    """
    hat_MK = np.zeros((len(number_M), len(knot_K)), np.float32)
    row_N = np.flatnonzero(~np.isnan(number_M))
    if len(knot_K) == 1:
        hat_MK[row_N] = 1.0
        return hat_MK
    number_N = number_M[row_N].clip(knot_K[0], knot_K[-1])
    left_N = (np.searchsorted(knot_K, number_N, side="right") - 1).clip(max=len(knot_K) - 2)
    share_N = (number_N - knot_K[left_N]) / (knot_K[left_N + 1] - knot_K[left_N])
    hat_MK[row_N, left_N] = 1 - share_N
    hat_MK[row_N, left_N + 1] = share_N
    return hat_MK


def quantile_knots(number_N: Float64Array, clip: tuple[float, float], knots: int) -> Float64Array:
    """Return at most `knots` distinct values at equal steps of rank between the quantiles `clip`."""
    levels = np.linspace(*clip, knots)
    found: Float64Array = np.unique(np.quantile(number_N, levels, method="inverted_cdf"))
    return found


def even_knots(number_N: Float64Array, clip: tuple[float, float], knots: int) -> Float64Array:
    """Return at most `knots` distinct values at equal distances between the quantiles `clip`."""
    low, high = np.quantile(number_N, clip, method="inverted_cdf")
    found: Float64Array = np.unique(np.linspace(low, high, knots))
    return found


def signed_log(number_M: Float64Array) -> Float64Array:
    """Return sign(x) log(1 + |x|)."""
    logged: Float64Array = np.sign(number_M) * np.log1p(np.abs(number_M))
    return logged


def scale_rows(feature_MF: Float32Array) -> Float32Array:
    """Return the rows scaled to length 1; rows of zeros stay 0."""
    length_M1 = np.sqrt(np.einsum("mf,mf->m", feature_MF, feature_MF, dtype=np.float64))[:, None]
    scaled: Float32Array = (feature_MF / np.where(length_M1 > 0, length_M1, 1.0)).astype(np.float32)
    return scaled
