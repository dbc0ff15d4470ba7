import dataclasses
import json
from pathlib import Path

import numpy as np

from reprise.data.dataset import SequenceDataset
from reprise.evaluation.evaluator import evaluate
from reprise.models.networks.sequence_model import SequenceModel
from reprise.recommender import Recommender
from reprise.recommender.artefact.model_card import describe_data


def card_of(shop: Recommender, path: Path, **options: object) -> str:
    shop.save(path, **options)  # type: ignore[arg-type]
    return (path / "README.md").read_text()


def test_the_card_states_known_fields_and_marks_unknown_ones(shop: Recommender, tmp_path: Path) -> None:
    card = card_of(shop, tmp_path / "m")
    for line in [
        "# rglru 2 x 16",
        "- network: reprise:Recurrent",
        f"- fingerprint: `{shop.artefact.metadata['data']['fingerprint']}`",
        "- sequences: 30",
        "- events: 300 (240 train, 30 valid, 30 test)",
        "- items: 13, of which 12 occur in training",
        "- dates: 1970-01-02T00:00:00+00:00 to 1970-01-02T00:09:00+00:00",
        "- epochs: 3",
        "No evaluation was recorded.",
        "- licence: not stated",
    ]:
        assert line in card.splitlines()
    assert "1 further known item has no vector" in card


def test_the_card_names_the_corrections_of_the_scores(
    shop: Recommender, rich_shop: Recommender, tmp_path: Path
) -> None:
    everything = (
        "- corrections of the scores: co-occurrence with the last items; similarity to the last items over sessions; "
        "repeats of the last items"
    )
    assert everything in card_of(rich_shop, tmp_path / "rich").splitlines()
    assert "- corrections of the scores: none" in card_of(shop, tmp_path / "plain").splitlines()
    metadata = {name: value for name, value in shop.artefact.metadata.items() if name != "corrections"}
    older = Recommender.of(dataclasses.replace(shop.artefact, metadata=metadata))
    assert "corrections of the scores" not in card_of(older, tmp_path / "older")


def test_the_card_says_that_counts_reveal_membership_and_of_how_many_users_they_are(
    shop: Recommender, rich_shop: Recommender, tmp_path: Path
) -> None:
    def with_counts(**counts: object) -> str:
        metadata = {**rich_shop.artefact.metadata, "counts": counts}
        other = Recommender.of(dataclasses.replace(rich_shop.artefact, metadata=metadata))
        return card_of(other, tmp_path / "changed")

    assert rich_shop.artefact.metadata["counts"]["pair_users"] >= 1
    assert (
        "item pairs, each pair made by at least 3 different users. Counts reveal membership"
        in with_counts(pair_users=3)
    )
    assert "item pairs, each pair made by one user or more. Counts reveal membership" in with_counts(
        pair_users=1
    )
    assert "- The files contain no counts of item pairs.\n" in card_of(shop, tmp_path / "plain")
    assert "no counts of item pairs. They were left out when the model was saved." in with_counts(
        left_out=True
    )


def test_the_card_of_an_older_model_with_counts_promises_no_number_of_users(
    rich_shop: Recommender, tmp_path: Path
) -> None:
    metadata = {name: value for name, value in rich_shop.artefact.metadata.items() if name != "counts"}
    older = Recommender.of(dataclasses.replace(rich_shop.artefact, metadata=metadata))
    assert "each pair made by one user or more" in card_of(older, tmp_path / "older")
    del metadata["corrections"]
    oldest = Recommender.of(dataclasses.replace(rich_shop.artefact, metadata=metadata))
    assert "counts of item pairs" not in card_of(oldest, tmp_path / "oldest")


def test_the_card_has_metrics_with_intervals_and_protocol(
    shop: Recommender, model: SequenceModel, log: SequenceDataset, tmp_path: Path
) -> None:
    report = evaluate(model, log, at=(5,))
    recall = report.metrics["recall@5"]
    card = card_of(shop, tmp_path / "m", report=report)
    assert f"| recall@5 | {recall.value:.4f} ({recall.low:.4f} to {recall.high:.4f}) |" in card
    assert f"Measured on {report.targets} targets, with this protocol:" in card
    assert f"- dataset: {log.fingerprint}" in card
    assert "- exclude seen: False" in card


def test_a_report_is_kept_when_a_loaded_model_is_saved(
    shop: Recommender, model: SequenceModel, log: SequenceDataset, tmp_path: Path
) -> None:
    report = evaluate(model, log, at=(5,)).to_dict()
    shop.save(tmp_path / "first", report)
    Recommender.load(tmp_path / "first").save(tmp_path / "second")
    assert "| recall@5 |" in (tmp_path / "second" / "README.md").read_text()


def test_the_card_has_the_given_attribution(shop: Recommender, tmp_path: Path) -> None:
    card = card_of(shop, tmp_path / "m", attribution={"licence": "CC BY 4.0", "data": "A log"})
    assert "- licence: CC BY 4.0" in card.splitlines()
    assert "- data: A log" in card.splitlines()
    assert "- author: not stated" in card.splitlines()


def test_the_code_on_the_card_runs(shop: Recommender, tmp_path: Path) -> None:
    card = card_of(shop, tmp_path / "m")
    code = card.split("```python\n")[1].split("```")[0]
    exec(code.replace("path/of/this/directory", str(tmp_path / "m")), {})


def test_the_description_of_the_data_is_json_without_user_keys(log: SequenceDataset) -> None:
    keyed = dataclasses.replace(log, users=np.array([f"user{n}" for n in range(len(log))], dtype=object))
    text = json.dumps(describe_data(keyed))
    assert "user" not in text
    assert json.loads(text)["parts"] == {"train": 240, "valid": 30, "test": 30}


def test_the_card_has_the_canaries_of_an_audit(shop: Recommender, tmp_path: Path) -> None:
    rate = {"value": 0.5, "low": 0.4, "high": 0.6}
    bound = {"epsilon": 1.25, "delta": 1e-5, "level": 0.95, "largest": 4.0}
    exposure = {"0.0": 2.0, "0.25": 4.0, "0.5": 9.0, "0.75": 10.0, "1.0": 12.0}
    audit = {
        "protocol": {"members": 200, "others": 300, "unit": "user", "targets": 40},
        "references": {"for_each_user": 2},
        "attacks": [
            {
                "name": "loss/network",
                "auc": rate,
                "points": [{"fpr": 0.01, "false_positives": 3, "tpr": rate}],
            }
        ],
        "canaries": {
            "inserted": 20,
            "left_out": 20,
            "events": 10,
            "comparisons": 4095,
            "results": {"network": {"exposure": exposure, "epsilon": bound}},
        },
    }
    audited = Recommender.of(shop.artefact.with_metadata(audit=audit))
    card = card_of(audited, tmp_path / "m")
    assert "The calibrated attacks use 2 reference models for each user." in card
    assert "| loss/network | 0.5000 (0.4000 to 0.6000) | 0.5000 (0.4000 to 0.6000) |" in card.splitlines()
    assert "The false positive rates rest on few others: 1.0% on 3." in card
    assert "median exposure 9.0 bits (2.0 to 12.0; 1 bit without memory); epsilon is at least 1.25" in card


def test_a_card_without_an_audit_says_so_and_what_counts_reveal(
    rich_shop: Recommender, tmp_path: Path
) -> None:
    card = card_of(rich_shop, tmp_path / "rich")
    assert "No audit was made" in card and "Counts reveal membership" in card
