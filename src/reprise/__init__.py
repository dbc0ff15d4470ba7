"""Reprise: from an event log to next-item recommendations that are trained, honestly measured and served.

The names below are the whole public interface. Each is imported when it is first used, so that
`import reprise` loads neither torch nor a table engine.
"""

import importlib
import os
from typing import TYPE_CHECKING, Any

# Idle OpenMP threads spin unless told otherwise, and with a busy neighbour on the same cores they then wait for each
# other most of the time. It must be set before torch is first imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

if TYPE_CHECKING:
    from reprise.config import spec as spec
    from reprise.data.dataset import SequenceDataset as SequenceDataset
    from reprise.data.description import describe as describe
    from reprise.data.io.events import Columns as Columns
    from reprise.data.io.events import read_events as read_events
    from reprise.data.leakage.checks import find_leaks as find_leaks
    from reprise.data.leakage.findings import Leak as Leak
    from reprise.data.preparing.prepare import prepare as prepare
    from reprise.data.split import ColumnSplit as ColumnSplit
    from reprise.data.split import LeaveOneOut as LeaveOneOut
    from reprise.data.split import TimeSplit as TimeSplit
    from reprise.data.vocabulary import Vocabulary as Vocabulary
    from reprise.errors import ArtefactError as ArtefactError
    from reprise.errors import ConfigError as ConfigError
    from reprise.errors import DataError as DataError
    from reprise.errors import DivergedError as DivergedError
    from reprise.errors import LeakError as LeakError
    from reprise.evaluation.comparison.model_comparison import Candidate as Candidate
    from reprise.evaluation.comparison.model_comparison import ComparisonResult as ComparisonResult
    from reprise.evaluation.comparison.model_comparison import compare_models as compare_models
    from reprise.evaluation.comparison.paired import compare as compare
    from reprise.evaluation.comparison.seeds import aggregate_seeds as aggregate_seeds
    from reprise.evaluation.evaluator import evaluate as evaluate
    from reprise.evaluation.report import Report as Report
    from reprise.models.baselines.cooccurrence_scorer import Cooccurrence as Cooccurrence
    from reprise.models.baselines.item_knn import ItemKNN as ItemKNN
    from reprise.models.baselines.markov import Markov as Markov
    from reprise.models.baselines.popularity import Popularity as Popularity
    from reprise.models.baselines.popularity import RecentPopularity as RecentPopularity
    from reprise.models.baselines.popularity import SessionPopularity as SessionPopularity
    from reprise.models.baselines.session_knn import SessionKNN as SessionKNN
    from reprise.models.networks.adversarial import Adversarial as Adversarial
    from reprise.models.networks.autoencoder import Autoencoder as Autoencoder
    from reprise.models.networks.convolutional import Caser as Caser
    from reprise.models.networks.convolutional import Convolution as Convolution
    from reprise.models.networks.ensemble import Ensemble as Ensemble
    from reprise.models.networks.feed_forward import FeedForward as FeedForward
    from reprise.models.networks.recurrent import Recurrent as Recurrent
    from reprise.models.networks.transformer import Transformer as Transformer
    from reprise.recommender.recommendations import Recommendation as Recommendation
    from reprise.recommender.recommender import Recommender as Recommender
    from reprise.training.losses.full_softmax import FullSoftmax as FullSoftmax
    from reprise.training.losses.negatives import Negatives as Negatives
    from reprise.training.losses.sampled_losses import GBCE as GBCE
    from reprise.training.losses.sampled_losses import BPRMax as BPRMax
    from reprise.training.losses.sampled_losses import SampledSoftmax as SampledSoftmax
    from reprise.training.losses.sampled_losses import Softmax as Softmax
    from reprise.training.losses.sampled_losses import TOP1Max as TOP1Max
    from reprise.training.objectives import MaskedItem as MaskedItem
    from reprise.training.objectives import NextItem as NextItem
    from reprise.training.objectives import Reconstruction as Reconstruction
    from reprise.training.recipe import Recipe as Recipe
    from reprise.training.recipe import RunOptions as RunOptions
    from reprise.training.recipe import TrainingConfig as TrainingConfig
    from reprise.training.run_directory import load_run as load_run
    from reprise.training.trainer import train as train
    from reprise.training.tuning.search_directory import Search as Search
    from reprise.training.tuning.search_directory import SearchOptions as SearchOptions
    from reprise.training.tuning.tune import tune as tune

_HOMES = {
    "spec": "reprise.config",
    "SequenceDataset": "reprise.data.dataset",
    "describe": "reprise.data.description",
    "Columns": "reprise.data.io.events",
    "read_events": "reprise.data.io.events",
    "Leak": "reprise.data.leakage.findings",
    "find_leaks": "reprise.data.leakage.checks",
    "prepare": "reprise.data.preparing.prepare",
    "ColumnSplit": "reprise.data.split",
    "LeaveOneOut": "reprise.data.split",
    "TimeSplit": "reprise.data.split",
    "Vocabulary": "reprise.data.vocabulary",
    "ArtefactError": "reprise.errors",
    "ConfigError": "reprise.errors",
    "DataError": "reprise.errors",
    "DivergedError": "reprise.errors",
    "LeakError": "reprise.errors",
    "evaluate": "reprise.evaluation.evaluator",
    "Report": "reprise.evaluation.report",
    "compare": "reprise.evaluation.comparison.paired",
    "Cooccurrence": "reprise.models.baselines.cooccurrence_scorer",
    "aggregate_seeds": "reprise.evaluation.comparison.seeds",
    "Candidate": "reprise.evaluation.comparison.model_comparison",
    "ComparisonResult": "reprise.evaluation.comparison.model_comparison",
    "compare_models": "reprise.evaluation.comparison.model_comparison",
    "Adversarial": "reprise.models.networks.adversarial",
    "Autoencoder": "reprise.models.networks.autoencoder",
    "Caser": "reprise.models.networks.convolutional",
    "Convolution": "reprise.models.networks.convolutional",
    "FeedForward": "reprise.models.networks.feed_forward",
    "Transformer": "reprise.models.networks.transformer",
    "MaskedItem": "reprise.training.objectives",
    "NextItem": "reprise.training.objectives",
    "Reconstruction": "reprise.training.objectives",
    "Ensemble": "reprise.models.networks.ensemble",
    "ItemKNN": "reprise.models.baselines.item_knn",
    "Markov": "reprise.models.baselines.markov",
    "Popularity": "reprise.models.baselines.popularity",
    "RecentPopularity": "reprise.models.baselines.popularity",
    "SessionPopularity": "reprise.models.baselines.popularity",
    "Recurrent": "reprise.models.networks.recurrent",
    "SessionKNN": "reprise.models.baselines.session_knn",
    "Recommendation": "reprise.recommender.recommendations",
    "Recommender": "reprise.recommender.recommender",
    "Recipe": "reprise.training.recipe",
    "RunOptions": "reprise.training.recipe",
    "TrainingConfig": "reprise.training.recipe",
    "Negatives": "reprise.training.losses.negatives",
    "load_run": "reprise.training.run_directory",
    "GBCE": "reprise.training.losses.sampled_losses",
    "BPRMax": "reprise.training.losses.sampled_losses",
    "SampledSoftmax": "reprise.training.losses.sampled_losses",
    "Softmax": "reprise.training.losses.sampled_losses",
    "TOP1Max": "reprise.training.losses.sampled_losses",
    "Search": "reprise.training.tuning.search_directory",
    "SearchOptions": "reprise.training.tuning.search_directory",
    "FullSoftmax": "reprise.training.losses.full_softmax",
    "train": "reprise.training.trainer",
    "tune": "reprise.training.tuning.tune",
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("reprise")
    if name not in _HOMES:
        raise AttributeError(f"module 'reprise' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    # found once, found for good: the next look-up does not come here
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*_HOMES, "__version__"])
