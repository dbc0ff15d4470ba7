import numpy as np
import pytest
import torch

from reprise.data.dataset import SequenceDataset
from reprise.data.vocabulary import PAD
from reprise.models.cooccurrence import fitting
from reprise.models.cooccurrence.correction import CooccurrenceCorrection
from reprise.models.cooccurrence.fitting import CalibrationExamples, find_calibration_examples, fit_correction
from reprise.testing.worlds import cycle, memory, noise, world


@pytest.fixture
def small() -> SequenceDataset:
    """Training parts a b a b c and a b c c; validation b a d and a c a; d is cold, and the last event is for the test."""
    return world([list("ababcbadx"), list("abccacax")], valid=3, test=1)


def names(dataset: SequenceDataset, item: torch.Tensor) -> list[str]:
    return ["-" if at == PAD else str(dataset.items.ids[at - 1]) for at in item.tolist()]


def test_cases_are_the_known_targets_with_what_came_before(small: SequenceDataset) -> None:
    cases = find_calibration_examples(small, "valid", 3)
    assert cases.position_N.tolist() == [5, 6, 13, 14, 15]
    assert names(small, cases.target_N) == ["b", "a", "a", "c", "a"]
    assert names(small, cases.recent_NW[0]) == ["a", "b", "c"]
    assert names(small, cases.recent_NW[4]) == ["c", "a", "c"]
    assert len(cases.hidden_P) == 0


def test_short_histories_are_padded_and_unknown_items_passed_over() -> None:
    """Training a b, validation x a: x is cold, so only a is a case, and x is not among what came before it."""
    dataset = world([list("abxa")], valid=2, test=0)
    cases = find_calibration_examples(dataset, "valid", 4)
    assert [names(dataset, recent) for recent in cases.recent_NW] == [["-", "-", "a", "b"]]


def test_what_was_had_is_no_candidate(small: SequenceDataset) -> None:
    """Every known validation event repeats an item here, and a repeated item is no case."""
    assert len(find_calibration_examples(small, "valid", 3, exclude_seen=True).target_N) == 0
    dataset = world([list("abac"), list("cbbb")], valid=1, test=0)
    cases = find_calibration_examples(dataset, "valid", 2, exclude_seen=True)
    assert names(dataset, cases.target_N) == ["c"]
    first, last = cases.start.tolist()
    assert names(dataset, cases.hidden_P[first:last]) == ["a", "b", "a"]


def test_a_large_part_is_sampled() -> None:
    dataset = noise(sequences=200)
    every, some = (
        find_calibration_examples(dataset, "valid", 3),
        find_calibration_examples(dataset, "valid", 3, most=50),
    )
    assert (len(every.target_N), len(some.target_N)) == (400, 50)
    place_N = np.searchsorted(every.position_N, some.position_N)
    assert (np.diff(some.position_N) > 0).all()
    assert torch.equal(every.recent_NW[place_N], some.recent_NW)
    assert np.diff(some.position_N).max() < 1000


def fitted(
    dataset: SequenceDataset, logits: torch.Tensor | None = None, focus: float = fitting.FOCUS
) -> tuple[CooccurrenceCorrection, CalibrationExamples, fitting.Fit]:
    residual = CooccurrenceCorrection(dataset.items.warm, window=3, neighbours=20)
    residual.observe(dataset)
    cases = find_calibration_examples(dataset, "valid", 3)
    flat_I = torch.zeros(dataset.items.warm)
    return residual, cases, fit_correction(
        residual, cases, lambda case_C: flat_I.expand(len(case_C), -1) if logits is None else logits[case_C],
        focus,
    )  # fmt: skip


def flattered() -> SequenceDataset:
    """Item i is followed by i + 1 while it is learned, and in every third sequence by any item afterwards."""
    chance = np.random.default_rng(0)
    rows = []
    for start in range(240):
        row = [(start + step) % 9 for step in range(12)]
        rows.append(row[:-2] + [int(chance.integers(9)) for _ in range(2)] if start % 3 == 0 else row)
    return world([[f"i{at}" for at in row] for row in rows], valid=1, test=1)


def test_counts_that_tell_the_answer_are_believed() -> None:
    _, _, fit = fitted(cycle(items=9, sequences=200))
    assert fit.before == pytest.approx((1 - 9**-fitting.FOCUS) / fitting.FOCUS)
    assert fit.after < 0.3


def test_without_focus_the_loss_is_log_loss() -> None:
    assert fitted(cycle(items=9, sequences=200), focus=0.0)[2].before == pytest.approx(np.log(9))


def test_focus_gives_up_what_is_lost_for_the_top_of_the_list() -> None:
    """Counts are right in two cases of three, and sure; in the third they mislead, which log loss would not risk."""
    sure = []
    for focus in (fitting.FOCUS, 0.0):
        residual, cases, _ = fitted(flattered(), focus=focus)
        logits_NI = torch.zeros(len(cases.target_N), 9)
        residual(cases.recent_NW).add_to(logits_NI)
        sure.append(logits_NI.softmax(1).amax(1).mean().item())
    assert sure[0] > sure[1] + 0.1


def test_the_distance_that_matters_is_found() -> None:
    """The answer is the item of two events ago."""
    residual, _, _ = fitted(memory(2, items=12))
    oldest, second, newest = residual.distance.tolist()
    assert second > max(oldest, newest) + 1


def test_counts_beside_a_network_that_knows_the_answer_are_worth_nothing() -> None:
    dataset = noise(items=20, sequences=300)
    cases = find_calibration_examples(dataset, "valid", 3)
    knows = 12 * torch.nn.functional.one_hot(cases.target_N - 1, dataset.items.warm).float()
    residual, _, fit = fitted(dataset, knows)
    assert fit.after <= fit.before < 0.01
    extra = residual(cases.recent_NW)
    changed = knows.clone()
    extra.add_to(changed)
    assert (changed.argmax(1) + 1 == cases.target_N).all()


def test_the_base_keeps_its_unit() -> None:
    """Logits that are thirty times too large are weighted down while the search lasts; in the end the gain is in their unit."""
    dataset = cycle(items=9, sequences=200)
    torch.manual_seed(0)
    noisy = torch.randn(len(find_calibration_examples(dataset, "valid", 3).target_N), 9)
    gains = [fitted(dataset, noisy * times)[0].gain.item() for times in (1.0, 30.0)]
    assert gains[1] > 2 * gains[0] > 0


def test_without_cases_nothing_is_learned() -> None:
    dataset = world([list("abab"), list("baba")], valid=0, test=1)
    residual, _, fit = fitted(dataset)
    fresh = CooccurrenceCorrection(dataset.items.warm, window=3, neighbours=20)
    assert fit == (0, 0.0, 0.0)
    assert residual.gain.item() == fitting.FIRST_GAIN
    assert torch.equal(residual.powers, fresh.powers)


def test_the_same_search_twice() -> None:
    first, second = (fitted(noise(items=9, sequences=40))[0] for _ in range(2))
    for one, other in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(one, other)
