import json
from dataclasses import replace

import numpy as np
import pytest

from reprise.errors import DataError
from reprise.evaluation.comparison.paired import compare
from reprise.evaluation.evaluator import evaluate
from reprise.evaluation.metrics import METRICS
from reprise.evaluation.options import EvaluationOptions
from reprise.evaluation.stats.significance import holm
from reprise.models.baselines.markov import Markov
from reprise.models.baselines.popularity import Popularity
from reprise.testing.worlds import cycle, noise, world


def both(dataset, **options):
    return [evaluate(make().fit(dataset), dataset, at=(1, 5), **options) for make in (Markov, Popularity)]


def test_the_difference_is_that_of_the_values():
    markov, popularity = both(noise())
    [found] = compare(markov, popularity).differences
    for name, gap in found.items():
        assert gap.value == pytest.approx(markov.metrics[name].value - popularity.metrics[name].value)
    assert "coverage@5" not in found


def test_a_model_does_not_differ_from_itself():
    markov, _ = both(noise())
    assert all(gap == (0, 0, 0) for gap in compare(markov, markov).differences[0].values())


def test_pairing_narrows_the_interval():
    """Two smoothings of one Markov chain fail on the same targets: the paired interval is less than half as wide."""
    dataset = noise()
    mine, theirs = (evaluate(Markov(a).fit(dataset), dataset, at=(5,)) for a in (1.0, 20.0))
    gap, own = compare(mine, theirs).differences[0]["recall@5"], mine.metrics["recall@5"]
    assert 0 < gap.high - gap.low < 0.5 * (own.high - own.low)


def test_the_interval_equals_that_of_paired_resampling():
    """The reference resamples sequences in a loop."""
    markov, popularity = both(noise(sequences=40))
    column = markov.sums.metrics.index("ndcg@5")
    difference_S = markov.sums.sum_SM[:, column] - popularity.sums.sum_SM[:, column]
    generator = np.random.default_rng(9)
    ratios = []
    for _ in range(4000):
        drawn = generator.integers(40, size=40)
        ratios.append(difference_S[drawn].sum() / markov.sums.targets_S[drawn].sum())
    gap = compare(markov, popularity).differences[0]["ndcg@5"]
    assert (gap.low, gap.high) == pytest.approx(tuple(np.quantile(ratios, [0.025, 0.975])), abs=0.006)


def test_a_significant_difference_has_a_star():
    """In a cycle the Markov chain is always right: the paired interval excludes zero."""
    comparison = compare(*both(cycle()))
    assert comparison.differences[0]["recall@1"].low > 0
    [line] = [line for line in str(comparison).splitlines() if line.startswith("recall@1 ")]
    assert line.split()[1] == "1.0000" and line.endswith("*")


def test_table_and_json():
    comparison = compare(*both(cycle()))
    assert str(comparison).splitlines()[0].split() == [
        "metric",
        "Markov",
        "Popularity",
        "Markov",
        "-",
        "Popularity",
    ]
    assert "test part of dataset" in str(comparison)
    found = json.loads(json.dumps(comparison.to_dict()))
    assert (found["first"], found["within"], found["others"][0]["name"]) == ("Markov", None, "Popularity")
    assert set(found["others"][0]["differences"]["mrr@5"]) == {"value", "low", "high"}


def test_several_others():
    markov, popularity = both(cycle())
    comparison = compare(markov, popularity, markov)
    assert comparison.differences[1]["mrr@5"].value == 0
    assert comparison.differences[0]["mrr@5"].value > 0


def test_within_a_slice(table):
    """Three targets b, a, z; the cold one is left out, so recall@1 is 1 / 2 for both, on different targets."""
    dataset = world([list("abcab"), list("bcaba"), list("bcabz")])
    b_first, a_first = (evaluate(table(s), dataset, at=(1,)) for s in ([1.0, 3.0, 0.0], [3.0, 1.0, 0.0]))
    assert compare(b_first, a_first, within="warm").differences[0]["recall@1"].value == 0
    assert b_first.slices["warm"].metrics["recall@1"].value == 1 / 2
    assert "Only targets of the slice warm are compared." in str(compare(b_first, a_first, within="warm"))
    with pytest.raises(DataError, match="'Table' has no slice 'wram'; did you mean 'warm'"):
        compare(b_first, a_first, within="wram")


def test_the_table_shows_the_slices(table):
    """Recall at the longest list within each slice, under the property that groups the targets."""
    dataset = world([list("abcab"), list("bcaba"), list("bcabz")])
    comparison = compare(
        *(evaluate(table(s), dataset, at=(1, 2)) for s in ([1.0, 3.0, 0.0], [3.0, 1.0, 0.0]))
    )
    table_of_slices = str(comparison).split("\n\n")[1].splitlines()
    assert [line.split("  ")[0] or line.split()[0] for line in table_of_slices] == [
        "recall@2", "item", "warm", "cold", "repeat", "seen_before", "new_to_user",
    ]  # fmt: skip
    assert table_of_slices[2].split()[:4] == ["warm", "2", "1.0000", "1.0000"]
    warm = comparison.to_dict()["slices"]["warm"][0]
    assert (warm["name"], warm["differences"]["recall@1"]["value"]) == ("Table", 0)


def test_reports_with_different_protocols_are_not_compared():
    markov, _ = both(noise())
    other = both(noise(), exclude_seen=True)[1]
    with pytest.raises(DataError) as error:
        compare(markov, other)
    assert str(error.value) == (
        "'Markov' and 'Popularity' cannot be compared: exclude_seen is False for one and True for the other; "
        "evaluate both on the same dataset in the same way"
    )


def test_reports_of_different_datasets_are_not_compared():
    (mine, _), (_, theirs) = both(noise(seed=1)), both(noise(seed=2))
    with pytest.raises(
        DataError, match=f"dataset is '{mine.data.dataset}' for one and '{theirs.data.dataset}'"
    ):
        compare(mine, theirs)


def test_a_single_report_is_an_error():
    markov, _ = both(cycle())
    with pytest.raises(
        DataError, match="'Markov' is not compared with any other report; pass at least two reports"
    ):
        compare(markov)


def test_reports_without_intervals_are_not_compared():
    with pytest.raises(
        DataError,
        match="a comparison needs intervals, and 'Markov' was evaluated with resamples=0; 1000 is usual",
    ):
        compare(*both(cycle(), options=EvaluationOptions(resamples=0)))


def test_more_comparisons_give_a_larger_adjusted_p():
    """The p-value of one comparison is multiplied by 20 among 20 comparisons."""
    dataset = noise(sequences=60)
    one, other = (evaluate(Markov(smoothing).fit(dataset), dataset, at=(5,)) for smoothing in (0.3, 30))
    alone = compare(one, other).adjusted[0]["recall@5"]
    among = compare(one, other, *[one] * 19)
    assert among.adjusted[0]["recall@5"] == pytest.approx(min(1.0, 20 * alone))
    assert among.adjusted[1]["recall@5"] == 1
    assert among.to_dict()["others"][0]["p_adjusted"]["recall@5"] == among.adjusted[0]["recall@5"]
    assert "after Holm's correction, for each metric over 20 models" in str(among)


def test_stars_follow_the_adjusted_p():
    """An interval that excludes zero has no star if the adjusted p-value is above the level."""
    comparison = compare(*both(cycle()))
    weak = replace(comparison, adjusted=(dict.fromkeys(comparison.adjusted[0], 0.2),), slices={})
    assert comparison.differences[0]["recall@1"].low > 0
    [line] = [line for line in str(weak).splitlines() if line.startswith("recall@1 ")]
    assert not line.endswith("*")


def test_the_correction_in_the_slices_covers_all_of_them():
    comparison = compare(*both(noise()))
    found = [part.adjusted[0]["mrr@5"] for part in comparison.slices.values()]
    alone = [compare(*comparison.reports, within=name).adjusted[0]["mrr@5"] for name in comparison.slices]
    assert found == pytest.approx(holm(alone))


def test_reports_without_slices_are_compared_as_a_whole():
    markov, _ = both(noise())
    _, popularity = both(noise(), options=EvaluationOptions(slices=False))
    assert compare(markov, popularity).slices == {}


def test_a_single_run_of_a_network_gives_a_warning():
    markov, popularity = both(noise())
    assert "use `compare_models` for several seeds" not in str(compare(markov, popularity))
    assert "use `compare_models` for several seeds" in str(compare(replace(markov, trained=True), popularity))


def test_reports_with_different_metrics_are_not_compared():
    markov, _ = both(noise())
    _, popularity = both(noise(), options=EvaluationOptions(metrics=METRICS[:2]))
    with pytest.raises(DataError, match=r"cannot be compared: metrics is \('recall@1', 'hit@1', 'mrr@1'"):
        compare(markov, popularity)


def test_slices_show_the_last_metric_without_recall():
    reports = both(noise(), options=EvaluationOptions(metrics=METRICS[2:3]))
    assert "mrr@5" in str(compare(*reports)).split("\n\n")[1].splitlines()[0]
