"""What a network loses without parts of the content of items."""

import json
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest
import torch
from torch import nn

from reprise.content.fitting_content import fit_content
from reprise.data.dataset import SequenceDataset
from reprise.errors import ConfigError
from reprise.evaluation.content_ablation import WARM_ITEMS, ablate_content, ablation_record, reads_content
from reprise.evaluation.evaluator import evaluate
from reprise.evaluation.options import EvaluationOptions
from reprise.testing.worlds import world

KINDS = ("mug", "lamp", "scarf")
OPTIONS = EvaluationOptions(resamples=50)


@pytest.fixture(scope="module")
def data() -> SequenceDataset:
    """Return sequences of items of one kind, whose last item is new in half of the sequences, with titles and colours."""
    rows = [
        [f"{kind} {number % 4}" for number in range(start, start + 5)] for start in range(8) for kind in KINDS
    ]
    for number, row in enumerate(rows):
        row[-1] = f"{row[-1].partition(' ')[0]} new" if number % 2 else row[-1]
    items = {item for row in rows for item in row}
    dataset = world(rows, valid=0, test=1, titles={item: item for item in items})
    colours = [["red"] if index % 2 else ["blue"] for index in range(len(dataset.items))]
    return replace(dataset, table=dataset.table.append_column("colour", pa.array(colours)))


@pytest.fixture
def model(data: SequenceDataset, fading: Any) -> Any:
    """Return a network whose item vectors are an id vector, for warm items, plus the features in a linear map."""

    class ReadsContent(fading):
        def __init__(self) -> None:
            super().__init__(len(data.items))
            self.content = fit_content(["title", "colour"], data)
            feature_IF = torch.from_numpy(self.content.encode(data.table))
            self.items = nn.Module()
            self.items.register_buffer("features", nn.functional.pad(feature_IF, (0, 0, 1, 0)))
            self.map = torch.randn(feature_IF.shape[1], 5, generator=torch.Generator().manual_seed(0))
            self.scored_items = len(data.items)

        def item_vectors(self) -> torch.Tensor:
            own = self.vectors[1:] * (torch.arange(len(data.items)) < data.items.warm)[:, None]
            return own + self.items.features[1:] @ self.map

    return ReadsContent().eval()


def test_each_column_and_the_content_of_warm_items_are_removed_in_turn(
    model: Any, data: SequenceDataset
) -> None:
    """The features are as before afterwards."""
    before = model.items.features.clone()
    found = ablate_content(model, data, options=OPTIONS)
    assert [report.name for report in found.reports] == [
        "all content", "without title", "without colour", WARM_ITEMS,
    ]  # fmt: skip
    assert torch.equal(model.items.features, before)
    whole = evaluate(model, data, options=OPTIONS)
    assert found.reports[0].metrics["recall@10"] == whole.metrics["recall@10"]


def test_a_removed_column_is_missing_for_all_items(model: Any, data: SequenceDataset) -> None:
    """The same network with features of 0 in the block of the title."""
    found = ablate_content(model, data, options=OPTIONS)
    block = model.content.blocks[0]
    with torch.no_grad():
        model.items.features[:, block.first : block.last] = 0
    expected = evaluate(model, data, options=OPTIONS).metrics["mrr@10"].value
    assert found.reports[1].metrics["mrr@10"].value == expected
    gap = found.differences[0]["mrr@10"]
    assert gap.value == pytest.approx(found.reports[0].metrics["mrr@10"].value - expected)
    assert gap.low is not None and gap.low <= gap.value <= gap.high


def test_without_the_content_of_warm_items_cold_ones_keep_theirs(model: Any, data: SequenceDataset) -> None:
    found = ablate_content(model, data, options=OPTIONS)
    with torch.no_grad():
        model.items.features[1 : data.items.warm + 1] = 0
    assert model.items.features[data.items.warm + 1 :].any()
    expected = evaluate(model, data, options=OPTIONS)
    assert found.reports[-1].metrics["recall_cold@10"] == expected.metrics["recall_cold@10"]


def test_the_record_has_the_losses_of_all_warm_and_cold_targets(model: Any, data: SequenceDataset) -> None:
    found = ablate_content(model, data, options=OPTIONS)
    record = json.loads(json.dumps(ablation_record(found)))
    assert [part["name"] for part in record] == ["without title", "without colour", WARM_ITEMS]
    first = record[0]
    assert first["differences"]["recall@10"] == found.differences[0]["recall@10"].to_dict()
    assert first["cold"]["recall@10"] == found.slices["cold"].differences[0]["recall@10"].to_dict()
    cold, warm = (found.reports[0].slices[name].targets for name in ("cold", "warm"))
    mean = (cold * first["cold"]["mrr@10"]["value"] + warm * first["warm"]["mrr@10"]["value"]) / (cold + warm)
    assert first["differences"]["mrr@10"]["value"] == pytest.approx(mean)


def test_a_report_that_exists_is_not_made_again(model: Any, data: SequenceDataset) -> None:
    report = evaluate(model, data, at=(5,), options=OPTIONS)
    found = ablate_content(model, data, options=OPTIONS, report=report)
    assert found.reports[0].metrics is report.metrics
    assert found.reports[1].protocol == report.protocol


def test_a_network_without_content_is_an_error(fading: Any, data: SequenceDataset) -> None:
    network = fading(data.items.warm)
    assert not reads_content(network)
    with pytest.raises(
        ConfigError, match="Fading does not read the content of items, so nothing can be removed"
    ):
        ablate_content(network, data)
