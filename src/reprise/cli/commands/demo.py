"""`reprise demo`: prepare, train, evaluate and recommend with the bundled event log of a shop."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reprise.cli.console import runnable, show_dataset, show_next, show_table

if TYPE_CHECKING:
    from reprise.data.dataset import SequenceDataset
    from reprise.models.scorer import Scorer
    from reprise.recommender.recommender import Recommender

EXAMPLE = "reprise demo --out reprise-demo"
SPLIT = "last:14d,14d"
RECIPE = [
    "model.content={}",
    "model.dropout=0.2",
    "model.item_dropout=0.1",
    "training.epochs=6",
    "training.refit=2",
    "training.metric=mrr@20",
]
"""Overrides of the recipe, chosen on the validation part, that train in a few minutes on two cores. The content of an item is
its title and its price."""
ATTRIBUTION = {
    "data": "Online Retail, UCI Machine Learning Repository, dataset 352",
    "licence": "CC BY 4.0",
    "citation": "Chen, D. (2015). Online Retail [Dataset]. https://doi.org/10.24432/C5BW33",
}
CUSTOMERS = 3
"""Number of customers whose recommendations are printed."""
EVENTS = "events.db"
"""Name of the file of a server's event log, in the command that starts a server."""
NEW_K = 3
"""Number of new products that are recommended to each of them."""
TOP_K = 5
"""Number of recommendations, and of previous purchases, printed per customer."""


def demo(
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="Directory for the dataset, the run and the model.")
    ] = Path("reprise-demo"),
) -> None:
    """Prepare, train, evaluate and recommend with a bundled event log (Online Retail). Takes a few minutes."""
    from reprise.cli.commands.export import training_metadata
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
    _step("evaluating it with two baselines on the last 14 days of the log")
    models: list[Scorer] = [model, Markov().fit(data), Popularity().fit(data)]
    reports = [evaluate(scorer, data) for scorer in models]
    _step(f"exporting the model ({out / 'model'})")
    recommender = Recommender(model, data, training=training_metadata(out / "run"))
    recommender.save(out / "model", reports[0], attribution=ATTRIBUTION)
    _show_recommendations(recommender, data)
    _step("comparing the models")
    typer.echo(str(compare(*reports)))
    show_next(
        ("less", out / "model" / "README.md"),
        (
            "reprise",
            "evaluate",
            out / "run",
            "--baselines",
            "popularity,markov",
            "--exclude-seen",
            "--html",
            "report.html",
        ),
        ("reprise", "train", out / "data", "--out", out / "gru", "--set", "model.cell=gru"),
        ("reprise", "prepare", "YOUR-EVENTS", "--out", "data/shop"),
    )
    _step("to serve the model and try it at http://127.0.0.1:8000/, run")
    typer.echo(f"  {runnable('reprise', 'serve', out / 'model', '--store', f'sqlite:///{out / EVENTS}')}")


def _prepare(out: Path) -> "SequenceDataset":
    from reprise.data.description import describe
    from reprise.data.examples import online_retail
    from reprise.data.io.events import read_events
    from reprise.data.preparing.prepare import prepare
    from reprise.data.split import parse_split

    events, items = online_retail()
    _step(f"preparing one year of orders of a gift shop ({out})")
    data = prepare(read_events(events), out, items=items, split=parse_split(SPLIT))
    show_dataset(describe(data))
    return data


def _show_recommendations(recommender: "Recommender", data: "SequenceDataset") -> None:
    """Print recommendations for some customers of the test part, and whether they bought the items later."""
    first_U, last_U = data.part("test")
    returning = [user for user in range(len(data)) if data.offset[user] < first_U[user] < last_U[user]]
    titles = data.titles()
    for user in returning[:: max(1, len(returning) // CUSTOMERS)][:CUSTOMERS]:
        before = data.item[data.offset[user] : first_U[user]]
        after = set(data.items.item_ids(data.item[first_U[user] : last_U[user]]))
        rows = [
            [item.rank, item.title or item.item_id, "yes" if item.item_id in after else ""]
            for item in recommender.recommend(data.items.item_ids(before), k=TOP_K)
        ]
        last = "; ".join(titles[index - 1] for index in before[-TOP_K:].tolist())
        show_table(
            f"customer {data.users[user]}, last bought: {last}", ["rank", "item", "bought later"], rows
        )
        new = recommender.recommend(
            data.items.item_ids(before), k=NEW_K, allow=data.items.ids[data.items.warm :].tolist()
        )
        show_table(
            f"new products for customer {data.users[user]}, which were never sold in the training part and are known by "
            "their title and price",
            ["rank", "item", "bought later"],
            [[item.rank, item.title or item.item_id, "yes" if item.item_id in after else ""] for item in new],
        )


def _step(title: str) -> None:
    typer.secho(f"\n{title}", bold=True)
