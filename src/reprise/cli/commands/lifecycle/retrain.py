"""`reprise retrain`: continue a run on a later log, and promote the result if it is not shown to be worse."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reprise.cli.shared_options import Accelerator, Forget, ForgetTenant, TrustedForget, drop_unset
from reprise.errors import ConfigError

if TYPE_CHECKING:
    from reprise.data.dataset import SequenceDataset
    from reprise.retraining.continue_run import Retrained

EXAMPLE = (
    "reprise retrain --from runs/shop --events sqlite:///events.db --out runs/2026-12-01 --store shop-models"
)
NOT_PASSED = 3
"""Exit status if the new model is shown to be worse. It is trained and written, and not promoted."""
STORES = ("sqlite://", "postgresql://", "postgres://")


def retrain(
    earlier: Annotated[
        Path,
        typer.Option(
            "--from", metavar="RUN", help="Finished run to continue. Its dataset must be where it was."
        ),
    ],
    events: Annotated[
        list[str],
        typer.Option(
            metavar="LOG",
            help="The later log, with the earlier events too: files, or the event store of a server (sqlite:///FILE or "
            "postgresql://...); repeatable. A prepared dataset is used as it is.",
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(metavar="RUN2", help="Directory of the new run. Its dataset is written to RUN2-data."),
    ],
    items: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Item table of the later log.", show_default="none")
    ] = None,
    gate: Annotated[
        str,
        typer.Option(
            metavar="METRIC", help="Metric by which the new model and the one before it are compared."
        ),
    ] = "ndcg@20",
    margin: Annotated[
        float | None,
        typer.Option(
            metavar="X",
            help="Loss of the metric that is accepted: the whole interval of the difference must be above -X.",
            show_default="the new model must not be shown to be worse",
        ),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(
            metavar="SPLIT",
            help="Split of the later log.",
            show_default="the durations of the earlier dataset",
        ),
    ] = None,
    from_scratch: Annotated[
        bool, typer.Option("--from-scratch", help="Train without the weights of the earlier run.")
    ] = False,
    store: Annotated[
        Path | None,
        typer.Option(
            metavar="STORE",
            help="Model store: publish the new model, and make it current if it passes the gate.",
            show_default="none",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
    forget: Forget = None,
    tenant: ForgetTenant = None,
    trusted: TrustedForget = False,
    accelerator: Accelerator = None,
    threads: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Number of CPU threads.", show_default="torch's choice"),
    ] = None,
) -> None:
    """Continue a run on a later log. Exit status 3: the new model is shown to be worse and is not promoted."""
    import json

    from reprise.cli.console import show_next
    from reprise.cli.forget_option import read_erased_users
    from reprise.retraining.continue_run import retrain as continue_run
    from reprise.retraining.gate import Gate
    from reprise.training.recipe import RunOptions
    from reprise.training.run_directory import RunDirectory

    run = RunDirectory(earlier)
    erased = read_erased_users(forget, tenant, trusted)
    data = _dataset(
        run.open_dataset(), events, out, tenant, drop_unset(items=items, split=split, forget=erased)
    )
    options = RunOptions(seed=run.read()["seed"], **drop_unset(accelerator=accelerator, threads=threads))
    result = continue_run(
        earlier,
        data,
        out,
        gate=Gate(gate, margin),
        options=options,
        from_scratch=from_scratch,
        progress=True,
    )
    version = None if store is None else _publish(store, result, out)
    if as_json:
        typer.echo(json.dumps({"run": str(out), "gate": result.gate.to_dict(), "version": version}, indent=2))
    else:
        if result.start is not None:
            typer.echo(str(result.start))
        typer.echo(str(result.gate))
        if version is not None:
            state = "is current now" if result.gate.passed else "is published, but not promoted"
            typer.echo(f"version {version} of {store} {state}")
        else:
            show_next(("reprise", "export", out, "--out", Path(f"{out.name}.model")))
    if not result.gate.passed:
        raise typer.Exit(NOT_PASSED)


def _dataset(
    before: "SequenceDataset", events: list[str], out: Path, tenant: str | None, options: dict[str, Any]
) -> "SequenceDataset":
    """Prepare the later log next to the new run, or open what an interrupted call has prepared."""
    from reprise.data.dataset import SequenceDataset
    from reprise.path_kinds import kind_of
    from reprise.retraining.new_events import prepare_as_before

    if len(events) == 1 and kind_of(Path(events[0])) == "dataset":
        return SequenceDataset.open(events[0])
    place = out.with_name(f"{out.resolve().name}-data")
    if kind_of(place) == "dataset" and kind_of(out) == "run":  # a live log has grown since the interruption
        return SequenceDataset.open(place)
    stores = [address for address in events if address.startswith(STORES)]
    if stores and len(events) > 1:
        raise ConfigError(
            f"give the event store {stores[0]} alone: the log of a store cannot be joined with other logs"
        )
    log: Any = read_store(stores[0], tenant or "default", before) if stores else events
    return prepare_as_before(log, place, before, **options)


def read_store(address: str, tenant: str, before: "SequenceDataset") -> Any:
    """Return the events of a tenant in an event store as a log, with the columns that the earlier dataset has.

    Raises:
        ConfigError: the store has no events of the tenant, or cannot list them.
    """
    from contextlib import closing

    from reprise.data.io.events import Columns, read_events
    from reprise.server.store.event_store import ListsEvents
    from reprise.server.store.opening import open_store

    with closing(open_store(address, create=False)) as store:
        if not isinstance(store, ListsEvents):
            raise ConfigError(f"{address} cannot list its events; write its log to a file and pass the file")
        rows = list(store.all_events(tenant))
    if not rows:
        raise ConfigError(f"{address} has no events of the tenant {tenant!r}; name another with --tenant")
    convert = int if before.items.integer_ids else str
    columns: dict[str, list[Any]] = {
        "user_id": [user for user, _ in rows],
        "item_id": [convert(event.item_id) for _, event in rows],
        "timestamp": [event.time_ms for _, event in rows],
    }
    roles = before.facts.get("columns", {})
    if "kind" in roles:
        columns["kind"] = [event.kind or before.kinds[0] for _, event in rows]
    if "value" in roles:
        columns["value"] = [event.value for _, event in rows]
    if before.users.dtype.kind in "iu":
        columns["user_id"] = [int(user) if user.isdecimal() else user for user in columns["user_id"]]
    names = {
        role: {"user": "user_id", "item": "item_id", "time": "timestamp"}.get(role, role)
        for role in roles
        if role != "session"
    }
    return read_events(
        columns, Columns(**{role: name for role, name in names.items() if name in columns}), time_unit="ms"
    )


def _publish(store: Path, result: "Retrained", out: Path) -> str:
    """Export the new model, publish it, and promote it if it passes the gate; return the number of its version."""
    from tempfile import TemporaryDirectory

    from reprise.cli.commands.export import training_metadata
    from reprise.model_store.model_store import ModelStore
    from reprise.recommender.recommender import Recommender
    from reprise.training.run_directory import load_run

    opened = ModelStore(store)
    model, data = load_run(out)
    with TemporaryDirectory(prefix="reprise-") as folder:
        path = Path(folder) / "model"
        Recommender(model, data, training=training_metadata(out)).save(path)
        is_first = opened.current() is None
        version = opened.publish(
            path, f"retrained: {out.name}", facts={"gate": result.gate.to_dict()},
            promote=result.gate.passed or is_first,
        )  # fmt: skip
    return version.name
