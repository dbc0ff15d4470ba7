"""The group of processes that torchrun describes in the environment."""

import pytest
import torch

from reprise.errors import ConfigError
from reprise.training import tune
from reprise.training.distributed.process_group import ALONE, process_group, started_processes


@pytest.fixture(autouse=True)
def no_former_group() -> None:
    process_group.cache_clear()


def test_a_process_without_torchrun_is_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.setenv("WORLD_SIZE", "8")
    assert process_group() is ALONE
    assert ALONE.is_main and ALONE.is_alone
    assert not torch.distributed.is_initialized()


def test_one_process_of_torchrun_is_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    assert process_group() is ALONE
    assert not torch.distributed.is_initialized()


def test_a_process_alone_communicates_with_itself() -> None:
    values = torch.tensor([1.0, 2.0])
    assert ALONE.sum(values) is values
    assert ALONE.gather(values)[0] is values
    assert ALONE.gather_json({"a": 1}) == [{"a": 1}]
    assert ALONE.any(True) and not ALONE.any(False)
    assert ALONE.claim("message") and ALONE.claim("message")
    with pytest.raises(KeyError), ALONE.together():
        raise KeyError


def test_an_environment_that_is_incomplete_names_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(
        ConfigError, match="LOCAL_RANK, MASTER_ADDR, MASTER_PORT is not set; start the processes with"
    ):
        process_group()
    monkeypatch.setenv("WORLD_SIZE", "two")
    with pytest.raises(ConfigError, match="WORLD_SIZE must be a number of processes, got 'two'"):
        started_processes()


def test_a_search_in_several_processes_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="a search trains separate networks, but all processes of torchrun"):
        tune(None, None, "runs")  # type: ignore[arg-type]
