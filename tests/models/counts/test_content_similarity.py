import numpy as np
import pytest
from scipy import sparse

from reprise.models.counts import content_similarity
from reprise.models.counts.content_similarity import nearest_by_content


@pytest.fixture
def features():
    """Rows of length 1, with negative cosines; PAD and item 5 have no content."""
    feature_IF = np.random.default_rng(0).normal(size=(13, 4)).astype(np.float32)
    feature_IF /= np.linalg.norm(feature_IF, axis=1, keepdims=True)
    feature_IF[[0, 5]] = 0
    return feature_IF


def test_the_nearest_items_are_those_of_the_highest_positive_cosine(features):
    whole = features @ features.T
    np.fill_diagonal(whole, 0)
    found = nearest_by_content(features, 3).toarray()
    for kept, row in zip(found, whole, strict=True):
        best = np.sort(row[row > 0])[-3:]
        np.testing.assert_allclose(np.sort(kept[kept > 0]), best, rtol=1e-5)
        np.testing.assert_allclose(kept[kept > 0], row[kept > 0], rtol=1e-5)
    assert not found[[0, 5]].any()
    assert not found[:, [0, 5]].any()


def test_chunks_and_many_neighbours_give_the_same_similarities(features, monkeypatch):
    whole = nearest_by_content(features, 100)
    assert isinstance(whole, sparse.csr_array)
    monkeypatch.setattr(content_similarity, "SCORES_PER_CHUNK", 30)
    np.testing.assert_allclose(nearest_by_content(features, 100).toarray(), whole.toarray(), rtol=1e-5)
