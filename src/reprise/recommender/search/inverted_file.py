"""Inverted file with product quantisation (IVF-PQ, by faiss): candidates of a search over millions of item vectors.

Shape letters: B queries, N sampled queries, I items, D width, P width rounded up to an even number, C candidates.
"""

from pathlib import Path
from typing import Any

import numpy as np

from reprise.arrays import BoolArray, Float32Array, Int64Array
from reprise.errors import ArtefactError, ConfigError

INSTALL = 'pip install "reprise[faiss]"'
"""Command that installs the library."""
BITS = 4
"""Bits of a code. With 4 bits the table of a sub-quantiser fits in a processor's register (fast scan)."""
COLUMNS_PER_CODE = 2
"""Columns of a vector that share a code."""
MIN_ITEMS_PER_LIST, TRAINED_PER_LIST = 40, 50
"""Smallest number of items per list, on average, and number of items from which the centroid of a list is computed."""
TRAINING_ROUNDS = 10
"""Rounds of k-means; more did not raise the recall."""
QUERY_NOISE = 0.1
"""Share of the mean variance of the sampled queries that is added in each direction, because the sample is small."""
BLOCK = 2**17
"""Number of items that are encoded together."""


class InvertedFile:
    """A compressed copy of the item vectors in lists of similar items. Safe to call from several threads.

    A score is a product of a query q and a vector v, and the error of its estimate is q (v - v'), with the encoded vector v'.
    The expected square of the error is (v - v') S (v - v') for the second moments S = E[q q] of the queries. The vectors are
    therefore multiplied by the square root of S and the queries by its inverse. Scores stay the same, and the squared distance
    that k-means and product quantisation make small is the squared error of the scores. A column that all queries read with a
    large weight, such as the bias of the items, gets its part of the precision.

    An item belongs to the list whose centroid is nearest, and a query reads the lists whose centroids have the largest
    products with it. If items also belonged to lists by the largest product, a few long centroids would attract all items
    (docs/experiments.md).

    Jegou et al. 2011, "Product quantization for nearest neighbor search"; Andre et al. 2015, "Cache locality is not enough".
    """

    def __init__(self, index: Any) -> None:
        """Take an index of the library; see `build` and `open`."""
        self._index = index
        self._lists = _library().extract_index_ivf(index)

    @classmethod
    def build(cls, vectors_ID: Float32Array, query_ND: Float32Array) -> "InvertedFile":
        """Encode vectors. This takes seconds for one million items, and minutes for ten million.

        Args:
            vectors_ID: Item vectors.
            query_ND: Typical queries.

        Raises:
            ConfigError: the library is not installed.
        """
        faiss = _library()
        faiss.omp_set_num_threads(1)  # the sums of several threads have no fixed order
        items, width = vectors_ID.shape
        padded = width + width % COLUMNS_PER_CODE
        to_items_DP, to_queries_DP = _by_query_moments(query_ND, padded)
        centroids = faiss.IndexFlatL2(padded)
        codes = padded // COLUMNS_PER_CODE
        lists = faiss.IndexIVFPQFastScan(
            centroids, padded, number_of_lists(items), codes, BITS, faiss.METRIC_INNER_PRODUCT
        )
        lists.by_residual = True
        lists.cp.niter, lists.cp.spherical = TRAINING_ROUNDS, False
        lists.cp.min_points_per_centroid = lists.pq.cp.min_points_per_centroid = 1
        count = min(items, TRAINED_PER_LIST * max(lists.nlist, 2**BITS))
        trained = np.sort(np.random.default_rng(0).choice(items, count, replace=False))
        lists.train(vectors_ID[trained] @ to_items_DP)
        for start in range(0, items, BLOCK):
            lists.add(vectors_ID[start : start + BLOCK] @ to_items_DP)
        by_product = faiss.IndexFlatIP(padded)
        by_product.add(centroids.reconstruct_n(0, lists.nlist))
        lists.quantizer = by_product
        transform = faiss.LinearTransform(width, padded, False)
        faiss.copy_array_to_vector(np.ascontiguousarray(to_queries_DP.T).ravel(), transform.A)
        transform.is_trained = True
        whole = faiss.IndexPreTransform(lists)
        whole.prepend_transform(transform)
        # a copy owns all its parts
        return cls(faiss.deserialize_index(faiss.serialize_index(whole)))

    @classmethod
    def open(cls, path: Path, items: int, width: int) -> "InvertedFile":
        """Open the file of an index; it is memory-mapped.

        Args:
            path: The file.
            items: Number of items that it must have.
            width: Width of the queries that it must take.

        Raises:
            ArtefactError: the library is not installed, or the file is not an index of so many vectors of this width.
        """
        try:
            faiss = _library()
        except ConfigError as error:
            raise ArtefactError(
                f"{path} needs faiss: {INSTALL}, or export the model with an exact search"
            ) from error
        try:
            found = cls(faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC))
        except Exception as error:  # the library raises RuntimeError, and others for an index of another kind
            reason = " ".join(str(error).split())
            raise ArtefactError(f"{path} is not an index ({reason}); export the model again") from error
        if (found._index.ntotal, found._index.d) != (items, width):
            raise ArtefactError(
                f"{path} has {found._index.ntotal} vectors of width {found._index.d}, the model has {items} of width {width}; "
                "export the model again"
            )
        return found

    def write(self, path: Path) -> None:
        """Write the index to a file."""
        _library().write_index(self._index, str(path))

    @property
    def lists(self) -> int:
        """Number of lists."""
        return int(self._lists.nlist)

    def candidates(
        self, query_BD: Float32Array, lists: int, count: int, allowed_I: BoolArray | None = None
    ) -> Int64Array:
        """Return the columns of the items with the largest estimated scores of each query, [B, C]; -1 if there are fewer.

        Args:
            query_BD: The queries.
            lists: Number of lists that are read for each query.
            count: Number of candidates, C.
            allowed_I: Mask of the items that may be returned; None allows all items.
        """
        faiss = _library()
        # the setting is one of each thread: a request has one processor, and others are answered at the same time
        faiss.omp_set_num_threads(1)
        chosen = faiss.SearchParametersIVF(nprobe=min(lists, self.lists))
        if allowed_I is not None:
            chosen.sel = selector = faiss.IDSelectorBitmap(np.packbits(allowed_I, bitorder="little"))
            assert selector is not None  # the library does not keep it
        parameters = faiss.SearchParametersPreTransform(index_params=chosen)
        column_BC: Int64Array = self._index.search(
            np.ascontiguousarray(query_BD), min(count, self._index.ntotal), params=parameters
        )[1]
        return column_BC


def number_of_lists(items: int) -> int:
    """Return the number of lists for so many items: about the square root, a power of two."""
    wanted = 2 ** round(np.log2(items**0.5))
    return int(max(1, min(wanted, items // MIN_ITEMS_PER_LIST)))


def is_installed() -> bool:
    """Return whether the library is installed."""
    try:
        _library()
    except ConfigError:
        return False
    return True


def _library() -> Any:
    """Return the library, which is imported only if an approximate index is used.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        import faiss
    except ImportError as error:
        raise ConfigError(f"an approximate search needs faiss: {INSTALL}") from error
    return faiss


def _by_query_moments(query_ND: Float32Array, padded: int) -> tuple[Float32Array, Float32Array]:
    """Return the matrices [D, P] for vectors and for queries: the square root of the second moments, and its inverse."""
    wide_ND = query_ND.astype(np.float64)
    moment_DD = wide_ND.T @ wide_ND / max(1, len(wide_ND))
    width = len(moment_DD)
    noise = QUERY_NOISE * np.trace(moment_DD) / width or 1.0
    value_D, direction_DD = np.linalg.eigh(moment_DD + noise * np.eye(width))
    root_D = np.sqrt(value_D / value_D.mean())
    extend = ((0, 0), (0, padded - width))
    to_items_DP = np.pad((direction_DD * root_D) @ direction_DD.T, extend)
    to_queries_DP = np.pad((direction_DD / root_D) @ direction_DD.T, extend)
    return to_items_DP.astype(np.float32), to_queries_DP.astype(np.float32)
