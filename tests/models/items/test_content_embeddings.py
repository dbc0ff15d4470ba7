"""Items are represented by learned vectors and their content; items without a learned vector by their content alone."""

import numpy as np
import pytest
import torch

from reprise.content.fitted_content import FittedContent
from reprise.content.fitting_content import fit_content
from reprise.data.dataset import SequenceDataset
from reprise.errors import ConfigError
from reprise.models.items.content_embeddings import ContentEmbeddings, ItemContent
from reprise.models.networks.ensemble import Ensemble
from reprise.models.networks.network_scorer import NetworkScorer
from reprise.models.networks.recurrent import Recurrent
from reprise.models.networks.sequence_model import SequenceModel
from reprise.testing.contracts import check_scorer
from reprise.testing.worlds import families

FEATURES = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [0.0, 0.0]])


def embeddings(**content: object) -> ContentEmbeddings:
    torch.manual_seed(0)
    table = ContentEmbeddings(4, 8, ItemContent(**content), FEATURES, warm=2, unit=True)  # type: ignore[arg-type]
    table.cold_scored.fill_(True)
    return table.eval()


def network(spec: object, data: SequenceDataset) -> NetworkScorer:
    torch.manual_seed(0)
    model: NetworkScorer = spec.build(data.sizes)  # type: ignore[attr-defined]
    fitted = fit_content(["title"], data)
    model.add_content(fitted, torch.from_numpy(fitted.encode(data.table)))
    return model.eval()


def test_a_cold_item_is_read_by_its_content_alone() -> None:
    table = embeddings()
    vectors = table(torch.tensor([1, 3]))
    assert torch.allclose(vectors[1], FEATURES[2] @ table.projection)
    assert not torch.allclose(vectors[0], FEATURES[0] @ table.projection)


def test_a_cold_item_has_a_scale_and_a_bias_and_a_warm_one_has_none() -> None:
    table = embeddings()
    with torch.no_grad():
        table.log_scale.fill_(-0.5)
        table.bias.fill_(-0.2)
    found = table.scoring_ID()
    assert torch.allclose(found[:, :-1].norm(dim=1)[:3], torch.tensor([1.0, 1.0, float(np.exp(-0.5))]))
    assert torch.allclose(found[:, -1], torch.tensor([0.0, 0.0, -0.2, FittedContent.NO_CONTENT]))


def test_cold_items_have_the_least_score_until_they_are_fitted() -> None:
    table = embeddings()
    table.cold_scored.fill_(False)
    assert (table.scoring_ID()[2:, -1] == FittedContent.NO_CONTENT).all()
    assert (table.scoring_ID()[2:, :-1] == 0).all()


def test_in_training_the_same_items_lose_their_vectors_as_inputs_and_as_outputs() -> None:
    table = embeddings(id_dropout=0.5)
    table.train()
    with torch.no_grad():
        table.bias.fill_(-0.3)
    lost = 0
    for _ in range(20):
        table.draw()
        alone = torch.isclose(table(torch.tensor([1, 2])), FEATURES[:2] @ table.projection).all(1)
        biased = table.candidate_vectors()[:, -1] != 0
        assert torch.equal(alone, biased)
        lost += int(alone.sum())
    assert 8 < lost < 32


def test_rows_of_a_sparse_step_lose_their_vectors_alike() -> None:
    """A step that reads the items 1 and 2 draws for them only, and with a share of 0 both keep their vectors."""
    for share in (0.5, 0.0):
        table = embeddings(id_dropout=share)
        table.train()
        learned, row_R, lost = torch.full((3, table.weight.shape[1]), 2.0), torch.tensor([0, 1, 2]), 0
        for _ in range(20):
            table.use_rows(row_R, learned)
            table.draw()
            own = table(torch.tensor([2, 1])) - (FEATURES[[1, 0]] @ table.projection)
            alone = torch.isclose(own, torch.zeros(()), atol=1e-5).all(1)
            assert torch.equal(alone, ~torch.isclose(own, learned[1:]).all(1))
            lost += int(alone.sum())
            table.use_table()
        assert 8 < lost < 32 if share else lost == 0


def test_only_items_with_learned_vectors_are_candidates_until_they_are_learned() -> None:
    table = embeddings()
    assert table.candidate_items().tolist() == [1, 2]
    table.learn(torch.tensor([4]))
    assert table.candidate_items().tolist() == [1, 2, 4]
    assert table.candidate_columns(torch.tensor([4, 1])).tolist() == [2, 0]
    assert len(table.candidate_vectors()) == table.candidates == 3


def test_learning_an_item_does_not_change_its_score() -> None:
    table = embeddings()
    before = table.scoring_ID()
    table.learn(torch.tensor([3]))
    assert torch.equal(table.scoring_ID(), before)


def test_without_ids_no_learned_vector_is_read() -> None:
    table = embeddings(ids=False)
    with torch.no_grad():
        table.weight.fill_(7.0)
    assert torch.allclose(table(torch.tensor([1, 2])), FEATURES[:2] @ table.projection)


def test_a_fixed_projection_is_not_trained() -> None:
    assert not embeddings(projection="fixed").projection.requires_grad
    with pytest.raises(ConfigError, match="projection"):
        ItemContent(projection="frozen")  # type: ignore[arg-type]


@pytest.mark.parametrize("temperature", [None, 0.0])
@pytest.mark.parametrize("cell", ["rglru", "gru"])
def test_a_network_with_content_reads_and_scores_cold_items_event_by_event(
    cell: str, temperature: float | None
) -> None:
    data = families(sequences=20)
    model = network(
        Recurrent(cell=cell, size=8, layers=1, temperature=temperature, content=ItemContent()), data
    )
    assert isinstance(model, SequenceModel) and isinstance(model.items, ContentEmbeddings)
    model.items.cold_scored.fill_(True)
    assert model.scored_items == len(data.items) > data.items.warm
    check_scorer(model, data.scoring(model.scored_items))


def test_an_ensemble_of_networks_with_content_scores_cold_items() -> None:
    data = families(sequences=20)
    model = network(Ensemble(Recurrent(size=8, layers=1, content=ItemContent()), members=2), data)
    assert model.scored_items == len(model.item_vectors()) == len(data.items)
    check_scorer(model, data.scoring(model.scored_items))
