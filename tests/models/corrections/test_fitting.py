import numpy as np
import pytest
import torch

from reprise.data.dataset import SequenceDataset
from reprise.data.vocabulary import PAD
from reprise.models.corrections import fitting
from reprise.models.corrections.cooccurrence import CooccurrenceCorrection
from reprise.models.corrections.fitting import CalibrationExamples, find_calibration_examples, fit_corrections
from reprise.testing.worlds import cycle, memory, noise, world


@pytest.fixture
def small() -> SequenceDataset:
    """Training parts a b a b c and a b c c; validation b a d and a c a. d is cold, the last event is a test event."""
    return world([list("ababcbadx"), list("abccacax")], valid=3, test=1)


def names(dataset: SequenceDataset, item: torch.Tensor) -> list[str]:
    return ["-" if index == PAD else str(dataset.items.ids[index - 1]) for index in item.tolist()]


def test_examples_are_warm_targets_with_their_windows(small: SequenceDataset) -> None:
    examples = find_calibration_examples(small, "valid", 3)
    assert examples.position_N.tolist() == [5, 6, 13, 14, 15]
    assert names(small, examples.target_N) == ["b", "a", "a", "c", "a"]
    assert names(small, examples.recent.item_NW[0]) == ["a", "b", "c"]
    assert names(small, examples.recent.item_NW[4]) == ["c", "a", "c"]
    assert len(examples.hidden_P) == 0


def test_short_histories_are_padded_and_cold_items_skipped() -> None:
    """Training a b, validation x a. x is cold, so it is neither a target nor in the window of a."""
    dataset = world([list("abxa")], valid=2, test=0)
    examples = find_calibration_examples(dataset, "valid", 4)
    assert [names(dataset, recent) for recent in examples.recent.item_NW] == [["-", "-", "a", "b"]]


def test_exclude_seen_hides_earlier_items_and_drops_repeated_targets(small: SequenceDataset) -> None:
    """In `small` every warm validation event repeats an item, so no example is left."""
    assert len(find_calibration_examples(small, "valid", 3, exclude_seen=True).target_N) == 0
    dataset = world([list("abac"), list("cbbb")], valid=1, test=0)
    examples = find_calibration_examples(dataset, "valid", 2, exclude_seen=True)
    assert names(dataset, examples.target_N) == ["c"]
    first, last = examples.start.tolist()
    assert names(dataset, examples.hidden_P[first:last]) == ["a", "b", "a"]


def test_a_large_part_is_sampled_uniformly() -> None:
    dataset = noise(sequences=200)
    every, some = (
        find_calibration_examples(dataset, "valid", 3),
        find_calibration_examples(dataset, "valid", 3, limit=50),
    )
    assert (len(every.target_N), len(some.target_N)) == (400, 50)
    index_N = np.searchsorted(every.position_N, some.position_N)
    assert (np.diff(some.position_N) > 0).all()
    assert torch.equal(every.recent.item_NW[index_N], some.recent.item_NW)
    assert np.diff(some.position_N).max() < 1000


def fit_on(
    dataset: SequenceDataset, logits: torch.Tensor | None = None, gce_q: float = fitting.GCE_Q
) -> tuple[CooccurrenceCorrection, CalibrationExamples, fitting.Fit]:
    correction = CooccurrenceCorrection(dataset.items.warm, window=3, neighbours=20)
    correction.count(dataset)
    examples = find_calibration_examples(dataset, "valid", 3)
    flat_I = torch.zeros(dataset.items.warm)
    return correction, examples, fit_corrections(
        correction, None, examples, lambda index_C: flat_I.expand(len(index_C), -1) if logits is None else logits[index_C],
        gce_q,
    )  # fmt: skip


def test_a_step_on_a_large_catalogue_has_fewer_examples(monkeypatch: pytest.MonkeyPatch) -> None:
    """4,000 logits among 50 items are 80 examples; 400 logits would be 8, but a step has at least 16."""
    dataset = noise(sequences=200)
    examples = find_calibration_examples(dataset, "valid", 3)
    found = {}
    for logits in (4000, 400):
        monkeypatch.setattr(fitting, "LOGITS_PER_STEP", logits)
        sizes = []

        def base(index_C: torch.Tensor, sizes: list[int] = sizes) -> torch.Tensor:
            sizes.append(len(index_C))
            return torch.zeros(len(index_C), 50)

        correction = CooccurrenceCorrection(50, window=3, neighbours=20)
        correction.count(dataset)
        fit_corrections(correction, None, examples, base, steps=3)
        found[logits] = max(sizes)
    assert found == {4000: 80, 400: 16}


def misleading_counts() -> SequenceDataset:
    """Item i is followed by i + 1 in training; in the last two events of every third sequence by a random item."""
    generator = np.random.default_rng(0)
    rows = []
    for start in range(240):
        row = [(start + step) % 9 for step in range(12)]
        rows.append(row[:-2] + [int(generator.integers(9)) for _ in range(2)] if start % 3 == 0 else row)
    return world([[f"i{at}" for at in row] for row in rows], valid=1, test=1)


def test_predictive_counts_reduce_the_loss() -> None:
    _, _, fit = fit_on(cycle(items=9, sequences=200))
    assert fit.loss_before == pytest.approx((1 - 9**-fitting.GCE_Q) / fitting.GCE_Q)
    assert fit.loss_after < 0.3


def test_gce_q_of_zero_is_log_loss() -> None:
    assert fit_on(cycle(items=9, sequences=200), gce_q=0.0)[2].loss_before == pytest.approx(np.log(9))


def test_gce_gives_more_confident_counts_than_log_loss() -> None:
    """The counts are right for two targets of three and wrong for the third, which log loss penalises more."""
    confidence = []
    for gce_q in (fitting.GCE_Q, 0.0):
        correction, examples, _ = fit_on(misleading_counts(), gce_q=gce_q)
        logits_NI = torch.zeros(len(examples.target_N), 9)
        correction(examples.recent.item_NW).add_to(logits_NI)
        confidence.append(logits_NI.softmax(1).amax(1).mean().item())
    assert confidence[0] > confidence[1] + 0.1


def test_the_fit_finds_the_predictive_distance() -> None:
    """The target is always the item of two events ago."""
    correction, _, _ = fit_on(memory(2, items=12))
    oldest, second, newest = correction.distance.tolist()
    assert second > max(oldest, newest) + 1


def test_random_counts_do_not_change_a_perfect_ranking() -> None:
    dataset = noise(items=20, sequences=300)
    examples = find_calibration_examples(dataset, "valid", 3)
    perfect = 12 * torch.nn.functional.one_hot(examples.target_N - 1, dataset.items.warm).float()
    correction, _, fit = fit_on(dataset, perfect)
    assert fit.loss_after <= fit.loss_before < 0.01
    extra = correction(examples.recent.item_NW)
    changed = perfect.clone()
    extra.add_to(changed)
    assert (changed.argmax(1) + 1 == examples.target_N).all()


def test_the_gain_is_relative_to_unscaled_base_logits() -> None:
    """The fit scales down logits that are thirty times too large, and the final gain compensates for that."""
    dataset = cycle(items=9, sequences=200)
    torch.manual_seed(0)
    noisy = torch.randn(len(find_calibration_examples(dataset, "valid", 3).target_N), 9)
    gains = [fit_on(dataset, noisy * times)[0].gain.item() for times in (1.0, 30.0)]
    assert gains[1] > 2 * gains[0] > 0


def test_without_examples_the_parameters_keep_their_defaults() -> None:
    dataset = world([list("abab"), list("baba")], valid=0, test=1)
    correction, _, fit = fit_on(dataset)
    fresh = CooccurrenceCorrection(dataset.items.warm, window=3, neighbours=20)
    assert fit == (0, 0.0, 0.0)
    assert correction.gain.item() == fitting.INITIAL_GAIN
    assert torch.equal(correction.powers, fresh.powers)


def test_fits_are_deterministic() -> None:
    first, second = (fit_on(noise(items=9, sequences=40))[0] for _ in range(2))
    for one, other in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(one, other)
