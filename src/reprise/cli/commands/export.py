"""`reprise export`: save the model of a run as a directory for inference."""

import json
import warnings
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from reprise.cli.console import show_next
from reprise.cli.shared_options import DatasetOption, Trusted
from reprise.errors import ArtefactError

FITTED = "transitions"
"""Key of the record of the corrections in the metrics of a run."""
EXAMPLE = "reprise export runs/shop --out shop.model"


def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A directory that `train` wrote.")],
    out: Annotated[Path, typer.Option(metavar="MODEL", help="Directory to write the model to.")],
    dataset: DatasetOption = None,
    search: Annotated[
        Literal["auto", "exact", "approximate"],
        typer.Option(
            help="How the saved model searches the catalogue: all items, or an index of faiss that may miss a few of the best; "
            "auto: approximate for more than a million items."
        ),
    ] = "auto",
    recall: Annotated[
        float,
        typer.Option(
            metavar="0.9..1", help="Share of the 20 best items that an approximate search is to find."
        ),
    ] = 0.98,
    counts: Annotated[
        bool,
        typer.Option(
            help="Whether to save the counts of item pairs, which reveal who was in the log; without them, the repeat head is "
            "fitted again."
        ),
    ] = True,
    sign: Annotated[
        Path | None,
        typer.Option(
            metavar="KEYFILE",
            help="Sign the model with this private key, made by `reprise signing-key`.",
            show_default="the model is not signed",
        ),
    ] = None,
    trusted: Trusted = False,
) -> None:
    """Save the model of a run for use without torch: vectors, ONNX graphs, item table, model card."""
    from reprise.privacy.auditing.audit_report import read_report
    from reprise.recommender.artefact.artefact import SEARCH
    from reprise.recommender.artefact.signature import SigningKey
    from reprise.recommender.recommender import Recommender
    from reprise.training import load_run, load_without_counts
    from reprise.training.run_directory import RunDirectory

    key = None if sign is None else SigningKey.of(sign)  # before the export, which takes long
    model, data = (load_run if counts else load_without_counts)(run, dataset, trusted=trusted)
    training = training_metadata(run)
    if model.left_out_counts:
        training.pop(FITTED, None)  # the fit with the counts
    recommender = Recommender(model, data, training=training)
    recommender.artefact = recommender.artefact.with_metadata(audit=read_report(RunDirectory(run)))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        saved = recommender.save(out, search=search, recall=recall, sign=key)
    typer.echo(f"wrote {out}" if key is None else f"wrote {out}, signed by the key {key.public.fingerprint}")
    if saved.lists is not None:
        found = saved.metadata[SEARCH]["recall@20"]
        typer.echo(f"the search is approximate: it found {found:.1%} of the 20 best items of sampled users")
    for warning in caught:
        typer.secho(f"note: {warning.message}", err=True, fg=typer.colors.YELLOW)
    show_next(
        ("reprise", "recommend", out, "HISTORIES", "--k", min(20, data.items.warm)),
        ("reprise", "serve", out, "--store", "sqlite:///events.db"),
    )


def training_metadata(path: Path) -> dict[str, Any]:
    """Return a description of the training from a run directory, for the model card."""
    from reprise.training.manifest_comparison import with_current_names
    from reprise.training.run_directory import MEMBERS, RunDirectory
    from reprise.training.validation import VALID

    run = RunDirectory(path).read()
    training = with_current_names(run["recipe"])["training"]
    metric = f"{VALID}{training['metric']}"
    if training.get("privacy"):  # there are no epochs, and the statement is elsewhere in the metadata
        return {"hyper-parameters": _used_privately(training), "seed": run["seed"]}
    records = _records(path / "metrics.jsonl", metric)
    epochs = [record for record in records if "epoch" in record]
    ensembles = [record for record in records if MEMBERS in record]
    result: dict[str, Any] = (
        {
            "epochs trained": len(epochs),
            "best epoch": max(epochs, key=lambda epoch: float(epoch[metric])),
        }
        if epochs
        else {"ensemble": ensembles[0]}
    )
    later_phases: dict[str, Any] = {
        name: record[name] for record in records for name in (FITTED, "refit") if name in record
    }
    # values that the recipe left open, and that the run chose by the data and the width of the network
    fields = {"tokens": "events_per_batch", "learning_rate": "learning_rate"}  # keys of the file, and fields
    chosen = {field: record[key] for record in epochs for key, field in fields.items() if key in record}
    return {
        "hyper-parameters": {
            name: value for name, value in {**training, **chosen}.items() if name != "class"
        },
        "seed": run["seed"],
        **result,
        **later_phases,
    }


def _used_privately(training: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a training that private training uses."""
    from reprise.training.privacy_config import USED

    used = {name: training[name] for name in USED if training.get(name) is not None}
    hidden = ("class", "catalogue")  # a path of this machine; the statement says whether there was one
    return used | {"privacy": {name: value for name, value in used["privacy"].items() if name not in hidden}}


def _records(file: Path, metric: str) -> list[dict[str, Any]]:
    """Return the records of a run's metrics file.

    Raises:
        ArtefactError: the file is missing or damaged, an epoch has no number for the metric, or there is neither an epoch nor
            an ensemble.
    """
    from reprise.training.run_directory import MEMBERS

    remedy = "copy the run again, or train again in another directory"
    try:
        records = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    except FileNotFoundError:
        raise ArtefactError(f"{file} is missing; {remedy}") from None
    except (ValueError, RecursionError) as error:
        raise ArtefactError(f"{file} is damaged ({error}); {remedy}") from None
    for number, record in enumerate(records, 1):
        # records of later phases need not have the metric
        valid = isinstance(record, dict) and (
            "epoch" not in record or isinstance(record.get(metric), int | float)
        )
        if not valid:
            raise ArtefactError(f"{file} is damaged (line {number} has no number {metric!r}); {remedy}")
    if not any("epoch" in record or MEMBERS in record for record in records):
        raise ArtefactError(f"{file} is damaged (it has no epoch); {remedy}")
    return records
