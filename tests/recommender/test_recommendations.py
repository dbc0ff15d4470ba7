from reprise.recommender.recommendations import Recommendation, Recommendations


def test_an_answer_is_a_list_that_also_tells_what_it_left_out() -> None:
    one = Recommendation("a", 0.5, 1, "popular")
    answer = Recommendations([one], skipped=2, unknown_allowed=1)
    assert answer == [one]
    assert answer.item_ids == ["a"]
    assert (answer.skipped, answer.unknown_allowed) == (2, 1)
