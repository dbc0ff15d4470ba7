from dataclasses import replace
from pathlib import Path

import pytest

from reprise.data.dataset import SequenceDataset
from reprise.errors import ArtefactError, ConfigError, DataError
from reprise.models.networks.recurrent import Recurrent
from reprise.report.candidates import find_candidates, open_common
from reprise.testing import worlds
from reprise.training import Recipe, TrainingConfig
from reprise.training.run_directory import RunDirectory, manifest_of

DATASET = worlds.cycle()


def run(path: Path, seed: int = 1, dataset: SequenceDataset = DATASET, **spec: object) -> Path:
    recipe = Recipe(model=Recurrent(size=8, layers=1, **spec))  # type: ignore[arg-type]
    RunDirectory(path).begin(manifest_of(recipe, dataset, seed), dataset)
    return path


def test_runs_with_different_seeds_are_one_candidate(tmp_path: Path) -> None:
    runs = [run(tmp_path / f"s{seed}", seed) for seed in (3, 1)]
    (one,) = find_candidates(runs, [])
    assert (one.name, one.seeds, one.runs) == ("rglru 1 x 8", (3, 1), tuple(runs))


def test_runs_with_the_same_seed_are_two_candidates(tmp_path: Path) -> None:
    before, after, other = (
        run(tmp_path / name, seed) for name, seed in (("before", 1), ("after", 1), ("other", 2))
    )
    one, two = find_candidates([before, after, other], [])
    assert (one.name, one.runs) == ("before", (before, other))
    assert (two.name, two.runs) == ("after", (after,))


def test_equal_names_are_replaced_by_directories(tmp_path: Path) -> None:
    plain, gaps, gru = (
        run(tmp_path / "plain"),
        run(tmp_path / "gaps", gaps=True),
        run(tmp_path / "gru", cell="gru"),
    )
    names = [one.name for one in find_candidates([plain, gaps, gru], ["popularity"])]
    assert names == ["plain", "gaps", "gru 1 x 8", "popularity"]


def test_equal_directory_names_are_replaced_by_paths(tmp_path: Path) -> None:
    one, two = run(tmp_path / "a" / "run"), run(tmp_path / "b" / "run", gaps=True)
    assert [found.name for found in find_candidates([one, two], [])] == [str(one), str(two)]


def test_missing_field_of_an_older_run_has_its_default(tmp_path: Path) -> None:
    old, new = run(tmp_path / "old", 1), run(tmp_path / "new", 2)
    text = (old / "run.json").read_text()
    assert '"warmup": 0.02' in text
    (old / "run.json").write_text(text.replace('"warmup": 0.02,', "").replace(',\n      "warmup": 0.02', ""))
    assert '"warmup"' not in (old / "run.json").read_text()
    assert TrainingConfig().warmup == 0.02
    assert len(find_candidates([old, new], [])) == 1


@pytest.mark.parametrize(
    ("runs", "baselines", "message"),
    [
        ([], [], "nothing to evaluate: name a run, or baselines with --baselines"),
        (["a", "a"], [], "the run .*a is named twice; name it once"),
        ([], ["markov", "markov"], "the baseline markov is named twice; name it once"),
    ],
)
def test_nothing_or_something_twice_is_an_error(
    runs: list[str], baselines: list[str], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        find_candidates([run(tmp_path / name) for name in runs], baselines)


def test_directory_without_a_run_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match="is not a run"):
        find_candidates([tmp_path], [])


def test_dataset_must_be_known_and_the_same_for_all_runs(tmp_path: Path) -> None:
    here = run(tmp_path / "here")
    with pytest.raises(
        DataError, match="was trained on a dataset in memory; prepare it, and name its directory"
    ):
        open_common([here], None)
    with pytest.raises(ConfigError, match="the report was made on data in memory; name its directory"):
        open_common([], None)
    other = run(tmp_path / "other", dataset=replace(DATASET, fingerprint="else"))
    with pytest.raises(ConfigError, match="was trained on another dataset than"):
        open_common([here, other], None)


def test_untrusted_recipe_imports_nothing(tmp_path: Path) -> None:
    untrusted = run(tmp_path / "untrusted")
    text = (untrusted / "run.json").read_text()
    (untrusted / "run.json").write_text(text.replace("reprise:Recurrent", "other:Model"))
    with pytest.raises(ConfigError, match="'other:Model' lies outside the package reprise"):
        find_candidates([untrusted], [], trusted=False)
