import pytest
import torch
from rows import batch
from torch import nn

from reprise.data.dataset import Sizes
from reprise.data.vocabulary import PAD
from reprise.errors import ConfigError
from reprise.models.batch import Event
from reprise.models.networks.ensemble import Ensemble, EnsembleScorer
from reprise.models.networks.network_scorer import NetworkScorer
from reprise.models.networks.recurrent import Recurrent
from reprise.testing import worlds
from reprise.testing.contracts import check_scorer

WORLD = worlds.cycle()


def built(members: int = 2, **fields: object) -> EnsembleScorer:
    torch.manual_seed(0)
    spec = Ensemble(Recurrent(**{"size": 8, "layers": 1, **fields}), members)  # type: ignore[arg-type]
    return spec.build(WORLD.sizes).eval()


def members_of(model: EnsembleScorer) -> list[NetworkScorer]:
    return [member for member in model.members if isinstance(member, NetworkScorer)]


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"cell": "lstm", "residual": False},
        {"gaps": True, "query_time": True, "decay": True, "alignment": "additive"},
        {"cooccurrence": 0, "attention": 0, "temperature": 0},
    ],
    ids=["default", "bare", "times", "plain"],
)
def test_ensemble_satisfies_the_scorer_contract(fields: dict[str, object]) -> None:
    model = built(**fields)
    if model.cooccurrence is not None:
        with torch.no_grad():
            model.cooccurrence.gain.fill_(1.0)
        model.count(WORLD)
    check_scorer(model, WORLD)


def test_logits_are_the_mean_of_the_members() -> None:
    model = built(3)
    some = batch([[1, 2, 3], [4, PAD, 5]], [[2, 0, 4], [0, 0, 6]])
    mean_NI = torch.stack([member.score_batch(some)[0] for member in members_of(model)]).mean(0)
    torch.testing.assert_close(model.score_batch(some)[0], mean_NI)
    assert model.item_vectors().shape == (WORLD.items.warm, 24)


def test_members_have_different_weights() -> None:
    first, second = members_of(built())
    assert not torch.allclose(first.input_vectors(), second.input_vectors())


def test_cooccurrence_is_added_once_to_the_mean() -> None:
    model = built()
    assert model.cooccurrence is not None
    assert all(member.cooccurrence is None for member in members_of(model))
    some = batch([[1, 2]], [[0, 3]])
    plain_NI = model.score_batch(some)[0]
    with torch.no_grad():
        model.cooccurrence.gain.fill_(1.0)
    model.count(WORLD)
    corrected_NI = plain_NI.clone()
    model.cooccurrence(torch.tensor([[PAD] * 18 + [1, 2]])).add_to(corrected_NI)
    torch.testing.assert_close(model.score_batch(some)[0], corrected_NI)
    assert not torch.allclose(plain_NI, corrected_NI)


def test_advance_vector_equals_advance() -> None:
    model = built(gaps=True)
    event = Event(
        torch.tensor([3, 1]), torch.tensor([5.0, 9.0]).double(), torch.zeros(2).long(), torch.zeros(2)
    )
    before = model.advance(model.initial_state(2), event)
    by_item = model.advance(before, event)
    by_vector = model.advance_vector(before, model.input_vectors()[event.item_B - 1], event)
    assert by_item.keys() == by_vector.keys() == before.keys()
    for name, tensor in by_item.items():
        torch.testing.assert_close(by_vector[name], tensor, equal_nan=True)


def test_attention_is_the_mean_of_the_members() -> None:
    model = built(attention=3)
    _, _, state = model.query_batch(batch([[1, 2], [0, 0]], [[0, 3], [0, 0]]))
    weight_BW = model.attention(state)
    assert weight_BW is not None
    torch.testing.assert_close(weight_BW.sum(1), torch.tensor([1.0, 0.0]))
    assert built(attention=0).attention(state) is None


def test_reads_is_the_union_of_the_members() -> None:
    assert built(gaps=True, query_time=True).reads == ("item", "time_s", "now_s")
    assert built(cooccurrence=0, repeats=0).reads == ()


@pytest.mark.parametrize("member", [Ensemble(), 3, Recurrent])
def test_member_must_be_the_spec_of_one_network(member: object) -> None:
    with pytest.raises(ConfigError, match="member must be the spec of one network"):
        Ensemble(member).build(WORLD.sizes)


def test_member_must_build_a_network_scorer() -> None:
    class LinearSpec:
        def build(self, sizes: Sizes) -> nn.Module:
            return nn.Linear(sizes.items, 1)

    with pytest.raises(ConfigError, match="builds a Linear"):
        Ensemble(LinearSpec()).build(WORLD.sizes)


def test_an_ensemble_needs_two_members() -> None:
    with pytest.raises(ConfigError, match="at least 2"):
        Ensemble(members=1)


def test_name_has_the_number_and_the_spec_of_the_members() -> None:
    assert str(Ensemble(Recurrent(size=8), 4)) == "4 of rglru 2 x 8"
