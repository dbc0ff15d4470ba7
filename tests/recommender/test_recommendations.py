from reprise.recommender.recommendations import Recommendation, Recommendations


def test_recommendations_are_a_list_with_counts_of_skipped_ids() -> None:
    one = Recommendation("a", 0.5, 1, "popular")
    items = Recommendations([one], skipped=2, unknown_allowed=1)
    assert items == [one]
    assert items.item_ids == ["a"]
    assert (items.skipped, items.unknown_allowed) == (2, 1)
