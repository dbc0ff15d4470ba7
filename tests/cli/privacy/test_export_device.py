"""`reprise export-device`: the folder and what the command prints."""

from collections.abc import Callable
from pathlib import Path

from click.testing import Result

from reprise.privacy import DeviceClient
from reprise.recommender import Recommender


def test_the_folder_answers_without_a_server(
    shop: Path, reprise: Callable[..., Result], tmp_path: Path
) -> None:
    result = reprise("export-device", shop / "model", "--out", tmp_path / "device")
    assert result.exit_code == 0, result.output
    size = sum(file.stat().st_size for file in (tmp_path / "device").iterdir())
    assert result.output.splitlines()[0] == f"wrote {tmp_path / 'device'}: {size:,} bytes"
    client = DeviceClient(tmp_path / "device")
    client.add(3)
    assert len(client.recommend(5)) == 5
    assert client.ids == Recommender.load(shop / "model").items.ids.tolist()


def test_a_run_is_not_a_model(shop: Path, fails: Callable[..., str], tmp_path: Path) -> None:
    message = fails("export-device", shop / "run", "--out", tmp_path / "device")
    assert message.startswith(f"{shop / 'run'} is not a saved model (it is a run)")
    assert not (tmp_path / "device").exists()
