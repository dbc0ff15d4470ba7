"""Add forecast heads to a finished run."""

from pathlib import Path

from reprise.argument_checks import file_path
from reprise.data.dataset import SequenceDataset
from reprise.errors import ConfigError
from reprise.forecast.forecast_heads import ForecastHeads
from reprise.models.networks.network_scorer import NetworkScorer
from reprise.training.forecasting.fit_forecast import fit_forecast
from reprise.training.run_directory import RunDirectory, load_run


def add_forecast(
    path: str | Path, dataset: str | Path | None = None, *, trusted: bool = False, seed: int = 1
) -> ForecastHeads:
    """Fit forecast heads for the network of a finished run, and store them in the run, in place of any earlier heads.

    The weights of the network, and so the ranking of items, do not change.

    Args:
        path: The run directory.
        dataset: Directory of the prepared dataset, if it has moved since the training.
        trusted: Whether the run may import classes outside this package.
        seed: Seed of the fit.

    Raises:
        ArtefactError: The directory is not a run, is damaged, or has no finished epoch.
        ConfigError: Another process trains in the run directory, or the run is private.
        DataError: The dataset is missing, has another fingerprint, or has nothing to forecast.
    """
    run = RunDirectory(file_path("path", path))
    model, data = load_run(path, dataset, trusted=trusted)
    return store_forecast(run, model, data, seed)


def store_forecast(
    run: RunDirectory, model: NetworkScorer, dataset: SequenceDataset, seed: int
) -> ForecastHeads:
    """Fit forecast heads for the network of a run, set `model.forecast`, and store the heads in the run.

    Raises:
        ConfigError: The network was trained with differential privacy.
    """
    if model.public_facts is not None:
        raise ConfigError(
            f"{run.path} was trained with training.privacy, and forecast heads are fitted without noise; fit them to a run "
            "without privacy"
        )
    with run.locked():
        model.forecast = fit_forecast(model, dataset, seed=seed)
        run.write_forecast(model.forecast)
    return model.forecast
