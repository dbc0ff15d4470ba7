"""The memory of an evaluation does not grow with the number of targets times the number of items."""

import subprocess
import sys

import pytest

SCRIPT = """
import resource
import sys

import numpy as np
import pyarrow as pa
import torch

import reprise as rp
from reprise.data.dataset import SequenceDataset
from reprise.data.vocabulary import Vocabulary
from reprise.evaluation.options import EvaluationOptions
from reprise.models.baselines.markov import Markov
from reprise.models.corrections.score_corrections import ScoreCorrections

ITEMS, WIDTH, TARGETS = 20_000, 16, 10


class Vectors(Markov):
    '''A vector scorer whose query is the vector of the target.'''

    vector_ID = torch.randn(ITEMS, WIDTH)

    def query(self, state, now_s_B=None):
        raise NotImplementedError

    def corrections(self, state):
        return ScoreCorrections()

    def item_vectors(self):
        return self.vector_ID

    def query_batch(self, batch, state=None):
        query_ND = self.vector_ID[batch.item_BT[batch.target_BT != 0] - 1]
        return query_ND, ScoreCorrections(), self.initial_state(len(batch.item_BT))


def log(targets):
    sequences = targets // TARGETS
    offset = np.arange(sequences + 1) * (TARGETS + 3)
    events = int(offset[-1])
    return SequenceDataset(
        items=Vocabulary(np.arange(1, ITEMS + 1), warm=ITEMS), users=np.arange(sequences), offset=offset,
        train_end=offset[:-1] + 3, valid_end=offset[:-1] + 3,
        item=np.random.default_rng(0).integers(1, ITEMS + 1, events, dtype=np.int32),
        time_ms=np.arange(events) * 60_000, kind=np.zeros(events, dtype=np.uint8),
        value=np.zeros(events, dtype=np.float32),
        table=pa.table({"item_id": np.arange(1, ITEMS + 1), "count": np.ones(ITEMS, dtype=np.int64)}),
    )


model = {"vectors": Vectors, "counts": Markov}[sys.argv[1]]().fit(log(100))
options = EvaluationOptions(resamples=20, progress=False, leaks=False)
for targets in map(int, sys.argv[2:]):
    report = rp.evaluate(model, log(targets), exclude_seen=True, options=options)
    assert report.targets == targets
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.parametrize("model", ["vectors", "counts"])
def test_five_times_the_targets_need_no_more_memory(model: str) -> None:
    """2,000 and 10,000 targets among 20,000 items: the scores of 8,000 more would be 610 MiB; the limit is 24 MiB."""
    ran = subprocess.run(
        [sys.executable, "-c", SCRIPT, model, "2000", "10000"], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    small, large = map(int, ran.stdout.split())
    assert (large - small) / 1024 < 24
