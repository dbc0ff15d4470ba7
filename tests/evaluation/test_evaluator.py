from math import log2

import pytest
import torch

from reprise.errors import ConfigError, DataError
from reprise.evaluation.comparison.paired import compare
from reprise.evaluation.evaluator import evaluate
from reprise.evaluation.options import QUICK, EvaluationOptions
from reprise.evaluation.protocol import EvaluationProtocol
from reprise.models.baselines.cooccurrence_scorer import Cooccurrence
from reprise.models.baselines.item_knn import ItemKNN
from reprise.models.baselines.markov import Markov
from reprise.models.baselines.popularity import Popularity, RecentPopularity, SessionPopularity
from reprise.models.baselines.session_knn import SessionKNN
from reprise.models.baselines.window_scorer import WindowScorer
from reprise.models.batch import Batch
from reprise.models.scorer import Fittable
from reprise.nn.cells import State
from reprise.testing.worlds import cycle, memory, noise, world


def value(report, name: str) -> float:
    return report.metrics[name].value


def test_values_of_three_targets(table):
    """Targets b, c, a at ranks 1, 3, 2 of scores a 2, b 3, c 1."""
    dataset = world([list("abcab"), list("abcac"), list("abcba")])
    assert dataset.items.ids.tolist() == ["a", "b", "c"]
    report = evaluate(table([2.0, 3.0, 1.0]), dataset, at=(1, 2))
    assert value(report, "recall@1") == value(report, "hit@1") == pytest.approx(1 / 3)
    assert value(report, "recall@2") == pytest.approx(2 / 3)
    assert value(report, "mrr@2") == pytest.approx((1 + 0 + 1 / 2) / 3)
    assert value(report, "ndcg@2") == pytest.approx((1 + 0 + 1 / log2(3)) / 3)
    assert (value(report, "coverage@1"), value(report, "coverage@2")) == pytest.approx((1 / 3, 2 / 3))
    assert list(report.metrics) == [
        *(f"{name}@{k}" for k in (1, 2) for name in ("recall", "hit", "mrr", "ndcg")),
        "novelty@1", "novelty@2", "popularity_lift@1", "popularity_lift@2", "diversity@2",
        "coverage@1", "coverage@2", "gini@1", "gini@2",
    ]  # fmt: skip


def test_ties_follow_the_protocol(table):
    """All three items equal: the target is first in one order of three."""
    dataset = world([list("abcab"), list("abcac")])
    found = {
        ties: evaluate(table([1.0, 1.0, 1.0]), dataset, protocol=EvaluationProtocol(at=(1,), ties=ties))
        for ties in ("average", "best", "worst")
    }
    assert [value(found[ties], "recall@1") for ties in found] == pytest.approx([1 / 3, 1, 0])
    assert found["worst"].protocol.ties == "worst"


def test_a_markov_chain_is_always_right_in_a_cycle():
    dataset = cycle()
    report = evaluate(Markov().fit(dataset), dataset, at=(1,))
    assert report.metrics["recall@1"] == (1, 1, 1)


def test_nothing_beats_popularity_on_noise():
    dataset = noise()
    markov, popularity = (evaluate(make().fit(dataset), dataset, at=(1, 10)) for make in (Markov, Popularity))
    assert all(gap.low <= 0 for gap in compare(markov, popularity).differences[0].values())


def test_a_markov_chain_has_no_memory():
    """8 items, and the next one is that of two events ago: recall@1 is little more than 1 / 8."""
    dataset = memory(2)
    assert value(evaluate(Markov().fit(dataset), dataset, at=(1,)), "recall@1") < 0.3


def test_seen_items_are_excluded(table):
    """c, unseen, moves from rank 3 to 1; in the second row the target b was seen, so it is a miss."""
    dataset = world([list("abac"), list("cabab")], valid=0, test=1)
    scores = table([3.0, 2.0, 1.0])
    kept, left_out = (evaluate(scores, dataset, at=(1,), exclude_seen=seen) for seen in (False, True))
    assert (value(kept, "recall@1"), value(left_out, "recall@1")) == (0, 1 / 2)
    assert left_out.notes[:-1] == (
        "1 of 2 targets (50.0%) were seen earlier in their sequence. They are not candidates and count as misses.",
    )


def test_seen_items_are_those_before_the_target(table):
    """For the target b the item a before it is excluded, but not the other way round."""
    dataset = world([list("aabc"), list("bbca"), list("abca"), list("cccab")], valid=0, test=2)
    report = evaluate(table([3.0, 2.0, 1.0]), dataset, at=(1,), exclude_seen=True)
    # row 1: b with a hidden -> rank 1; c with a, b hidden -> rank 1
    # row 2: c with b hidden -> rank 2; a with b, c hidden -> rank 1
    # row 3: c with a, b hidden -> rank 1; a was seen -> miss
    # row 4: a with c hidden -> rank 1; b with a, c hidden -> rank 1
    assert value(report, "recall@1") == pytest.approx((1 + 1 + 0 + 1 + 1 + 0 + 1 + 1) / 8)


def test_cold_targets_are_misses_with_their_own_slice(table):
    """One of four targets is cold; the three warm ones are all first."""
    dataset = world([list("abab"), list("baab"), list("abaz"), list("baab")], valid=0, test=1)
    report = evaluate(table([1.0, 2.0]), dataset, at=(1, 2))
    assert value(report, "recall@2") == 3 / 4
    assert {name: part.targets for name, part in report.slices.items() if part.of == "item"} == {
        "warm": 3,
        "cold": 1,
    }
    assert report.slices["warm"].metrics["recall@1"] == (1, 1, 1)
    assert report.slices["cold"].metrics["recall@2"] == (0, None, None)
    assert report.notes[0] == (
        "1 of 4 targets (25.0%) are cold: their item is not in the training part. They count as misses."
    )


def test_cold_items_in_the_history_are_skipped():
    """After a, z the last item of the Markov chain is still a, which b follows."""
    dataset = world([list("ababab"), list("ababazb")], valid=0, test=2)
    report = evaluate(Markov().fit(dataset), dataset, at=(1,), options=EvaluationOptions(resamples=0))
    # targets a, b of row 1 and z, b of row 2
    assert value(report, "recall@1") == 3 / 4


def test_targets_with_the_time_of_the_event_before_have_a_note(table):
    """The last two events of row 1 have the time of the one before."""
    dataset = world([list("abab"), list("baba")], valid=0, test=2)
    dataset.time_ms[2:4] = dataset.time_ms[1]
    dataset.value[:] = range(8)  # so that no event is a duplicate
    report = evaluate(table([1.0, 2.0]), dataset, at=(1,))
    found = {name: part.targets for name, part in report.slices.items() if part.of == "time"}
    assert found == {"new_time": 2, "same_time": 2}
    assert report.notes[0] == (
        "2 of 4 targets (50.0%) have the same time as the event before them, such as the lines of one "
        "basket. Their order is that of the input, not behaviour, and a model may have learned how the input was written."
    )


def test_equal_times_of_all_targets_have_a_note_but_no_slices(table):
    dataset = world([list("abab"), list("baba")], valid=0, test=2)
    dataset.time_ms[:] = 0
    dataset.value[:] = range(8)  # so that no event is a duplicate
    report = evaluate(table([1.0, 2.0]), dataset, at=(1,))
    assert not {"time", "gap"} & {part.of for part in report.slices.values()}
    assert "4 of 4 targets (100.0%) have the same time" in report.notes[0]


def test_the_query_time_can_be_withheld(fading):
    dataset = cycle(items=6, sequences=20)
    with_time, without_time = (
        evaluate(fading(6), dataset, protocol=EvaluationProtocol(at=(1, 2, 3), query_time=given))
        for given in (True, False)
    )
    assert value(with_time, "recall@1") != value(without_time, "recall@1")
    assert without_time.protocol.query_time is False


def test_min_history_counts_events_before_the_target():
    """Rows of 3 and 6 events with two targets each: with 3 events before a target, one row is left."""
    dataset = world([list("aba"), list("ababab")], valid=0, test=2)
    popularity = Popularity().fit(dataset)
    assert evaluate(popularity, dataset, at=(1,)).targets == 4
    assert evaluate(popularity, dataset, at=(1,), min_history=3).targets == 2


def test_values_do_not_depend_on_batches_and_seeds(hard, fading):
    model = fading(hard.items.warm)
    whole = evaluate(model, hard, at=(1, 5))
    cut = evaluate(
        model, hard, at=(5, 1, 1), options=EvaluationOptions(events_per_batch=10, max_steps=3, seed=8)
    )
    assert whole.protocol.at == cut.protocol.at == (1, 5)
    assert {n: i.value for n, i in whole.metrics.items()} == {n: i.value for n, i in cut.metrics.items()}


def test_quick_options_give_the_same_values_and_nothing_else(hard, fading):
    model = fading(hard.items.warm)
    quick, whole = (
        evaluate(model, hard, part="valid", at=(3,), options=o) for o in (QUICK, EvaluationOptions())
    )
    beyond = {"novelty@3", "popularity_lift@3", "diversity@3", "coverage@3", "gini@3"}
    assert set(whole.metrics) - set(quick.metrics) == beyond
    assert (quick.slices, quick.calibration) == ({}, None)
    assert all(interval == (value(whole, name), None, None) for name, interval in quick.metrics.items())


def test_the_sums_of_the_sequences_add_up(hard, fading):
    report = evaluate(fading(hard.items.warm), hard, at=(5,))
    column = report.sums.metrics.index("ndcg@5")
    assert report.sums.targets_S.sum() == report.targets
    assert report.sums.sum_SM[:, column].sum() / report.targets == pytest.approx(value(report, "ndcg@5"))
    assert report.data.sequences == len(report.sums.row_S) == len(set(report.sums.row_S.tolist()))


@pytest.mark.parametrize(
    ("at", "message"),
    [
        ((10, 50), "k=50 is above the catalogue of 12 items (those seen in training); choose a smaller k"),
        ((0, 10), "each length in at must be at least 1, got 0"),
        ((), "at must contain at least one length, such as (10, 20), got none"),
    ],
)
def test_invalid_list_lengths_are_errors(at, message):
    dataset = cycle(items=12)
    with pytest.raises(ConfigError) as error:
        evaluate(Popularity().fit(dataset), dataset, at=at)
    assert str(error.value) == message


def test_an_invalid_tie_rule_is_an_error():
    with pytest.raises(ConfigError, match="ties must be 'average', 'best' or 'worst', got 'random'"):
        EvaluationProtocol(ties="random")


def test_invalid_resamples_are_an_error(table):
    with pytest.raises(ConfigError, match="resamples must be at least 0"):
        EvaluationOptions(resamples=-1)


def test_a_part_without_targets_is_an_error():
    dataset = world([list("abab")], valid=0, test=0)
    with pytest.raises(
        DataError, match="the test part has no target: none of its 0 events has 1 or more before it"
    ):
        evaluate(Popularity().fit(dataset), dataset, at=(1,))


COUNTING: list[Fittable] = [
    Popularity(), RecentPopularity(), SessionPopularity(), Markov(), Cooccurrence(window=1), ItemKNN(), SessionKNN(),
]  # fmt: skip


@pytest.mark.parametrize("spec", COUNTING, ids=str)
def test_a_counting_model_does_not_count_the_part_it_is_evaluated_on(
    spec: Fittable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """a b occurs in the validation part only: it is counted for the test part, but not for the validation part."""
    dataset = world([list("cdcdabcd"), list("dcdcabdc"), list("cdacabcd"), list("dcbdabdc")], valid=2, test=2)
    model = spec.fit(dataset)
    assert isinstance(model, WindowScorer)
    seen: list[torch.Tensor] = []
    after_a = torch.tensor([[0] * model.window + [dataset.items.index("a")]])[:, 1:]

    def recorded(batch: Batch, state: State | None = None) -> tuple[torch.Tensor, State]:
        seen.append(model.score_windows(after_a))
        return type(model).score_batch(model, batch, state)

    monkeypatch.setattr(model, "score_batch", recorded)
    with_validation = model.score_windows(after_a)
    evaluate(model, dataset, part="valid", at=(1,))
    evaluate(model, dataset, part="test", at=(1,))
    assert not torch.equal(seen[0], with_validation)
    assert torch.equal(seen[-1], with_validation)
    assert torch.equal(model.score_windows(after_a), with_validation)
    model.count(dataset, before="valid")
    assert torch.equal(model.score_windows(after_a), seen[0])
