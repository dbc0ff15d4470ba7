"""`reprise audit`: attack the privacy of a run, and store what the attacks find for its model card."""

from pathlib import Path
from typing import Annotated

import typer

from reprise.cli.shared_options import Accelerator, DatasetOption, Trusted, check_output_file, drop_unset
from reprise.errors import ConfigError

EXAMPLE = "reprise audit runs/shop --others held_out.parquet --references 4 --workers 4 --max-tpr 0.02"
TOO_HIGH = 1
"""Exit status if an attack succeeds more often than `--max-tpr` allows."""


def audit(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A directory that `train` wrote.")],
    others: Annotated[
        Path,
        typer.Option(
            metavar="LOG",
            help="Events of at least 100 users who are not in the log of the run, with the same columns; or a dataset that "
            "`prepare` made of them.",
        ),
    ],
    reference: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="RUN2",
            help="A run that was trained on further users, to calibrate the attacks; repeatable.",
        ),
    ] = None,
    references: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=2, help="Train N reference models on halves of the others, an even number."
        ),
    ] = None,
    workers: Annotated[
        int, typer.Option(metavar="N", min=1, help="Number of reference models to train in parallel.")
    ] = 1,
    canaries: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=0,
            help="Insert about half of N users of random items into a copy of the dataset, and train on it. That costs as much "
            "as the run.",
        ),
    ] = 0,
    max_tpr: Annotated[
        float | None,
        typer.Option(
            metavar="0..1",
            min=0,
            max=1,
            help="Exit with status 1 if an attack finds more than this share of the members at 1 % false positives.",
        ),
    ] = None,
    users: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=100,
            help="Most members and others to attack, drawn at random.",
            show_default="5000",
        ),
    ] = None,
    targets: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=1, help="Last training events of each user to predict.", show_default="40"
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the report to this JSON file too.")
    ] = None,
    seed: Annotated[
        int, typer.Option(metavar="N", min=0, help="Seed of samples, reference models and canaries.")
    ] = 1,
    accelerator: Accelerator = None,
    dataset: DatasetOption = None,
    trusted: Trusted = False,
) -> None:
    """Find out what a model remembers of the users of its log: membership attacks, canaries, a bound on epsilon."""
    from reprise.privacy import AuditSettings
    from reprise.privacy import audit as audit_run
    from reprise.training import RunOptions

    if reference and references is not None:
        raise ConfigError(
            "--reference and --references are both given; name runs, or let the audit train some"
        )
    check_output_file(out, [others])
    training = RunOptions(workers=workers, **drop_unset(accelerator=accelerator))
    report = audit_run(
        run,
        others,
        references=reference or references or 0,
        canaries=canaries,
        settings=AuditSettings(seed=seed, training=training, **drop_unset(users=users, targets=targets)),
        dataset=dataset,
        trusted=trusted,
    )
    if out is not None:
        report.write(out)
    typer.echo(str(report))
    typer.echo(f"stored in {run}; `reprise export` writes it into the model card")
    rate = report.highest.tpr_at(0.01).value
    if max_tpr is not None and rate > max_tpr:
        typer.echo(
            f"reprise: {report.highest.name} finds {rate:.1%} of the members at 1 % false positives, more than --max-tpr "
            f"{max_tpr:g} allows",
            err=True,
        )
        raise typer.Exit(TOO_HIGH)
