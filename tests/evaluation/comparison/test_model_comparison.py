import json

import numpy as np
import pytest

from reprise.errors import ConfigError, DataError
from reprise.evaluation.comparison.model_comparison import Candidate, ComparisonResult, compare_models
from reprise.evaluation.comparison.paired import compare
from reprise.evaluation.evaluator import evaluate
from reprise.evaluation.stats.bootstrap import Interval
from reprise.models.baselines.markov import Markov
from reprise.models.baselines.popularity import Popularity
from reprise.testing.worlds import cycle, noise

SEQUENCES = 120


@pytest.fixture
def candidate(report_of):
    """Make runs of one model on the same sequences: a part shared by all models, its own part, and noise."""

    def make(
        name, generator, common_S, *, seeds=3, worth=0.0, own=0.7, seed_noise=0.05, noise=0.7
    ) -> Candidate:
        own_S = worth + own * generator.normal(size=len(common_S))
        return Candidate(
            name,
            tuple(
                report_of(
                    name,
                    common_S
                    + own_S
                    + (
                        seed_noise * generator.normal() + noise * generator.normal(size=len(common_S))
                        if seeds > 1
                        else 0
                    ),
                    trained=seeds > 1,
                )
                for _ in range(seeds)
            ),
        )

    return make


@pytest.mark.parametrize(
    ("seeds", "own", "seed_noise"),
    [
        ((3, 3), 0.7, 0.05),
        ((3, 3), 0.0, 0.0),
        ((3, 3), 0.0, 0.2),
        ((5, 2), 0.3, 0.1),
        ((3, 1), 0.7, 0.1),
        ((1, 1), 0.7, 0.0),
    ],
)
def test_without_a_difference_one_result_in_twenty_is_wrong(candidate, seeds, own, seed_noise):
    """For any share of seed noise: p < .05 in about 5 % of 400 worlds, and not in more."""
    generator = np.random.default_rng(0)
    wrong = 0
    for _ in range(400):
        common_S = generator.normal(size=SEQUENCES)
        one, other = (
            candidate(name, generator, common_S, seeds=count, own=own, seed_noise=seed_noise)
            for name, count in zip("ab", seeds, strict=True)
        )
        [result] = compare_models([one, other], metric="recall@5")
        wrong += result.better is not None
        assert (result.difference.low > 0 or result.difference.high < 0) == (result.better is not None)
    # a share of .05 has a standard error of .011 here; without a part of its own per model the test is conservative
    assert (0.005 if own == 0 else 0.025) <= wrong / 400 <= 0.075


@pytest.mark.parametrize("against", ["first", "each"])
def test_one_world_in_twenty_has_any_false_result(candidate, against):
    """Six models without a difference, in 150 worlds."""
    generator = np.random.default_rng(1)
    wrong = 0
    for _ in range(150):
        common_S = generator.normal(size=SEQUENCES)
        candidates = [candidate(name, generator, common_S) for name in "abcdef"]
        wrong += any(it.better for it in compare_models(candidates, metric="recall@5", against=against))
    assert wrong / 150 <= 0.05 + 2 * 0.0178


def test_a_difference_is_found(candidate):
    generator = np.random.default_rng(2)
    common_S = generator.normal(size=SEQUENCES)
    good, bad = (
        candidate(name, generator, common_S, worth=worth) for name, worth in (("good", 0.8), ("bad", 0.0))
    )
    [result] = compare_models([bad, good], metric="recall@5")
    assert result.better == "good"
    assert result.difference.high < 0
    assert result.seeds == (3, 3)
    assert result.sentence().startswith("good is better than bad in recall@5 (+0.")


def test_more_seeds_give_narrower_intervals(candidate):
    """The same seed noise, with three runs and with eight."""
    widths = []
    for seeds in (3, 8):
        generator = np.random.default_rng(3)
        common_S = generator.normal(size=SEQUENCES)
        candidates = [
            candidate(name, generator, common_S, seeds=seeds, own=0.0, seed_noise=0.5) for name in "ab"
        ]
        [result] = compare_models(candidates, metric="recall@5")
        widths.append(result.difference.high - result.difference.low)
    assert widths[1] < 0.6 * widths[0]


def test_which_pairs_are_compared(candidate):
    """The best with the closest first; corrected over all pairs, as for each with each."""
    generator = np.random.default_rng(4)
    common_S = generator.normal(size=SEQUENCES)
    candidates = [
        candidate(name, generator, common_S, worth=worth)
        for name, worth in (("c", 0.0), ("a", 0.9), ("b", 0.5))
    ]
    found = {
        against: compare_models(candidates, metric="recall@5", against=against)
        for against in ("first", "best", "each")
    }
    assert [(it.first, it.second) for it in found["first"]] == [("c", "a"), ("c", "b")]
    assert [(it.first, it.second) for it in found["best"]] == [("a", "b"), ("a", "c")]
    assert [(it.first, it.second) for it in found["each"]] == [("c", "a"), ("c", "b"), ("a", "b")]
    each = {frozenset((it.first, it.second)): it for it in found["each"]}
    for result in found["best"]:
        same = each[frozenset((result.first, result.second))]
        assert (result.p, result.p_adjusted, result.better) == (same.p, same.p_adjusted, same.better)
        assert result.difference.value > 0
    smallest = min(it.p for it in found["first"])
    assert min(it.p_adjusted for it in found["first"]) == pytest.approx(2 * smallest)


def test_p_values_can_be_significant_after_many_comparisons(candidate):
    """A percentile of 300 resamples could not be below .003; times 20 it would show nothing."""
    generator = np.random.default_rng(5)
    common_S = generator.normal(size=SEQUENCES)
    others = [candidate(f"m{number}", generator, common_S, seeds=1) for number in range(20)]
    best = candidate("best", generator, common_S, seeds=1, worth=0.8)
    results = compare_models([best, *others], metric="recall@5")
    assert all(it.better == "best" for it in results)
    assert all(it.p_adjusted < 1e-4 for it in results)


def test_the_interval_of_one_run_each_is_that_of_the_comparison():
    """Without seeds the t interval is close to the percentiles of the paired bootstrap."""
    dataset = noise()
    reports = [evaluate(make().fit(dataset), dataset, at=(5,)) for make in (Markov, Popularity)]
    [result] = compare_models([Candidate(it.name, (it,)) for it in reports], metric="ndcg@5")
    gap = compare(*reports).differences[0]["ndcg@5"]
    assert tuple(result.difference) == pytest.approx(tuple(gap), abs=0.003)
    assert result.trained == (False, False)
    assert result.p == pytest.approx(compare(*reports).adjusted[0]["ndcg@5"], rel=1e-6)


def test_within_a_slice():
    dataset = noise()
    reports = [evaluate(make().fit(dataset), dataset, at=(5,)) for make in (Markov, Popularity)]
    candidates = [Candidate(it.name, (it,)) for it in reports]
    [result] = compare_models(candidates, metric="recall@5", within="tail")
    expected = [it.slices["tail"].metrics["recall@5"].value for it in reports]
    assert result.difference.value == pytest.approx(expected[0] - expected[1])
    with pytest.raises(DataError, match="'Markov' has no slice 'tial'; did you mean 'tail'"):
        compare_models(candidates, metric="recall@5", within="tial")


def test_a_model_does_not_differ_from_itself():
    """In a cycle the Markov chain is always right, so the difference has no variance."""
    dataset = cycle()
    chain = evaluate(Markov().fit(dataset), dataset, at=(12,))
    [result] = compare_models([Candidate("one", (chain,)), Candidate("two", (chain,))], metric="recall@12")
    assert (result.p, result.better, result.difference) == (1.0, None, (0, 0, 0))


def result(**changed) -> ComparisonResult:
    given = {
        "first": "A", "second": "B", "metric": "mrr@20", "difference": Interval(-0.02, -0.03, -0.01),
        "p": 0.001, "p_adjusted": 0.012, "seeds": (3, 1), "better": "B", "trained": (True, False),
    }  # fmt: skip
    return ComparisonResult(**{**given, **changed})


def test_sentences():
    assert result().sentence() == "B is better than A in mrr@20 (+0.0200 [+0.0100, +0.0300], p = 0.012)."
    assert result(better=None, p_adjusted=0.4).sentence() == (
        "No difference in mrr@20 is shown between A and B (-0.0200 [-0.0300, -0.0100], p = 0.4)."
    )
    assert "p < 0.0001)" in result(p_adjusted=1e-9).sentence()
    assert "(+0.0200, p = 0.012)" in result(difference=Interval(-0.02)).sentence()


def test_few_seeds_of_a_trained_model_give_a_warning():
    assert (
        result(seeds=(1, 1))
        .sentence()
        .endswith(" A has only 1 seed (use 3 or more), so this applies to these runs only.")
    )
    assert (
        " A has only 2 seeds and B has only 1 seed (use 3"
        in result(seeds=(2, 1), trained=(True, True)).sentence()
    )


def test_json():
    found = json.loads(json.dumps(result().to_dict()))
    assert list(found) == [
        "first", "second", "metric", "difference", "p", "p_adjusted", "seeds", "better", "sentence",
    ]  # fmt: skip
    assert found["difference"] == {"value": -0.02, "low": -0.03, "high": -0.01}
    assert (found["seeds"], found["sentence"]) == ([3, 1], result().sentence())


def refused(candidates, error, message, **options) -> None:
    with pytest.raises(error) as found:
        compare_models(candidates, **{"metric": "recall@5", **options})
    assert str(found.value) == message


def test_invalid_comparisons_are_errors(report_of):
    report = report_of("a", np.arange(9))
    one, two = Candidate("a", (report,)), Candidate("b", (report,))
    refused([one], ConfigError, "a comparison needs two models or more, got 1")
    refused([one, one], ConfigError, "two models are named 'a'; give each its own name")
    refused([one, Candidate("b", ())], DataError, "'b' has no report; evaluate it first")
    refused([one, two], ConfigError, "level must lie between 0 and 1, got 5; 0.05 is usual", level=5)
    refused(
        [one, two],
        ConfigError,
        "against must be 'first', 'best' or 'each', got 'bets'; did you mean 'best'?",
        against="bets",
    )
    refused(
        [one, two],
        ConfigError,
        "models cannot be compared by 'coverage@5'; known: recall@5",
        metric="coverage@5",
    )
    other = Candidate("b", (report_of("b", np.arange(8)),))
    with pytest.raises(DataError, match="'a' and 'b' cannot be compared: targets is 18 for one and 16"):
        compare_models([one, other], metric="recall@5")
    none = Candidate("b", (report_of("b", np.arange(9), resamples=0),))
    with pytest.raises(DataError, match="a comparison needs intervals"):
        compare_models([none, one], metric="recall@5")
