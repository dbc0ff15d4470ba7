"""Keys: who may do what, for whom."""

import stat
from pathlib import Path

import pytest

from reprise.errors import ConfigError
from reprise.server.http.auth import Keyring, add_key, read_keys


def test_a_key_is_found_by_its_secret_which_is_kept_nowhere(tmp_path: Path) -> None:
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


def test_a_name_is_taken_once(tmp_path: Path) -> None:
    file = tmp_path / "keys.toml"
    secret = add_key(file, "front", "shop", ["ingest"])
    with pytest.raises(ConfigError, match="has a key 'front' already; choose another name"):
        add_key(file, "front", "shop", ["admin"])
    assert read_keys(file).find(secret) is not None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no key; make one with `reprise key NAME"),
        ("[[key]\n", "cannot be read"),
        ("keys = 3\n", "is no file of keys"),
        ("key = 3\n", "is no file of keys"),
        ('[[key]]\nname = "a"\n', "a key has name, tenant, scopes and sha256, got ['name']"),
        ('[[key]]\nname = "a"\ntenant = ""\nsha256 = "x"\nscopes = ["admin"]\n', "a key has name"),
        ('[[key]]\nname = "a"\ntenant = "t"\nsha256 = "x"\nscopes = []\n', "are a list of some of ingest"),
        (
            '[[key]]\nname = "a"\ntenant = "t"\nsha256 = "x"\nscopes = ["admn"]\n',
            "unknown scope 'admn' of key 'a'; did you mean 'admin'?",
        ),
    ],
)
def test_a_file_that_cannot_be_read_says_why(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "keys.toml"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_keys(file)
    assert message in str(caught.value)


def test_a_missing_file_says_how_to_make_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is missing; make a key with `reprise key NAME --file"):
        read_keys(tmp_path / "keys.toml")


def test_an_unknown_scope_makes_no_key(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="unknown scope 'ingst' of key 'a'; did you mean 'ingest'"):
        add_key(tmp_path / "keys.toml", "a", "shop", ["ingst"])
    assert not (tmp_path / "keys.toml").exists()


def test_no_keys_let_nobody_in() -> None:
    assert Keyring([]).find("rp_x") is None
