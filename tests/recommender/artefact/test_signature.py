"""A signed model is accepted with its key only, no byte of it can be changed, and files that are not keys are refused."""

import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from manifests import rewrite

from reprise.errors import ArtefactError, ConfigError
from reprise.recommender import PublicKey, Recommender, SigningKey, make_key_pair
from reprise.recommender.artefact.artefact import FILES, MANIFEST
from reprise.recommender.artefact.signature import SIGNATURE


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The private keys `release` and `other`, each with its public key."""
    folder = tmp_path_factory.mktemp("keys")
    for name in ("release", "other"):
        make_key_pair(folder / name)
    return folder


@pytest.fixture(scope="module")
def signed_once(shop: Recommender, keys: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("signed") / "shop.model"
    shop.save(path, sign=keys / "release")
    return path


@pytest.fixture
def signed(signed_once: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(signed_once, tmp_path / "shop.model"))


def test_a_signed_model_is_loaded_with_its_key_and_without_one(
    signed: Path, keys: Path, shop: Recommender
) -> None:
    expected = shop.recommend(["p1"])
    assert Recommender.load(signed, verify=keys / "release.pub").recommend(["p1"]) == expected
    assert Recommender.load(signed, verify=PublicKey.of(keys / "release.pub")).recommend(["p1"]) == expected
    assert Recommender.load(signed).recommend(["p1"]) == expected


def test_the_key_of_another_person_is_refused(signed: Path, keys: Path) -> None:
    with pytest.raises(
        ArtefactError, match=r"is not one of its manifest by the key of .*other\.pub .*another key signed it"
    ):
        Recommender.load(signed, verify=keys / "other.pub")


@pytest.mark.parametrize("name", [MANIFEST, *FILES])
def test_a_changed_byte_of_any_file_is_refused(signed: Path, keys: Path, name: str) -> None:
    data = bytearray((signed / name).read_bytes())
    data[len(data) // 2] ^= 1
    (signed / name).write_bytes(data)
    with pytest.raises(ArtefactError, match=r"was changed after it was s(aved|igned)"):
        Recommender.load(signed, verify=keys / "release.pub")


@pytest.mark.parametrize("name", FILES)
def test_a_change_with_correct_checksums_is_found_by_the_signature_only(
    signed: Path, keys: Path, name: str
) -> None:
    """An attacker can compute checksums, and could have changed any answer."""
    data = (signed / name).read_bytes()
    rewrite(signed, {name: data + b"\n"} if name == "README.md" else {name: data}, note="forged")
    Recommender.load(signed)
    with pytest.raises(ArtefactError, match="changed after it was signed"):
        Recommender.load(signed, verify=keys / "release.pub")


def test_every_file_that_is_read_is_in_the_signed_manifest(
    signed: Path, keys: Path, shop: Recommender
) -> None:
    """A file that the manifest does not name, such as an index of a search, changes no answer."""
    (signed / "search.faiss").write_bytes(b"not of this model")
    (signed / "step.onnx.data").write_bytes(b"weights")
    found = Recommender.load(signed, verify=keys / "release.pub")
    assert found.recommend(["p1"]) == shop.recommend(["p1"])
    for name in FILES:
        (signed / name).rename(signed / "hidden")
        with pytest.raises(ArtefactError, match=f"{name} is missing"):
            Recommender.load(signed, verify=keys / "release.pub")
        (signed / "hidden").rename(signed / name)


def test_the_signature_of_another_model_is_refused(
    signed: Path, keys: Path, counting_shop: Recommender, tmp_path: Path
) -> None:
    counting_shop.save(tmp_path / "other.model", sign=keys / "release")
    shutil.copy(tmp_path / "other.model" / SIGNATURE, signed / SIGNATURE)
    with pytest.raises(ArtefactError, match="is not one of its manifest by the key"):
        Recommender.load(signed, verify=keys / "release.pub")


@pytest.mark.parametrize("length", [0, 63, 65])
def test_a_signature_of_another_length_is_refused(signed: Path, keys: Path, length: int) -> None:
    (signed / SIGNATURE).write_bytes((signed / SIGNATURE).read_bytes()[:length] + b"x" * (length - 64))
    with pytest.raises(
        ArtefactError, match=r"is not one of its manifest|has 65 bytes, at most 64 are accepted"
    ):
        Recommender.load(signed, verify=keys / "release.pub")


def test_saving_without_a_key_removes_the_signature(signed: Path, keys: Path, shop: Recommender) -> None:
    shop.save(signed)
    assert not (signed / SIGNATURE).exists()
    with pytest.raises(
        ArtefactError, match=rf"is not signed \(it has no {SIGNATURE}\).*export it with --sign KEYFILE"
    ):
        Recommender.load(signed, verify=keys / "release.pub")


def test_a_key_pair_is_private_to_its_owner_and_replaces_no_file(tmp_path: Path) -> None:
    public = make_key_pair(tmp_path / "new" / "release")
    assert stat.S_IMODE((tmp_path / "new" / "release").stat().st_mode) == 0o600
    assert public.path == tmp_path / "new" / "release.pub"
    assert SigningKey.of(tmp_path / "new" / "release").public.fingerprint == public.fingerprint
    with pytest.raises(ConfigError, match="release exists, and a key that was replaced cannot sign any more"):
        make_key_pair(tmp_path / "new" / "release")
    (tmp_path / "new" / "release").unlink()
    with pytest.raises(ConfigError, match=r"release\.pub exists"):
        make_key_pair(tmp_path / "new" / "release")
    assert not (tmp_path / "new" / "release").exists()


def test_keys_and_signatures_are_those_of_openssl(signed: Path, keys: Path, tmp_path: Path) -> None:
    verify = ["openssl", "pkeyutl", "-verify", "-rawin", "-pubin", "-inkey", keys / "release.pub", "-in"]
    verify += [signed / MANIFEST, "-sigfile", signed / SIGNATURE]
    assert subprocess.run(verify, capture_output=True).returncode == 0
    (signed / MANIFEST).write_bytes((signed / MANIFEST).read_bytes() + b" ")
    assert subprocess.run(verify, capture_output=True).returncode != 0
    key = tmp_path / "made.pem"
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", key], check=True)
    public = subprocess.run(
        ["openssl", "pkey", "-in", key, "-pubout"], check=True, capture_output=True
    ).stdout
    (tmp_path / "made.pub").write_bytes(public)
    assert SigningKey.of(key).public.raw == PublicKey.of(tmp_path / "made.pub").raw


def test_files_that_are_not_keys_are_refused(keys: Path, tmp_path: Path) -> None:
    private = serialization.load_pem_private_key((keys / "release").read_bytes(), None)
    coding = serialization.PrivateFormat.PKCS8
    locked, curve, text = tmp_path / "locked", tmp_path / "curve", tmp_path / "text"
    secret = serialization.BestAvailableEncryption(b"secret")
    locked.write_bytes(private.private_bytes(serialization.Encoding.PEM, coding, secret))
    other = ec.generate_private_key(ec.SECP256R1())
    curve.write_bytes(other.private_bytes(serialization.Encoding.PEM, coding, serialization.NoEncryption()))
    text.write_text("-----BEGIN PUBLIC KEY-----\nnothing\n-----END PUBLIC KEY-----\n")
    for file, fault in (
        (locked, r"is a private key with a password; decrypt it for the call with `openssl pkey -in"),
        (curve, "is not a private Ed25519 key in PEM; sign with a private key"),
        (keys / "release.pub", "is a public key; sign with a private key"),
        (
            tmp_path / "none",
            r"cannot be read \(No such file or directory\); make a pair with `reprise signing-key",
        ),
    ):
        with pytest.raises(ConfigError, match=fault):
            SigningKey.of(file)
    for file, fault in (
        (keys / "release", r"is a private key; verify with the public key, release\.pub"),
        (text, "is not a public Ed25519 key in PEM"),
        (tmp_path, r"cannot be read \(Is a directory\)"),
    ):
        with pytest.raises(ConfigError, match=fault):
            PublicKey.of(file)


def test_without_the_library_the_message_says_what_to_install(
    signed: Path, keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cryptography.exceptions", None)
    with pytest.raises(ConfigError, match=r"need cryptography: pip install 'reprise\[sign\]'"):
        Recommender.load(signed, verify=keys / "release.pub")
    Recommender.load(signed)  # without a key, no signature is read
