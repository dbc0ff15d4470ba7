"""`reprise demo`: the whole way once, with the bundled log of a shop."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reprise.cli.console import show_dataset, show_next, show_table, typed

if TYPE_CHECKING:
    from reprise.data.dataset import SequenceDataset
    from reprise.models.scorer import Scorer
    from reprise.recommender.recommender import Recommender

EXAMPLE = "reprise demo --out reprise-demo"
SPLIT = "last:14d,14d"
RECIPE = [
    "model.dropout=0.2",
    "model.item_dropout=0.1",
    "training.epochs=6",
    "training.metric=mrr@20",
]
"""Chosen on the validation part, to be done in a few minutes on two cores."""
ATTRIBUTION = {
    "data": "Online Retail, UCI Machine Learning Repository, dataset 352",
    "licence": "CC BY 4.0",
    "citation": "Chen, D. (2015). Online Retail [Dataset]. https://doi.org/10.24432/C5BW33",
}
CUSTOMERS = 3
SHOWN = 5


def demo(
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="Where the dataset, the run and the model go.")
    ] = Path("reprise-demo"),
) -> None:
    """Prepare, train, evaluate and recommend with a bundled year of a gift shop (Online Retail), in minutes."""
    from reprise.cli.commands.export import training_facts
    from reprise.cli.commands.train import read_recipe
    from reprise.evaluation.comparison.paired import compare
    from reprise.evaluation.evaluator import evaluate
    from reprise.models.baselines.markov import Markov
    from reprise.models.baselines.popularity import Popularity
    from reprise.recommender.recommender import Recommender
    from reprise.training import train

    data = _prepare(out / "data")
    _step(f"training a recurrent network ({out / 'run'})")
    model = train(read_recipe(None, RECIPE), data, out / "run", progress=True)
    _step("evaluating it beside two baselines on the last days of the log")
    models: list[Scorer] = [model, Markov().fit(data), Popularity().fit(data)]
    reports = [evaluate(scorer, data) for scorer in models]
    _step(f"exporting the model that answers ({out / 'model'})")
    recommender = Recommender(model, data, training=training_facts(out / "run"))
    recommender.save(out / "model", reports[0], attribution=ATTRIBUTION)
    _show_answers(recommender, data)
    _step("the report")
    typer.echo(str(compare(*reports)))
    show_next(
        f"less {out / 'model' / 'README.md'}",
        f"reprise evaluate {out / 'run'} --baselines popularity,markov --exclude-seen --html report.html",
        f"reprise train {out / 'data'} --out {out / 'gru'} --set model.cell=gru",
        "reprise prepare YOUR-EVENTS --out data/shop",
    )
    _step("serve it, and try it at http://127.0.0.1:8000/, with")
    serve = typed(f"reprise serve {out / 'model'} --store sqlite:///{out / 'events.db'}")
    typer.echo(f"  {serve}")


def _prepare(out: Path) -> "SequenceDataset":
    from reprise.data.description import describe
    from reprise.data.examples import online_retail
    from reprise.data.io.events import read_events
    from reprise.data.preparing.prepare import prepare
    from reprise.data.split import parse_split

    events, items = online_retail()
    _step(f"preparing a year of a gift shop ({out})")
    data = prepare(read_events(events), out, items=items, split=parse_split(SPLIT))
    show_dataset(describe(data))
    return data


def _show_answers(recommender: "Recommender", data: "SequenceDataset") -> None:
    """What some customers of the test part had bought, what the network shows them, and whether they took it."""
    first_U, last_U = data.part("test")
    came_back = [user for user in range(len(data)) if data.offset[user] < first_U[user] < last_U[user]]
    titles = data.titles()
    for user in came_back[:: max(1, len(came_back) // CUSTOMERS)][:CUSTOMERS]:
        before = data.item[data.offset[user] : first_U[user]]
        after = set(data.items.item_ids(data.item[first_U[user] : last_U[user]]))
        rows = [
            [answer.rank, answer.title or answer.item_id, "yes" if answer.item_id in after else ""]
            for answer in recommender.recommend(data.items.item_ids(before), k=SHOWN)
        ]
        last = "; ".join(titles[index - 1] for index in before[-SHOWN:].tolist())
        show_table(
            f"customer {data.users[user]}, who last bought {last}", ["rank", "next", "bought later"], rows
        )


def _step(title: str) -> None:
    typer.secho(f"\n{title}", bold=True)
