# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provisioning.database import connect
from provisioning.errors import VaultError
from provisioning.sealing import HA1_MD5, HA1_SHA256, TRUNK_PASSWORD, seal_all
from provisioning.vault import Vault, read_keys, write_keys

OLD, NEW = bytes(range(32)), bytes(range(1, 33))


@given(st.text(st.characters(exclude_categories=["Cs"])), st.text(st.characters(exclude_categories=["Cs"])))
def test_what_was_sealed_is_opened(plain: str, owner: str) -> None:
    vault = Vault([OLD])
    sealed = vault.seal(plain, owner)
    assert vault.open(sealed, owner) == plain
    assert vault.seal(plain, owner) != sealed


def test_what_ciphers_is_loaded_with_the_first_secret() -> None:
    code = (
        "import sys; from provisioning.vault import Vault; vault = Vault([bytes(32)]); before = set(sys.modules); "
        "vault.seal('x', 'y'); print('cryptography' in before, 'cryptography' in sys.modules)"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60).stdout
    assert told.split() == ["False", "True"]


def test_nothing_opens_for_another_owner_key_or_text() -> None:
    sealed = Vault([OLD]).seal("secret", "users.ha1_md5:a/anna")
    for text, owner, keys, said in (
        (sealed, "users.ha1_md5:a/bert", [OLD], "was changed"),
        (sealed[:-8] + "AAAAAAA=", "users.ha1_md5:a/anna", [OLD], "was changed"),
        (sealed, "users.ha1_md5:a/anna", [NEW], "not in the key file"),
        ("plain", "users.ha1_md5:a/anna", [OLD], "is not sealed"),
        ("v1:" + sealed[3:11] + ":AAAA", "users.ha1_md5:a/anna", [OLD], "was changed"),
    ):
        with pytest.raises(VaultError, match=said):
            Vault(keys).open(text, owner)


def test_a_key_file_is_made_once_and_only_for_its_owner(tmp_path: Path) -> None:
    path = tmp_path / "key"
    first = read_keys(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert read_keys(path) == first
    path.chmod(0o644)
    with pytest.raises(VaultError, match="chmod 600"):
        read_keys(path)
    path.write_text("hello")
    path.chmod(0o600)
    with pytest.raises(VaultError, match="openssl rand -hex 32"):
        read_keys(path)
    with pytest.raises(VaultError, match=r"database\.key_file"):
        read_keys(tmp_path / "none" / "key")


def test_a_new_key_seals_everything_anew(conninfo: str, tmp_path: Path) -> None:
    """What was stored before there was a key, and then under an old one, ends under the new one alone."""
    with connect(conninfo) as connection:
        connection.execute(
            "INSERT INTO users (tenant_id, realm, username, ha1_md5, ha1_sha256)"
            " VALUES (1, 'example.net', 'anna', repeat('a', 32), repeat('b', 64))"
        )
        connection.execute(
            "INSERT INTO trunks (tenant_id, name, host, transport, password, registration, sources, strip, prepend,"
            " caller_id, setup_seconds, retry_causes, enabled)"
            " VALUES (1, 'paris', 'h', 'udp', 'pw', false, '[]', 0, '', 'caller', 8, '[]', true)"
        )
        assert seal_all(conninfo, Vault([OLD])) == 3
        assert seal_all(conninfo, Vault([OLD])) == 0
        path = tmp_path / "key"
        write_keys(path, [NEW, OLD])
        assert seal_all(conninfo, Vault(read_keys(path))) == 3
        user = connection.execute("SELECT ha1_md5, ha1_sha256 FROM users").fetchone()
        trunk = connection.execute("SELECT password FROM trunks").fetchone()
    assert user
    assert trunk
    only_new = Vault([NEW])
    assert only_new.open(user["ha1_md5"], HA1_MD5.owner("example.net", "anna")) == "a" * 32
    assert only_new.open(user["ha1_sha256"], HA1_SHA256.owner("example.net", "anna")) == "b" * 64
    assert only_new.open(trunk["password"], TRUNK_PASSWORD.owner(1, "paris")) == "pw"
    with pytest.raises(VaultError, match="not in the key file"):
        seal_all(conninfo, Vault([bytes(32)]))
