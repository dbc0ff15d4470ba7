import copy
from pathlib import Path

import pytest

from reprise.errors import ArtefactError, DataError
from reprise.report.comparison_file import Comparison
from reprise.report.reproduce import check_same, entrants_of, questions_of


def test_what_was_asked_comes_from_the_protocol(study: Comparison) -> None:
    study["protocol"] |= {"part": "valid", "exclude_seen": True, "min_history": 3}
    study["options"] |= {"resamples": 50, "ties": "worst"}
    asked = questions_of(study)
    assert (asked.part, asked.at, asked.exclude_seen, asked.min_history) == ("valid", (5, 10), True, 3)
    assert (asked.options.resamples, asked.options.ties, asked.judged) == (50, "worst", "ndcg@10")


@pytest.mark.parametrize("spoil", ["part", "resampels"])
def test_a_damaged_protocol_is_told(study: Comparison, spoil: str) -> None:
    study["protocol"].pop(spoil, None)
    study["options"][spoil] = 1
    with pytest.raises(ArtefactError, match="the protocol of the report is damaged"):
        questions_of(study)


def test_a_run_that_is_gone_is_told(
    study: Comparison, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for entrant in study["entrants"]:
        for run in entrant["runs"]:
            Path(run).mkdir(parents=True)
    runs, baselines = entrants_of(study)
    assert [str(run) for run in runs] == ["runs/gru-1-x-8-1", "runs/gru-1-x-8-2", "runs/lstm-1-x-8-1"]
    assert baselines == ["popularity"]
    runs[1].rmdir()
    with pytest.raises(
        ArtefactError, match="compared the run runs/gru-1-x-8-2, and it is not there any more"
    ):
        entrants_of(study)


def test_times_may_differ_and_numbers_may_not(study: Comparison) -> None:
    again = copy.deepcopy(study)
    again["made"] = "2027-01-01T00:00:00+00:00"
    again["entrants"][0]["evaluated_s"] = [99.0]
    assert check_same(study, again) > 100
    again["entrants"][1]["pooled"]["metrics"]["ndcg@10"]["low"] += 1e-12
    with pytest.raises(
        DataError, match="the report does not repeat: gru 1 x 8, pooled, metrics, ndcg@10, low was 0"
    ):
        check_same(study, again)


def test_a_model_more_or_less_is_told(study: Comparison) -> None:
    again = copy.deepcopy(study)
    again["verdicts"].pop()
    with pytest.raises(DataError, match="the report does not repeat: verdicts was"):
        check_same(study, again)
