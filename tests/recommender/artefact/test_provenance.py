import dataclasses
import json

import numpy as np

from reprise.data.dataset import SequenceDataset
from reprise.recommender.artefact.provenance import describe_data


def test_the_facts_are_json_and_hold_no_key_of_a_user(log: SequenceDataset) -> None:
    keyed = dataclasses.replace(log, users=np.array([f"user{n}" for n in range(len(log))], dtype=object))
    text = json.dumps(describe_data(keyed))
    assert "user" not in text
    assert json.loads(text)["parts"] == {"train": 240, "valid": 30, "test": 30}
