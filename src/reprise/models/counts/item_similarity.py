"""Cosine similarity of items over sessions, for the nearest neighbours of each item.

Shape letters: S sessions, I items (the warm ones), P pairs, R rows, G groups (the sessions of a user with an item).
Matrices over items have I + 1 rows and columns; row 0 belongs to `PAD` and is empty.
"""

from typing import Any

import numpy as np
from scipy import sparse

from reprise.arrays import AnyArray, BoolArray
from reprise.models.counts.session_matrix import Sessions, row_chunks, top_k_per_row


def session_items(sessions: Sessions, items: int) -> Any:
    """Return the items of each session as a sparse matrix of ones, [S, I + 1]."""
    ones_P = np.ones(len(sessions.item_P), dtype=np.float32)
    shape = len(sessions.last_ms_S), items + 1
    return sparse.csr_array((ones_P, sessions.item_P, sessions.start), shape=shape)


def nearest_items(
    has_SI: Any, shrinkage: float, k: int, *, user_S: AnyArray | None = None, pair_users: int = 1
) -> Any:
    """Return the k most similar other items of each item as a sparse matrix [I + 1, I + 1].

    Args:
        has_SI: Sparse matrix with a 1 for each item of each session.
        shrinkage: Number of sessions added to those of each item.
        k: Number of neighbours of each item.
        user_S: Number of the user of each session; None: users are not counted.
        pair_users: Minimum number of different users who have both items in one session; other pairs have no similarity.
    """
    sessions_I = np.asarray(has_SI.sum(0)) + shrinkage
    scale_I = 1 / np.sqrt(np.maximum(sessions_I, 1e-9))
    if user_S is not None:
        order_S = np.argsort(user_S, kind="stable")  # sessions of a user next to each other
        has_SI, user_S = has_SI[order_S], user_S[order_S]
    has_IS = has_SI.T.tocsr()
    # upper bound of the entries per row: the items of its sessions, and all items
    cost_I = np.minimum(has_IS @ np.diff(has_SI.indptr), has_SI.shape[1]).astype(np.int64)
    found = []
    for rows in row_chunks(cost_I):
        count_RI = has_IS[rows] @ has_SI
        known_P = count_RI.data > 0
        if user_S is not None:
            count_RI.sort_indices()
            users_RI = count_RI - _further_sessions(has_IS[rows], has_SI, user_S)
            known_P = users_RI.data >= pair_users  # both matrices have the same entries: no pair has 0 users
        found.append(_nearest_of(count_RI, known_P, rows.start, scale_I, k))
    return sparse.vstack(found, format="csr")


def _further_sessions(has_RS: Any, has_SI: Any, user_S: AnyArray) -> Any:
    """Return for each pair of items the number of its sessions less the number of its users, sparse [R, I + 1].

    Sessions are ordered by user. Only a user with several sessions of an item can have a pair in more than one session.
    """
    row_P = np.repeat(np.arange(has_RS.shape[0]), np.diff(has_RS.indptr))
    user_P = user_S[has_RS.indices]
    group_P = ((np.diff(row_P, prepend=-1) != 0) | (np.diff(user_P, prepend=-1) != 0)).cumsum() - 1
    several_P = np.bincount(group_P)[group_P] > 1
    row_P, session_P, group_P = row_P[several_P], has_RS.indices[several_P], group_P[several_P]
    begins_G = np.flatnonzero(np.diff(group_P, prepend=-1))
    start = np.append(begins_G, len(session_P))
    in_GS = sparse.csr_array(
        (np.ones(len(session_P), np.float32), session_P, start), (len(begins_G), len(user_S))
    )
    row_G = row_P[begins_G]
    shape = has_RS.shape[0], has_SI.shape[1]
    further_RI = sparse.csr_array(shape, dtype=np.float32)
    for groups in row_chunks((in_GS @ np.diff(has_SI.indptr)).astype(np.int64)):
        both_GI = in_GS[groups] @ has_SI
        both_GI.data -= 1
        both_GI.eliminate_zeros()
        # the groups of a row are next to each other, so that their entries are those of the row, to be added up
        start = both_GI.indptr[np.searchsorted(row_G[groups], np.arange(shape[0] + 1))]
        part_RI = sparse.csr_array((both_GI.data, both_GI.indices, start), shape)
        part_RI.sum_duplicates()
        further_RI = further_RI + part_RI
    return further_RI


def _nearest_of(count_RI: Any, known_P: BoolArray, first: int, scale_I: AnyArray, k: int) -> Any:
    """Return the k nearest items for the rows `count_RI` of the co-occurrence counts; the first row is item `first`.

    The entries that `known_P` excludes have no similarity.
    """
    row_P = np.repeat(np.arange(count_RI.shape[0]), np.diff(count_RI.indptr))
    similarity_P = count_RI.data * scale_I[first + row_P] * scale_I[count_RI.indices]
    similarity_P[~known_P | (count_RI.indices == first + row_P)] = 0
    kept_P = top_k_per_row(count_RI.indptr, similarity_P, k) & (similarity_P > 0)
    start = np.searchsorted(row_P[kept_P], np.arange(count_RI.shape[0] + 1))
    columns = similarity_P[kept_P].astype(np.float32), count_RI.indices[kept_P], start
    return sparse.csr_array(columns, shape=count_RI.shape)
