"""API keys: creation, lookup, scopes, and the validation of the key file."""

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from reprise.errors import ConfigError
from reprise.server.http.auth import Keyring, add_key, read_keys

VALID = {"name": '"a"', "tenant": '"t"', "scopes": '["admin"]', "sha256": '"' + 64 * "0" + '"'}


def entry(**changed: str | None) -> str:
    """Return the text of a `[[key]]` table with some fields changed, or removed if None."""
    fields = {name: value for name, value in (VALID | changed).items() if value is not None}
    return "[[key]]\n" + "".join(f"{name} = {value}\n" for name, value in fields.items())


def test_keys_are_found_by_their_secrets_and_stored_as_hashes(tmp_path: Path) -> None:
    file = tmp_path / "keys.toml"
    front = add_key(file, "front", "shop", ["ingest", "recommend"])
    boss = add_key(file, "boss", "rival", ["admin"])
    keys = read_keys(file)
    assert len(keys) == 2
    found = keys.find(front)
    assert found is not None and (found.name, found.tenant) == ("front", "shop")
    assert found.allows("ingest") and found.allows("recommend") and not found.allows("admin")
    other = keys.find(boss)
    assert other is not None and other.tenant == "rival"
    for secret in ("", front[:-1], front + "x", "rp_"):
        assert keys.find(secret) is None
    assert front not in file.read_text() and boss not in file.read_text()
    assert front != boss and len(front) > 40
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_second_key_with_the_same_name_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "keys.toml"
    secret = add_key(file, "front", "shop", ["ingest"])
    with pytest.raises(ConfigError, match="already has a key 'front'; choose another name"):
        add_key(file, "front", "shop", ["admin"])
    assert read_keys(file).find(secret) is not None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no keys; make one with `reprise key NAME"),
        ("[[key]\n", "cannot be read"),
        ("keys = 3\n", "keys: extra inputs are not permitted; a [[key]] table has name, tenant, scopes and sha256"),
        ("key = 3\n", "key: input should be a valid list; a [[key]] table has"),
        ("key = [3]\n", "key 1: input should be a valid table; a [[key]] table has"),
        (entry(tenant=None), "tenant of key 'a': field required; a [[key]] table has"),
        (entry(tenant='""'), "tenant of key 'a': string should have at least 1 character"),
        (entry(name=None), "name of key 1: field required"),
        (entry(scopes="[]"), "scopes of key 'a': list should have at least 1 item"),
        (entry(scopes='["admn"]'), "'ingest', 'recommend' or 'admin', got 'admn'; did you mean 'admin'?"),
        (entry(sha256='"secret"'), "sha256 of key 'a': string should match pattern '^[0-9a-f]{64}$'; a [[key]] table has"),
        (entry(colour="1"), "colour of key 'a': extra inputs are not permitted"),
    ],
)  # fmt: skip
def test_an_invalid_key_file_is_an_error_that_names_file_entry_and_fault(
    tmp_path: Path, text: str, message: str
) -> None:
    file = tmp_path / "keys.toml"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_keys(file)
    assert str(caught.value).startswith(str(file)) and message in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_valid_entry_is_read(tmp_path: Path) -> None:
    file = tmp_path / "keys.toml"
    file.write_text(entry())
    assert len(read_keys(file)) == 1


def test_a_missing_key_file_is_an_error_with_the_command_that_makes_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is missing; make a key with `reprise key NAME --file"):
        read_keys(tmp_path / "keys.toml")


def test_an_unknown_scope_is_an_error_and_adds_no_key(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"of key 'a': .*, got 'ingst'; did you mean 'ingest'"):
        add_key(tmp_path / "keys.toml", "a", "shop", ["ingst"])
    assert not (tmp_path / "keys.toml").exists()


def test_an_empty_keyring_accepts_no_secret() -> None:
    assert Keyring([]).find("rp_x") is None


def test_a_key_file_that_is_not_a_regular_file_is_left_alone(tmp_path: Path) -> None:
    pipe = tmp_path / "keys.toml"
    os.mkfifo(pipe)
    with pytest.raises(ConfigError, match=r"keys\.toml is not a regular file, so keys cannot be kept in it"):
        add_key(pipe, "front", "shop", ["ingest"])
    assert pipe.is_fifo()


def test_keys_that_are_added_at_the_same_time_are_all_kept(tmp_path: Path) -> None:
    file = tmp_path / "keys.toml"
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda n: add_key(file, f"key {n}", "shop", ["admin"]), range(16)))
    keys = read_keys(file)
    assert len(keys) == 16 and all(keys.find(secret) for secret in made)
    assert [path.name for path in tmp_path.iterdir()] == ["keys.toml"]
