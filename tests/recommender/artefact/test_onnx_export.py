import logging
import warnings
from dataclasses import replace
from typing import Any

import pytest
import torch
from counting_model import CountingModel
from rich_model import START_S, random_history, rich, torch_scores
from torch import Tensor, nn

from reprise.data.dataset import SequenceDataset
from reprise.errors import ArtefactError, ConfigError
from reprise.models.baselines.popularity import Popularity
from reprise.models.networks.adversarial import Adversarial
from reprise.models.networks.autoencoder import Autoencoder
from reprise.models.networks.convolutional import Caser, Convolution
from reprise.models.networks.ensemble import Ensemble
from reprise.models.networks.feed_forward import FeedForward
from reprise.models.networks.recurrent import Recurrent
from reprise.models.networks.sequence_model import SequenceModel
from reprise.models.networks.state_attention import Alignment
from reprise.models.networks.transformer import Transformer
from reprise.recommender import Recommender
from reprise.recommender.artefact.loading import open_network
from reprise.recommender.artefact.onnx_export import check_same, export

PLAIN = {
    "cell": "rnn", "residual": False, "attention": 0, "cooccurrence": 0, "repeats": 0, "gaps": False, "query_time": False,
    "kinds": False, "values": False, "decay": False,
}  # fmt: skip
"""Options of a network that reads items only and is exported quickly."""


@pytest.mark.parametrize(
    "spec",
    [
        Recurrent(cell="rglru", size=16),
        Recurrent(cell="rnn", size=16, layers=1, residual=False),
        Recurrent(cell="lstm", size=16, residual=False),
        Recurrent(cell="gru", size=16, layers=1),
        Recurrent(cell="lru", size=16, layers=1),
        Recurrent(cell="mingru", size=16, layers=1, residual=False),
        Recurrent(cell="minlstm", size=16, layers=1),
        Recurrent(cell="rnn", size=16, residual=False, activation="sigmoid", output="relu", skip=True),
        FeedForward(size=16, window=3),
        FeedForward(size=16, window=3, combine="average"),
        Convolution(size=16, dilations=(1, 2)),
        Caser(size=16, window=4),
        Autoencoder(size=16, latent=4),
        Adversarial(Recurrent(size=16, layers=1)),
        Transformer(size=16, window=4),
        Transformer(size=16, window=4, causal=False),
    ],
    ids=str,
)
def test_exported_and_trained_networks_have_equal_scores(spec: Any, log: SequenceDataset) -> None:
    model = spec.build(log.sizes)
    result = Recommender(model, log).recommend(["p3", "p1", "p4", "p1", "p5"], k=12)
    expected = torch_scores(model.eval(), log, [{"item_id": f"p{item}"} for item in (3, 1, 4, 1, 5)])
    scores = {log.items.index(one.item_id): one.score for one in result}
    assert [scores[index] for index in range(1, 13)] == pytest.approx(expected.tolist(), abs=1e-5)


@pytest.mark.parametrize("alignment", ["additive", "dot"])
def test_a_network_that_reads_all_inputs_has_equal_scores_after_export(
    alignment: Alignment, visits: SequenceDataset
) -> None:
    model = rich(visits, alignment)
    shop = Recommender(model, visits)
    assert shop.reads == ("timestamp", "kind", "value", "now")
    for seed in range(5):
        history = random_history(seed)
        for now_s in (None, START_S + 1e8):
            expected = torch_scores(model, visits, history, now_s)
            scores = {one.item_id: one.score for one in shop.recommend(history, k=20, now=now_s)}
            found = [scores[item] for item in visits.items.ids]
            assert found == pytest.approx(expected.tolist(), abs=1e-4)


@pytest.mark.parametrize(
    ("fields", "step", "query"),
    [
        ({}, set(), set()),
        ({"cooccurrence": 2}, {"item"}, set()),
        ({"repeats": 3, "gaps": True, "kinds": True}, {"item", "time_s", "kind"}, set()),
        ({"gaps": True}, {"time_s"}, set()),
        ({"decay": True, "cell": "rglru"}, {"time_s"}, set()),
        ({"query_time": True}, {"time_s"}, {"now_s"}),
        ({"kinds": True, "values": True, "attention": 2}, {"kind", "value"}, set()),
    ],
)
def test_the_graphs_have_only_the_inputs_that_the_network_reads(
    fields: dict[str, int], step: set[str], query: set[str], visits: SequenceDataset
) -> None:
    model = rich(visits, "dot", **{**PLAIN, **fields})
    runtime = open_network(export(model, visits)).runtime
    assert set(runtime.reads) == step | query == set(model.reads)
    assert ("now_s" in runtime.reads) == ("now_s" in query)


@pytest.mark.parametrize(
    ("hidden", "fields"),
    [
        ("item", {"cooccurrence": 2}),
        ("item", {"repeats": 3}),
        ("time_s", {"gaps": True}),
        ("kind", {"kinds": True}),
        ("value", {"values": True}),
        ("now_s", {"query_time": True}),
    ],
)
def test_a_network_that_does_not_declare_an_input_is_refused(
    hidden: str, fields: dict[str, int], visits: SequenceDataset
) -> None:
    class Hiding(SequenceModel):
        @property
        def reads(self) -> tuple[str, ...]:
            return tuple(name for name in super().reads if name != hidden)

    model = rich(visits, **{**PLAIN, **fields})
    model.__class__ = Hiding
    with pytest.raises(ArtefactError, match=r"^the exported network differs from the trained network: "):
        export(model, visits)


def test_a_network_for_other_kinds_of_event_is_refused(visits: SequenceDataset) -> None:
    other = replace(visits, kinds=("view", "buy"))
    with pytest.raises(
        ConfigError,
        match=r"^the network reads 3 kinds of event, the dataset has 2 \(view, buy\); pass the dataset it was trained on$",
    ):
        export(rich(visits), other)


def test_cooccurrence_scores_that_are_not_finite_are_refused(visits: SequenceDataset) -> None:
    broken = rich(visits)
    assert broken.cooccurrence is not None
    with torch.no_grad():
        broken.cooccurrence.powers[0] = float("nan")
    with pytest.raises(
        ArtefactError, match=r"^the network's transitions\.score contains numbers that are not finite"
    ):
        export(broken, visits)


def test_numbers_of_the_repeat_head_that_are_not_finite_are_refused(visits: SequenceDataset) -> None:
    broken = rich(visits)
    assert broken.repeat_head is not None
    with torch.no_grad():
        broken.repeat_head.gate[1] = float("inf")
    with pytest.raises(
        ArtefactError,
        match=r"^the network's repeats\.gate contains numbers that are not finite; train it again$",
    ):
        export(broken, visits)


def test_a_repeat_head_that_is_not_in_use_is_not_exported(visits: SequenceDataset) -> None:
    model = rich(visits, **{**PLAIN, "cooccurrence": 2, "repeats": 3})
    assert model.repeat_head is not None and model.cooccurrence is not None
    with torch.no_grad():
        model.repeat_head.enabled.zero_()
        model.cooccurrence.cosine_gain.zero_()
    artefact = export(model, visits)
    assert not artefact.repeats and "cosine" not in artefact.cooccurrence
    assert artefact.metadata["corrections"] == ["co-occurrence with the last items"]


def test_an_ensemble_with_a_repeat_head_has_equal_scores_after_export(visits: SequenceDataset) -> None:
    """The head reads times and kinds in every member; its window is longer than that of the co-occurrence."""
    member = Recurrent(
        size=8, layers=1, attention=0, gaps=True, kinds=True, cooccurrence=2, repeats=4, temperature=0
    )
    torch.manual_seed(0)
    model = Ensemble(member=member, members=2).build(visits.sizes).eval()
    assert model.repeat_head is not None and model.cooccurrence is not None
    with torch.no_grad():
        model.repeat_head.enabled.fill_(1.0)
        model.cooccurrence.gain.fill_(0.4)
        model.repeat_head.kind[1] = 1.0
    model.count(visits)
    shop = Recommender(model, visits)
    assert shop.reads == ("timestamp", "kind")
    assert set(shop.artefact.initial) >= {"recent", "recent_time_s", "recent_kind"}
    for seed in range(3):
        history = random_history(seed)
        expected = torch_scores(model, visits, history)
        scores = {one.item_id: one.score for one in shop.recommend(history, k=20)}
        assert [scores[item] for item in visits.items.ids] == pytest.approx(expected.tolist(), abs=1e-4)


def test_an_export_prints_nothing(
    counting_model: CountingModel, numbers: SequenceDataset, capfd: pytest.CaptureFixture[str]
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        export(counting_model, numbers)
    assert capfd.readouterr() == ("", "")
    assert logging.getLogger("torch.onnx").level == logging.NOTSET


def test_an_export_does_not_change_the_network(
    counting_model: CountingModel, numbers: SequenceDataset
) -> None:
    counting_model.train()
    export(counting_model, numbers)
    assert counting_model.training and counting_model.cell.training
    assert all(parameter.requires_grad for parameter in counting_model.parameters())


def test_tied_vectors_are_stored_once(shop: Recommender, counting_shop: Recommender) -> None:
    assert "output" not in shop.artefact.tensors
    assert shop.artefact.output_ID is shop.artefact.input_ID
    assert counting_shop.artefact.output_ID.shape == (30, 9)


def test_the_graphs_contain_no_file_names(shop: Recommender) -> None:
    for graph in (shop.artefact.step, shop.artefact.query):
        assert b".py" not in graph


def test_a_graph_with_other_scores_is_refused(
    counting_model: CountingModel, numbers: SequenceDataset, counting_shop: Recommender
) -> None:
    class Shifted(nn.Module):
        def __init__(self, inner: CountingModel) -> None:
            super().__init__()
            self.inner = inner.eval()

        def __getattr__(self, name: str) -> object:
            return super().__getattr__(name) if name == "inner" else getattr(self.inner, name)

        def scores(self, state: dict[str, Tensor], now_s_B: Tensor | None = None) -> Tensor:
            return self.inner.scores(state) + 1e-3

    with pytest.raises(
        ArtefactError, match=r"^the exported network differs from the trained network: the scores by \d"
    ):
        check_same(Shifted(counting_model), counting_shop.artefact)  # type: ignore[arg-type]
    check_same(counting_model.eval(), counting_shop.artefact)


def test_a_network_that_onnx_cannot_express_is_an_artefact_error(numbers: SequenceDataset) -> None:
    class Branching(CountingModel):
        def query(self, state: dict[str, Tensor], now_s_B: Tensor | None = None) -> Tensor:
            return super().query(state) if float(state["h"].sum()) > 0 else -super().query(state)

    from counting_model import Counting

    with pytest.raises(ArtefactError, match=r"^the network cannot be written as ONNX \("):
        export(Branching(Counting(), numbers.sizes), numbers)


def test_weights_that_are_not_finite_are_refused(numbers: SequenceDataset) -> None:
    from counting_model import Counting

    broken = Counting().build(numbers.sizes)
    with torch.no_grad():
        broken.read[3] = float("nan")
    with pytest.raises(
        ArtefactError, match=r"^the network's input contains numbers that are not finite; train it again$"
    ):
        export(broken, numbers)


def test_a_model_without_a_network_is_refused(log: SequenceDataset) -> None:
    with pytest.raises(
        ConfigError,
        match=r"^a Recommender needs a trained network, got FittedPopularity; train one with ",
    ):
        Recommender(Popularity().fit(log), log)


@pytest.mark.parametrize("dataset", [None, "data/shop", {"user_id": [1]}])
def test_what_is_not_a_dataset_is_refused(model: SequenceModel, dataset: Any) -> None:
    with pytest.raises(
        ConfigError,
        match=r"^dataset must be a SequenceDataset, got .*; open it with `SequenceDataset\.open`$",
    ):
        Recommender(model, dataset)


def test_facts_of_the_training_are_a_mapping(model: SequenceModel, log: SequenceDataset) -> None:
    training: Any = {1, 2}
    with pytest.raises(ConfigError, match=r"^training must be a mapping, got \{1, 2\}; pass a dictionary$"):
        Recommender(model, log, training=training)


def test_a_network_for_another_dataset_is_refused(
    counting_model: CountingModel, log: SequenceDataset
) -> None:
    with pytest.raises(
        ConfigError,
        match=r"^the network has vectors for 30 items, the dataset has 12 warm items; pass the dataset it was trained on$",
    ):
        Recommender(counting_model, log)
