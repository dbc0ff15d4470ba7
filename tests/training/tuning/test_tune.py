"""A search has the same trials for the same seed, interrupted or not, and does not use the test part."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from counting_spec import Counting, KillsItself

import reprise.training.start_run as start_run_module
import reprise.training.tuning.optuna_study as study_module
import reprise.training.tuning.tune as tune_module
from reprise.config import from_dict, load_toml
from reprise.data.dataset import SequenceDataset
from reprise.errors import ConfigError, DataError
from reprise.evaluation.evaluator import evaluate
from reprise.models.baselines.markov import Markov
from reprise.models.networks.ensemble import Ensemble
from reprise.models.networks.recurrent import Recurrent
from reprise.testing import worlds
from reprise.training import Recipe, RunOptions, TrainingConfig, train
from reprise.training.run_directory import RunDirectory, load_model
from reprise.training.trainer import Trainer
from reprise.training.tuning.optuna_study import OptunaStudy
from reprise.training.tuning.search_directory import Search, SearchDirectory, SearchOptions, Trial
from reprise.training.tuning.search_space import parse_space
from reprise.training.tuning.tune import tune

SMALL = Recurrent(size=8, layers=1, cooccurrence=0, repeats=0)
QUICK = TrainingConfig(epochs=2, events_per_batch=256, metric="mrr@5", refit=0)
RECIPE = Recipe(SMALL, QUICK)
SPACE = {"model.size": [4, 8], "training.learning_rate": "1e-3..3e-2:log"}
EXACT = RunOptions(precision="32-true", accelerator="cpu")
NOISE = worlds.noise(items=20, sequences=60)


def results(found: Search) -> list[tuple[Any, ...]]:
    return [(trial.number, *trial.fields.values(), trial.state, trial.value) for trial in found.trials]


@pytest.fixture(scope="module")
def search(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Search]:
    """Return the directory and the result of an uninterrupted search of twelve trials."""
    out = tmp_path_factory.mktemp("search") / "uninterrupted"
    return out, tune(RECIPE, NOISE, out, SPACE, trials=12, options=EXACT)


def test_the_best_recipe_gives_the_value_of_the_search(search: tuple[Path, Search], tmp_path: Path) -> None:
    """`best.toml`, trained separately with the same seed, has the value that the search reports."""
    out, found = search
    recipe = from_dict(load_toml(out / "best.toml"), Recipe)
    assert recipe == found.recipe
    assert found.value == max(trial.value or 0 for trial in found.trials if trial.state == "complete")
    model = train(recipe, NOISE, tmp_path / "best", options=replace(EXACT, threads=1))
    report = evaluate(model, NOISE, part="valid", at=(5,))
    assert report.metrics["mrr@5"].value == pytest.approx(found.value, abs=1e-9)


def test_tune_json_lists_all_trials(search: tuple[Path, Search]) -> None:
    out, found = search
    content = json.loads((out / "tune.json").read_text())
    assert [trial["number"] for trial in content["trials"]] == list(range(1, 13))
    assert {trial["state"] for trial in content["trials"]} == {"complete", "pruned"}
    assert content["metric"] == "mrr@5"
    assert content["best"]["value"] == found.value
    assert content["best"]["fields"] == found.best.fields
    for trial in content["trials"]:
        records = (out / "trials" / str(trial["number"]) / "metrics.jsonl").read_text().splitlines()
        assert trial["values"] == [json.loads(record)["valid mrr@5"] for record in records]
        assert trial["epochs"] == len(records) == (1 if trial["state"] == "pruned" else 2)
        assert trial["seconds"] > 0
    assert sum(content["importance"].values()) == pytest.approx(1, abs=1e-3)
    assert max(content["importance"], key=content["importance"].get) == "training.learning_rate"
    assert content["note"].endswith("with fewer than 20 trials it is only a hint")


def test_only_the_best_weights_are_kept(search: tuple[Path, Search]) -> None:
    out, found = search
    weights = [file.parent.name for file in out.rglob("best.safetensors")]
    assert weights == [str(found.best.number)]
    assert [file.parent.name for file in out.rglob("checkpoint.safetensors")] == weights
    model = load_model(RunDirectory(out / "trials" / weights[0]), NOISE, before="valid")
    report = evaluate(model, NOISE, part="valid", at=(5,))
    assert report.metrics["mrr@5"].value == found.value


def test_a_search_as_text(search: tuple[Path, Search]) -> None:
    _, found = search
    lines = str(found).splitlines()
    counts = [sum(trial.state == state for trial in found.trials) for state in ("complete", "pruned")]
    assert lines[0] == (
        f"12 trials ({counts[0]} complete, {counts[1]} pruned); best valid mrr@5 {found.value:.4f}"
    )
    assert f"  model.size = {found.best.fields['model.size']}" in lines
    assert [trial.state for trial in found.ranked()] == ["complete"] * counts[0] + ["pruned"] * counts[1]


class CrashError(Exception):
    """A simulated crash."""


@pytest.mark.parametrize("error", [KeyboardInterrupt, CrashError])
def test_an_interrupted_search_has_the_same_trials(
    error: type[BaseException], search: tuple[Path, Search], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Interrupted inside epochs, between epochs and between trials."""
    step, steps = Trainer._step, 0

    def stop_sometimes(self: Trainer, *rest: Any) -> Any:
        nonlocal steps
        steps += 1
        if steps % 11 == 0:
            raise error
        return step(self, *rest)

    monkeypatch.setattr(Trainer, "_step", stop_sometimes)
    stops = 0
    for _ in range(100):
        try:
            found = tune(RECIPE, NOISE, tmp_path / "search", SPACE, trials=12, options=EXACT)
            break
        except error:
            stops += 1
    assert stops > 3
    assert results(found) == results(search[1])
    assert found.importance == search[1].importance


def test_a_search_can_be_continued_with_more_trials(search: tuple[Path, Search], tmp_path: Path) -> None:
    out = tmp_path / "search"
    fewer = tune(RECIPE, NOISE, out, SPACE, trials=3, options=EXACT)
    assert len(fewer.trials) == 3
    assert fewer.importance == {}
    assert fewer.note == "3 trials are too few to estimate which fields matter (minimum 5)"
    assert results(tune(RECIPE, NOISE, out, SPACE, trials=12, options=EXACT)) == results(search[1])


def test_a_finished_search_is_loaded_without_trials(
    search: tuple[Path, Search], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tune_module, "run_trial", None)
    assert tune(RECIPE, NOISE, search[0], SPACE, trials=12, options=EXACT) == search[1]


def test_a_search_from_before_0_1_0_can_be_resumed(tmp_path: Path) -> None:
    """Its files have former names of fields and keys."""
    space = {"training.events_per_batch": [128, 256], "training.bptt_steps": [4, 8]}
    found = tune(RECIPE, NOISE, tmp_path, space, trials=3, options=EXACT)
    former = (
        ("events_per_batch", "tokens"),
        ("bptt_steps", "chunk"),
        ("duplicate_of", "twin"),
        ("crashes", "deaths"),
        ("reprise:Recipe", "reprise.training.config:Recipe"),
    )
    for file in [tmp_path / "search.json", *tmp_path.glob("trials/*.json")]:
        text = file.read_text()
        for current, name in former:
            text = text.replace(current, name)
        file.write_text(text)
    again = tune(RECIPE, NOISE, tmp_path, space, trials=3, options=EXACT)
    assert again == found
    space = {"training.tokens": [128, 256], "training.chunk": [4, 8]}
    assert len(tune(RECIPE, NOISE, tmp_path, space, trials=4, options=EXACT).trials) == 4


def test_another_seed_has_other_trials(search: tuple[Path, Search], tmp_path: Path) -> None:
    other = tune(RECIPE, NOISE, tmp_path / "s", SPACE, trials=2, options=replace(EXACT, seed=2))
    assert results(other) != results(search[1])[:2]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"space": {"model.size": [4, 16]}}, r"another space\.model\.size"),
        ({"space": dict(list(SPACE.items())[:1])}, r"another space\..* now None\)"),
        ({"model": Recipe(SMALL, replace(QUICK, epochs=3))}, r"another recipe\.training\.epochs \(2, now 3\)"),
        ({"options": replace(EXACT, seed=9)}, r"another seed \(1, now 9\)"),
        ({"dataset": worlds.cycle()}, "another fingerprint"),
    ],
)  # fmt: skip
def test_a_directory_with_another_search_is_refused(
    change: dict[str, Any], message: str, search: tuple[Path, Search]
) -> None:
    arguments = {
        "model": RECIPE,
        "dataset": NOISE,
        "out": search[0],
        "space": SPACE,
        "options": EXACT,
    } | change
    with pytest.raises(ConfigError, match=f"holds a search with {message}"):
        tune(**arguments)


def test_a_directory_with_other_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("text")
    with pytest.raises(ConfigError, match=r"is not a search directory \(it holds thesis\.txt\)"):
        tune(RECIPE, NOISE, tmp_path, SPACE)


def test_an_incomplete_manifest_is_refused(tmp_path: Path) -> None:
    (tmp_path / "search.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"holds a search with another format \(None, now 1\)"):
        tune(RECIPE, NOISE, tmp_path, SPACE)


def test_two_processes_cannot_search_in_one_directory(search: tuple[Path, Search]) -> None:
    with (
        SearchDirectory(search[0]).locked(),
        pytest.raises(ConfigError, match=r"another process searches in .*; use --workers"),
    ):
        tune(RECIPE, NOISE, search[0], SPACE, trials=12, options=EXACT)


def with_spoilt_test_part(dataset: SequenceDataset) -> SequenceDataset:
    """Return a copy whose test events have items that do not exist and times before all others."""
    item, time_ms = dataset.item.copy(), dataset.time_ms.copy()
    for begin, end in zip(*dataset.part("test"), strict=True):
        item[begin:end] = 10**6
        time_ms[begin:end] = -1
    return replace(dataset, item=item, time_ms=time_ms)


@pytest.mark.parametrize("model", [SMALL, replace(SMALL, cooccurrence=3, attention=2), Counting()])
def test_the_test_part_is_not_used(model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a spoilt test part a search has the same results, to the last digit. Only the leakage check reads it."""
    for module in (tune_module, start_run_module):
        monkeypatch.setattr(module, "check_leaks", lambda _: ())
    recipe = Recipe(model, replace(QUICK, refit=2))
    space = {"model.smoothing": "0.1..10:log"} if isinstance(model, Counting) else SPACE
    expected = tune(recipe, NOISE, tmp_path / "original", space, trials=3, options=EXACT)
    spoilt = tune(recipe, with_spoilt_test_part(NOISE), tmp_path / "spoilt", space, trials=3, options=EXACT)
    assert results(spoilt) == results(expected)


def test_leaks_are_an_error_before_the_first_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def leaking(dataset: SequenceDataset) -> None:
        raise DataError("training has events of the test part")

    monkeypatch.setattr(tune_module, "check_leaks", leaking)
    with pytest.raises(DataError, match="training has events of the test part"):
        tune(RECIPE, NOISE, tmp_path / "search", SPACE)
    assert not (tmp_path / "search").exists()


def test_trials_have_no_refit(tmp_path: Path) -> None:
    found = tune(Recipe(SMALL, replace(QUICK, refit=4)), worlds.cycle(), tmp_path, SPACE, trials=2)
    assert found.recipe.training.refit == 4
    assert RunDirectory(tmp_path / "trials" / "1").read()["recipe"]["training"]["refit"] == 0
    assert not list(tmp_path.rglob("final.safetensors"))


def test_a_model_that_is_fitted_by_counting_can_be_searched(tmp_path: Path) -> None:
    """Its trials have no epochs; their values are those of `evaluate`."""
    recipe = Recipe(Counting(), TrainingConfig(metric="mrr@5"))
    found = tune(recipe, NOISE, tmp_path / "search", {"model.smoothing": "0.01..100:log"}, trials=6)
    assert [trial.state for trial in found.trials] == ["complete"] * 6
    for trial in found.trials:
        scorer = Markov(trial.fields["model.smoothing"]).fit(NOISE)
        assert trial.value == evaluate(scorer, NOISE, part="valid", at=(5,)).metrics["mrr@5"].value
    assert found.recipe.model == Counting(found.best.fields["model.smoothing"])


def test_a_trial_that_cannot_be_trained_fails(tmp_path: Path) -> None:
    """With a learning rate of 1e30 the loss is not finite."""
    space = {"training.learning_rate": [1e30, 1e-2]}
    found = tune(RECIPE, NOISE, tmp_path / "s", space, trials=6, options=EXACT)
    failed = [trial for trial in found.trials if trial.state == "failed"]
    assert failed
    assert all(trial.fields["training.learning_rate"] == 1e30 for trial in failed)
    assert (failed[0].error or "").startswith("DivergedError: the ")
    assert found.best.fields == {"training.learning_rate": 1e-2}
    with pytest.raises(ConfigError, match=r"no trial in .* is complete: 2 failed, .*DivergedError"):
        tune(RECIPE, NOISE, tmp_path / "none", {"training.learning_rate": [1e30, 1e31]}, trials=2)


def test_the_same_fields_are_not_trained_twice(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Eight trials of two recipes need two runs, and continued searches have the same trials."""
    space = {"model.size": [4, 8]}
    with_lines = SearchOptions(progress=True)
    found = tune(RECIPE, NOISE, tmp_path / "s", space, trials=8, options=EXACT, search=with_lines)
    assert len(found.trials) == 8
    runs = [int(file.parent.name) for file in (tmp_path / "s").glob("trials/*/run.json")]
    assert len(runs) == 2
    for trial in found.trials:
        source = found.trials[trial.duplicate_of - 1] if trial.duplicate_of else trial
        assert source.number in runs
        assert (trial.value, trial.values, trial.state) == (source.value, source.values, source.state)
    assert any(line.endswith("  same as trial 1") for line in capsys.readouterr().err.splitlines())
    for trials in (3, 5, 8):
        again = tune(RECIPE, NOISE, tmp_path / "again", space, trials=trials, options=EXACT)
    assert results(again) == results(found)


def test_an_ensemble_is_searched_without_pruning(tmp_path: Path) -> None:
    recipe = Recipe(Ensemble(SMALL, members=2), QUICK)
    found = tune(recipe, NOISE, tmp_path, {"model.member.size": [4, 8]}, trials=2, options=EXACT)
    model = load_model(RunDirectory(tmp_path / "trials" / str(found.best.number)), NOISE, "valid")
    assert evaluate(model, NOISE, part="valid", at=(5,)).metrics["mrr@5"].value == found.value
    others = {str(trial.number) for trial in found.trials} - {str(found.best.number)}
    assert not [file for other in others for file in (tmp_path / "trials" / other).rglob("*.safetensors")]


def test_a_programming_error_ends_the_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Trainer, "fit", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        tune(RECIPE, NOISE, tmp_path, SPACE, trials=1)


def test_after_the_time_limit_the_search_can_be_resumed(search: tuple[Path, Search], tmp_path: Path) -> None:
    seconds = search[1].trials[0].seconds * 2.5
    try:
        part = tune(
            RECIPE,
            NOISE,
            tmp_path,
            SPACE,
            trials=12,
            options=EXACT,
            search=SearchOptions(timeout_s=seconds),
        )
        assert 0 < len(part.ranked()) < 12
    except ConfigError as error:  # the machine is busy
        assert "the time limit was reached" in str(error)
    assert results(tune(RECIPE, NOISE, tmp_path, SPACE, trials=12, options=EXACT)) == results(search[1])


@pytest.mark.parametrize("pruner", ["none", "hyperband"])
def test_pruners_none_and_hyperband(pruner: Any, tmp_path: Path) -> None:
    options = SearchOptions(pruner=pruner, keep="all")
    found = tune(RECIPE, NOISE, tmp_path, SPACE, trials=6, options=EXACT, search=options)
    if pruner == "none":
        assert all(len(trial.values) == 2 for trial in found.trials)
    assert len(list(tmp_path.rglob("best.safetensors"))) == 6


def test_progress_is_one_line_per_trial(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tune(RECIPE, NOISE, tmp_path, SPACE, trials=2, options=EXACT, search=SearchOptions(progress=True))
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("trial 1, 1 of 2 done  valid mrr@5 0.")
    assert " (best)  size " in first
    assert second.startswith("trial 2, 2 of 2 done  ")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": 3}, "model must be a spec with `build` or `fit`"),
        ({"trials": 0}, "trials must be at least 1, got 0"),
        ({"workers": 0}, "workers must be at least 1, got 0"),
        ({"workers": 2}, "worker processes cannot read a dataset in memory"),
        ({"model": Recipe(SMALL, TrainingConfig(metric="mrr@50"))}, "the catalogue has only 20; choose"),
        ({"space": {"model.sise": "1..3"}}, r"unknown field 'model\.sise'; did you mean 'model\.size'\?"),
    ],
)
def test_a_wrong_argument_creates_no_directory(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    arguments = {"model": RECIPE, "dataset": NOISE, "out": tmp_path / "search", "space": SPACE} | change
    with pytest.raises(ConfigError, match=message):
        tune(**arguments)
    assert not (tmp_path / "search").exists()


def test_without_optuna_the_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ConfigError) as caught:
        tune(RECIPE, NOISE, tmp_path / "search", SPACE)
    assert str(caught.value) == 'tuning needs optuna: pip install "reprise[tune]"'


def test_importance_finds_the_field_that_decides() -> None:
    study = OptunaStudy(parse_space({"a": "0..1.0", "b": "0..1.0", "c": "1,2"}), 1, "none", 1)
    generator = np.random.default_rng(0)
    trials = []
    for number in range(1, 41):
        a, b = generator.random(2).tolist()
        trials.append(
            Trial(number, {"a": a, "b": b, "c": 1 + number % 2}, "complete", value=1 - (b - 0.3) ** 2)
        )
    trials[3].state, trials[3].value = "pruned", 0.1
    trials[4].state, trials[4].value = "failed", None
    shares, note = study.importance(trials)
    assert next(iter(shares)) == "b"
    assert shares["b"] > 0.7
    assert note == "importance by PED-ANOVA, the best 13% of 39 trials compared with all of them"


# the tests below use data on disk and worker processes


def test_workers_give_the_same_values_as_one_process(shop: SequenceDataset, tmp_path: Path) -> None:
    never = SearchOptions(pruner="none")
    two = tune(RECIPE, shop, tmp_path / "two", SPACE, trials=4, workers=2, options=EXACT, search=never)
    one = tune(RECIPE, shop, tmp_path / "one", SPACE, trials=4, options=EXACT, search=never)
    assert [trial.state for trial in two.trials] == ["complete"] * 4
    # the first two are proposed before any trial is finished
    assert results(two)[:2] == results(one)[:2]
    for trial in two.trials:
        again = RunDirectory(tmp_path / "again" / str(trial.number))
        recipe = from_dict(
            RunDirectory(tmp_path / "two" / "trials" / str(trial.number)).read()["recipe"], Recipe
        )
        train(recipe, shop, again.path, options=replace(EXACT, threads=1))
        value = evaluate(load_model(again, shop, "valid"), shop, part="valid", at=(5,)).metrics["mrr@5"].value
        assert value == trial.value


def test_the_trial_of_a_killed_worker_is_resumed(shop: SequenceDataset, tmp_path: Path) -> None:
    counter = tmp_path / "counter"
    counter.write_text("1")
    recipe = Recipe(KillsItself(str(counter)), QUICK)
    found = tune(recipe, shop, tmp_path / "s", {"model.layers": [1, 2]}, trials=2, workers=2, options=EXACT)
    assert counter.read_text() == "0"
    assert [trial.state for trial in found.trials] == ["complete"] * 2


def test_a_trial_that_crashes_three_times_fails(search: tuple[Path, Search], tmp_path: Path) -> None:
    """The crashes are read from its file; the other trials continue."""
    out = tmp_path / "search"
    tune(RECIPE, NOISE, out, SPACE, trials=2, options=EXACT)
    directory = SearchDirectory(out)
    first, second = directory.trials(RECIPE)
    directory.save(replace(second, state="running", value=None, crashes=3))
    found = tune(RECIPE, NOISE, out, SPACE, trials=3, options=EXACT)
    assert [trial.state for trial in found.trials] == ["complete", "failed", "complete"]
    assert found.trials[1].error == "its process died 3 times; check that there is enough memory"
    assert found.trials[0] == first


SCRIPT = """
import sys
from reprise.data.dataset import SequenceDataset
from reprise.models.networks.recurrent import Recurrent
from reprise.training import Recipe, RunOptions, TrainingConfig
from reprise.training.tuning.tune import tune

training = TrainingConfig(epochs=2, events_per_batch=256, metric="mrr@5", refit=0)
recipe = Recipe(Recurrent(size=8, layers=1, cooccurrence=0, repeats=0), training)
found = tune(
    recipe,
    SequenceDataset.open(sys.argv[1]),
    sys.argv[2],
    {"model.size": [4, 8], "training.learning_rate": "1e-3..3e-2:log"},
    trials=4,
    workers=2,
    options=RunOptions(precision="32-true", accelerator="cpu"),
)
print(len(found.trials))
"""


def processes() -> list[tuple[int, int]]:
    """Return (process id, parent id) of all running processes, from /proc or `ps`."""
    if not Path("/proc/self/stat").exists():
        listed = subprocess.run(
            ["ps", "-A", "-o", "pid=,ppid=,stat="], capture_output=True, text=True, check=True
        )
        rows = [line.split() for line in listed.stdout.splitlines()]
    else:
        rows = []
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError):  # the process has just ended
                state, parent = stat.read_text().rpartition(")")[2].split()[:2]
                rows.append([stat.parent.name, parent, state])
    return [(int(process), int(parent)) for process, parent, state in rows if not state.startswith("Z")]


def children(process: int) -> list[int]:
    return [child for child, parent in processes() if parent == process]


def alive(process: int) -> bool:
    return any(one == process for one, _ in processes())


def until(condition: Any, seconds: float = 300.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"the condition did not become true in {seconds:g} s"
        time.sleep(0.02)


@pytest.fixture
def start(shop: SequenceDataset, tmp_path: Path) -> Iterator[Any]:
    """Return a function that starts a search with two workers in a separate process."""
    processes_started = []

    def search() -> subprocess.Popen[str]:
        command = [sys.executable, "-c", SCRIPT, str(shop.path), str(tmp_path / "s")]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        processes_started.append(process)
        return process

    yield search
    for process in processes_started:
        process.kill()
        process.communicate()


def test_a_killed_search_leaves_no_process_and_can_be_resumed(start: Any, tmp_path: Path) -> None:
    """After SIGINT and SIGKILL of the search its workers end too, and the same command finishes all trials."""
    trials = tmp_path / "s" / "trials"
    for sent, pattern in ((signal.SIGINT, "1/metrics.jsonl"), (signal.SIGKILL, "2.json")):
        killed = start()

        def is_searching(killed: Any = killed, pattern: str = pattern) -> bool:
            assert killed.poll() is None, f"the search ended before it was killed: {killed.communicate()}"
            return any(trials.glob(pattern)) and len(children(killed.pid)) >= 2

        until(is_searching)
        workers = children(killed.pid)
        os.kill(killed.pid, sent)
        _, errors = killed.communicate(timeout=120)
        assert killed.returncode != 0
        assert ("KeyboardInterrupt" in errors) == (sent == signal.SIGINT)
        until(lambda workers=workers: not any(alive(worker) for worker in workers), 60)
    assert "running" in {json.loads(file.read_text())["state"] for file in trials.glob("*.json")}
    again = start()
    out, errors = again.communicate(timeout=300)
    assert (again.returncode, out) == (0, "4\n"), errors
    states = [json.loads((trials / f"{number}.json").read_text())["state"] for number in range(1, 5)]
    assert states == ["complete"] * 4


def test_a_programming_error_in_a_worker_ends_the_search(shop: SequenceDataset, tmp_path: Path) -> None:
    recipe = Recipe(KillsItself(str(tmp_path / "no file")), QUICK)
    with pytest.raises(
        RuntimeError, match=r"(?s)trial 1 failed with a programming error:.*counter.read_text"
    ):
        tune(recipe, shop, tmp_path / "s", {"model.layers": [1, 2]}, trials=1, workers=2)


def test_optuna_logs_nothing(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    with caplog.at_level("INFO"):
        tune(RECIPE, NOISE, tmp_path, SPACE, trials=1, options=EXACT)
    assert not [record for record in caplog.records if record.name.startswith("optuna")]
    assert study_module.MIN_TRIALS > 1
