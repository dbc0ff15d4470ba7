"""Load the network of a run without the counts of item pairs, which reveal who was in the log.

The repeat head and the bias of cold items were fitted together with the counts. Without the counts both are fitted again on
the validation part, as in training.
"""

from pathlib import Path

from reprise.argument_checks import file_path
from reprise.config import from_dict
from reprise.data.dataset import SequenceDataset
from reprise.models.items.content_embeddings import ContentEmbeddings
from reprise.models.networks.network_scorer import NetworkScorer
from reprise.models.networks.sequence_model import SequenceModel
from reprise.training.recipe import Recipe, RunOptions
from reprise.training.run_directory import RunDirectory, load_run
from reprise.training.stages.fit_cold_items import cold_slots, fit_cold_items, keep_cold_slots
from reprise.training.stages.fit_corrections import add_corrections
from reprise.training.train_step import fabric_for
from reprise.training.validation import Validation


def load_without_counts(
    path: str | Path, dataset: str | Path | None = None, *, trusted: bool = False
) -> tuple[NetworkScorer, SequenceDataset]:
    """Load the network of a run without its co-occurrence correction, and open the dataset on which it was trained.

    The repeat head, if the recipe has one, is fitted again without the counts, and kept if the validation part prefers it. So
    is the bias of cold items. This takes as long as these stages of the training. The run does not change.

    Args:
        path: The run directory.
        dataset: Directory of the prepared dataset, if it has moved since the training.
        trusted: Whether the run may import classes outside this package, which runs their code.

    Raises:
        ArtefactError: The directory is not a run, is damaged, or has no finished epoch.
        ConfigError: A class of the run is not trusted, or cannot be found.
        DataError: The dataset is missing, or is not the one on which the run was trained.
    """
    model, data = load_run(path, dataset, trusted=trusted)
    if model.cooccurrence is None:
        return model, data
    recipe: Recipe = from_dict(
        RunDirectory(file_path("path", path)).read()["recipe"],
        Recipe,
        trusted=trusted or "imported",
        stored=True,
    )
    config = recipe.training
    # fitted to the weights that have not learned the validation part
    best = (
        model
        if model.learned_before == "valid"
        else load_run(path, dataset, before="valid", trusted=trusted)[0]
    )
    fabric = fabric_for(RunOptions(accelerator="cpu", precision="32-true"))
    best.cooccurrence = model.cooccurrence = None
    # a new head, since the fit begins at its values, and the run may have kept none with the counts
    best.repeat_head = None if config.exclude_seen else recipe.model.build(model.sizes).repeat_head
    if best.repeat_head is not None:
        validation = Validation(config, data)
        before = validation(best, fabric.autocast())
        add_corrections(best, data, config, validation, fabric, before)
        best.drop_zero_corrections()
    model.repeat_head = best.repeat_head
    model.left_out_counts = True
    if isinstance(best, SequenceModel) and isinstance(best.items, ContentEmbeddings):
        assert isinstance(model, SequenceModel) and isinstance(model.items, ContentEmbeddings)
        fit_cold_items(best, data, config, fabric)
        if model is not best:
            model.items.cold_scored.copy_(best.items.cold_scored)
            keep_cold_slots(model, data, config, fabric, cold_slots(best, data, config, fabric))
    return model.eval(), data
