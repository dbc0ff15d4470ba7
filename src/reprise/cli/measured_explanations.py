"""`reprise evaluate --explain`: how faithful the explanations of each trained network are."""

from pathlib import Path

import typer


def show_explanations(runs: list[Path], dataset: Path | None, *, trusted: bool) -> None:
    """Print deletion and insertion of several methods for each run that is a single network.

    Args:
        runs: Directories of runs. Baselines and ensembles have none of these explanations.
        dataset: Directory of their dataset, if it has moved.
        trusted: Whether the runs may import classes outside this package.
    """
    from reprise.evaluation.faithfulness.deletion_curves import measure_explanations
    from reprise.models.networks.sequence_model import SequenceModel
    from reprise.training.run_directory import load_run

    for run in runs:
        model, data = load_run(run, dataset, trusted=trusted)
        if isinstance(model, SequenceModel):
            typer.echo(f"\n{measure_explanations(model, data)}")
        else:
            typer.echo(
                f"\n{run}: explanations are measured for single networks, not for {type(model).__name__}"
            )
