import copy
import json
from dataclasses import replace
from pathlib import Path

import pytest

from reprise.errors import ArtefactError, DataError
from reprise.evaluation.options import EvaluationOptions
from reprise.evaluation.protocol import EvaluationProtocol
from reprise.report.comparison_file import ComparisonRecord
from reprise.report.reproduce import check_same, options_of, protocol_of, sources_of


def test_the_protocol_and_the_options_are_read_from_the_file(comparison: ComparisonRecord) -> None:
    comparison["protocol"] |= {"part": "valid", "exclude_seen": True, "min_history": 3, "ties": "worst"}
    comparison["options"] |= {"resamples": 50, "events_per_batch": 100}
    assert protocol_of(comparison) == EvaluationProtocol("valid", (5, 10), True, 3, True, "worst")
    assert options_of(comparison) == replace(EvaluationOptions(), resamples=50, events_per_batch=100)


def test_options_of_earlier_reports_are_read(comparison: ComparisonRecord) -> None:
    """Ties and the query time were options too, and two options had other names."""
    comparison["options"] = {
        "ties": "average", "lists": True, "slices": False, "calibration": True, "query_time": True, "resamples": 1000,
        "level": 0.95, "seed": 0, "tokens": 4096, "length": 128, "progress": True, "leaks": True,
    }  # fmt: skip
    assert options_of(comparison) == EvaluationOptions(slices=False, events_per_batch=4096, max_steps=128)


def test_a_damaged_protocol_is_an_error(comparison: ComparisonRecord) -> None:
    del comparison["protocol"]["part"]
    with pytest.raises(ArtefactError, match=r"the protocol of the report is damaged \(KeyError\('part'\)\)"):
        protocol_of(comparison)


def test_an_unknown_option_is_an_error(comparison: ComparisonRecord) -> None:
    comparison["options"]["resampels"] = 1
    with pytest.raises(ArtefactError, match="the options of the report are damaged"):
        options_of(comparison)


def test_missing_run_is_an_error(
    comparison: ComparisonRecord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for entrant in comparison["entrants"]:
        for run in entrant["runs"]:
            Path(run).mkdir(parents=True)
    runs, baselines = sources_of(comparison)
    assert [str(run) for run in runs] == ["runs/gru-1-x-8-1", "runs/gru-1-x-8-2", "runs/lstm-1-x-8-1"]
    assert baselines == ["popularity"]
    runs[1].rmdir()
    with pytest.raises(ArtefactError, match="compared the run runs/gru-1-x-8-2, which no longer exists"):
        sources_of(comparison)


def test_times_may_differ_but_values_may_not(comparison: ComparisonRecord) -> None:
    again = copy.deepcopy(comparison)
    again["made"] = "2027-01-01T00:00:00+00:00"
    again["entrants"][0]["evaluated_s"] = [99.0]
    assert check_same(comparison, again) > 100
    again["entrants"][1]["pooled"]["metrics"]["ndcg@10"]["value"] += 1e-12
    with pytest.raises(
        DataError, match="the report was not reproduced: gru 1 x 8, pooled, metrics, ndcg@10, value was 0"
    ):
        check_same(comparison, again)


def test_another_number_of_models_is_an_error(comparison: ComparisonRecord) -> None:
    again = copy.deepcopy(comparison)
    again["verdicts"].pop()
    with pytest.raises(DataError, match="the report was not reproduced: verdicts was"):
        check_same(comparison, again)


def test_sentences_and_new_keys_are_not_compared(comparison: ComparisonRecord) -> None:
    """Another version may word sentences differently, add keys, and round a p-value differently."""
    again = copy.deepcopy(comparison)
    again["verdicts"][0]["sentence"] = "Other words."
    again["entrants"][0]["pooled"]["protocol"]["notes"] = ["Another note."]
    again["entrants"][0]["pooled"]["protocol"]["hash"] = "0123456789ab"
    again["verdicts"][0]["p"] = comparison["verdicts"][0]["p"] * (1 + 1e-12)
    again["entrants"][1]["pooled"]["metrics"]["ndcg@10"]["low"] += 1e-12
    assert check_same(comparison, again) == check_same(comparison, comparison)
    again["entrants"][1]["pooled"]["metrics"]["ndcg@10"]["low"] += 1e-6
    with pytest.raises(
        DataError, match="the report was not reproduced: gru 1 x 8, pooled, metrics, ndcg@10, low was"
    ):
        check_same(comparison, again)


def test_another_model_is_an_error(comparison: ComparisonRecord) -> None:
    again = copy.deepcopy(comparison)
    again["entrants"].append({**again["entrants"][0], "name": "another"})
    with pytest.raises(
        DataError, match=r"the report was not reproduced: its models were .* and are .*'another'\] now"
    ):
        check_same(comparison, again)


def test_a_baseline_may_have_another_name_in_another_version(comparison: ComparisonRecord) -> None:
    name = next(entrant["name"] for entrant in comparison["entrants"] if entrant["baseline"])
    again: ComparisonRecord = json.loads(json.dumps(comparison).replace(json.dumps(name), '"Another name"'))
    renamed = next(entrant for entrant in again["entrants"] if entrant["name"] == "Another name")
    assert check_same(comparison, again) == check_same(comparison, comparison)
    renamed["baseline"] = "markov"
    with pytest.raises(DataError, match="the report was not reproduced: its models were"):
        check_same(comparison, again)
