import numpy as np
import pytest
import torch

from reprise.evaluation import calibration
from reprise.evaluation.calibration import (
    Bin,
    Calibration,
    equal_mass,
    expected_error,
    gives_logits,
    probabilities,
)
from reprise.evaluation.evaluator import evaluate
from reprise.evaluation.options import EvaluationOptions
from reprise.evaluation.protocol import EvaluationProtocol
from reprise.evaluation.ranking.ranks import score_rows
from reprise.evaluation.ranking.targets import evaluation_mode, score_batches
from reprise.models.baselines.markov import Markov
from reprise.models.networks.recurrent import Recurrent
from reprise.testing.worlds import noise, world


@pytest.fixture
def logits(table):
    """Return a scorer whose scores are logits."""

    class Logits(table):
        logits = True

    return Logits


def test_bins_have_equally_many_targets():
    confidence_N, right_N = np.array([0.9, 0.1, 0.3, 0.8, 0.2]), np.array([True, False, True, False, False])
    found = equal_mass(confidence_N, right_N, 2)
    assert [part.targets for part in found] == [3, 2]
    assert found[0] == (pytest.approx(0.2), pytest.approx(1 / 3), 3)
    assert found[1] == (pytest.approx(0.85), pytest.approx(1 / 2), 2)
    assert expected_error(found) == pytest.approx((3 * (1 / 3 - 0.2) + 2 * (0.85 - 1 / 2)) / 5)


def test_there_are_at_most_as_many_bins_as_targets():
    assert len(equal_mass(np.array([0.2, 0.4]), np.array([True, False]), 15)) == 2


def test_the_first_of_equal_items_has_the_lowest_index():
    """a and b score the same; only a is the first item. Cold and excluded targets have no probability."""
    s_CI = torch.tensor([[0.0, 0.0, -50.0]] * 3 + [[0.0, -torch.inf, 0.0]])
    confidence, right, loss = probabilities(s_CI, torch.tensor([1, 2, 9, 2]))
    assert right.tolist() == [True, False, False, False]
    assert confidence.tolist() == pytest.approx([1 / 2] * 4)
    assert loss.tolist() == pytest.approx([np.log(2), np.log(2), np.inf, np.inf])


def test_small_probabilities_do_not_underflow():
    """200 nats below the first item, where exp is 0 in float32."""
    _, _, loss = probabilities(torch.tensor([[0.0, -200.0]]), torch.tensor([2]))
    assert loss.item() == 200


def test_values_of_three_targets(logits):
    """Logits ln 1, ln 2, ln 5 for a, b, c: c has probability 5 / 8; the targets are a, c and the cold z."""
    dataset = world([list("abca"), list("abcc"), list("abcz")], valid=0, test=1)
    found = evaluate(logits(np.log([1.0, 2.0, 5.0]).tolist()), dataset, at=(1,)).calibration
    assert all(part.confidence == pytest.approx(5 / 8) for part in found.bins)
    assert sum(part.accuracy * part.targets for part in found.bins) == 1
    assert found.log_loss == pytest.approx((np.log(8 / 1) + np.log(8 / 5)) / 2, rel=1e-6)


def test_seen_items_are_not_in_the_softmax(logits):
    """After a b only c is left. The target a was seen: wrong, without a log loss. The target c is right."""
    rows = world([list("abcab"), list("aba"), list("abc")], valid=0, test=1)
    found = evaluate(logits([3.0, 2.0, 1.0]), rows, at=(1,), exclude_seen=True).calibration
    # the first row has seen every item, so it has no candidate and is in no bin
    assert sum(part.targets for part in found.bins) == 2
    assert all(part.confidence == pytest.approx(1) for part in found.bins)
    assert found.log_loss == pytest.approx(0, abs=1e-6)
    assert found.ece == pytest.approx(1 / 2, abs=1e-6)


def test_a_model_with_the_true_probabilities_is_calibrated(logits):
    """Independent draws from known shares, with their logarithms as logits; three times as large, it is overconfident."""
    generator = np.random.default_rng(0)
    share = np.array([0.5, 0.3, 0.2])
    draws = generator.choice(3, size=(3000, 4), p=share)
    dataset = world([[f"i{item}" for item in row] for row in draws], valid=0, test=1)
    logit = np.log(share)[[int(item[1]) for item in dataset.items.ids]]
    right, sharp = (
        evaluate(
            logits((by * logit).tolist()), dataset, at=(1,), options=EvaluationOptions(resamples=0)
        ).calibration
        for by in (1, 3)
    )
    assert right.log_loss < sharp.log_loss
    accuracy = sum(part.accuracy * part.targets for part in right.bins) / 3000
    assert accuracy == pytest.approx(0.5, abs=0.03)
    # all confidences are equal: the error is only that of the accuracies of bins with 200 targets
    assert right.ece < 0.05
    assert sharp.ece == pytest.approx(0.5**3 / (0.5**3 + 0.3**3 + 0.2**3) - accuracy, abs=0.03)


def test_the_log_loss_equals_the_cross_entropy():
    """A network, with two batch sizes."""
    dataset = noise(items=20, sequences=40, length=12)
    torch.manual_seed(0)
    model = Recurrent(size=8, layers=1).build(dataset.sizes)
    assert gives_logits(model)
    whole, cut = (
        evaluate(model, dataset, at=(1,), options=options).calibration
        for options in (EvaluationOptions(), EvaluationOptions(events_per_batch=16, max_steps=4))
    )
    assert cut.log_loss == pytest.approx(whole.log_loss, rel=1e-5)
    assert cut.ece == pytest.approx(whole.ece, abs=1e-5)
    losses = []
    with evaluation_mode(model):
        for batch, scores in score_batches(model, dataset, EvaluationProtocol()):
            target_N = batch.target_items()
            rows = []
            score_rows(scores, None, lambda s_CI, rows=rows: rows.append(s_CI.clone()))
            losses.append(torch.nn.functional.cross_entropy(torch.cat(rows), target_N - 1, reduction="none"))
    assert whole.log_loss == pytest.approx(float(torch.cat(losses).mean()), rel=1e-5)


def test_many_targets_are_sampled_with_a_note(monkeypatch, logits):
    monkeypatch.setattr(calibration, "MAX_TARGETS", 30)
    dataset = noise()
    model = logits(list(range(50)))
    one, same = (
        evaluate(model, dataset, at=(1,), options=EvaluationOptions(events_per_batch=events, seed=4))
        for events in (8192, 60)
    )
    assert sum(part.targets for part in one.calibration.bins) == 30
    assert one.calibration == same.calibration
    assert one.notes[-2] == "Calibration is over 30 targets drawn with seed 4."


def test_counting_models_have_no_calibration():
    dataset = noise()
    assert evaluate(Markov().fit(dataset), dataset, at=(1,)).calibration is None


def test_calibration_can_be_turned_off(logits):
    dataset = noise()
    options = EvaluationOptions(calibration=False)
    assert evaluate(logits([0.0] * 50), dataset, at=(1,), options=options).calibration is None


def test_json_and_text():
    found = Calibration(0.25, (Bin(0.5, 0.25, 4),), 1.0)
    assert found.to_dict() == {
        "ece": 0.25,
        "bins": [{"confidence": 0.5, "accuracy": 0.25, "targets": 4}],
        "log_loss": 1.0,
    }
    assert str(found).splitlines()[0] == "calibration: ECE 0.2500, log loss 1.0000 (perplexity 2.7)"
    assert str(found).splitlines()[-1] == "0.500: 0.250"
