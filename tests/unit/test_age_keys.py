"""Keys for an EncryptedStore: every form that is taken, every one that is refused, and no secret in what is said of them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import traceback
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest
from pyrage import plugin, ssh, x25519

from wwauth._age import load_identities, load_recipients, new_identity
from wwauth.errors import ConfigurationError
from wwauth.stores import EncryptedStore, MemoryStore

if TYPE_CHECKING:
    from pathlib import Path

KEY, OTHER = x25519.Identity.generate(), x25519.Identity.generate()
SECRET, PUBLIC, OTHER_PUBLIC = str(KEY), str(KEY.to_public()), str(OTHER.to_public())
PLUGIN_PUBLIC = "age1yubikey1qgg72x2qfk9wg3wh0qg9u0v7l5dkq4jx69fv80p6wdus3ftg6flwg5dz2dp"

posix = pytest.mark.skipif(sys.platform == "win32", reason="only POSIX systems have permission bits")


def store(recipients: Any, identities: Any, inner: Any = None) -> EncryptedStore:
    return EncryptedStore(inner or MemoryStore(), recipients=recipients, identities=identities)


def refusal(recipients: Any, identities: Any) -> str:
    with pytest.raises(ConfigurationError) as raised:
        store(recipients, identities)
    # The frames of this file hold the keys, as the caller's do; wwauth's hold none that a report of an error would show.
    error: BaseException | None = raised.value
    while error is not None:
        for frame, _ in traceback.walk_tb(error.__traceback__):
            if frame.f_code.co_filename != __file__:
                assert SECRET[20:-3] not in repr(frame.f_locals)
        error = error.__context__
    assert "SECRET-KEY-1" not in str(raised.value).replace("AGE-SECRET-KEY-1…", "")
    return str(raised.value)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "identity").write_text(f"# a comment\n\n# public key: {PUBLIC}\n{SECRET}\r\n")
    (tmp_path / "recipients").write_text(f"# ours\n{PUBLIC}\n{OTHER_PUBLIC}\n")
    for path in tmp_path.iterdir():
        path.chmod(0o600)
    return tmp_path


def test_keys_are_texts_paths_and_objects(files: Path) -> None:
    identity, recipients = files / "identity", files / "recipients"
    for public in (PUBLIC, f" {PUBLIC}\n", PUBLIC.upper(), KEY.to_public(), recipients, str(recipients), identity):
        for secret in (SECRET, f"{SECRET}\n", SECRET.lower(), identity.read_text(), KEY, identity, str(identity)):
            assert PUBLIC in store([public], [secret]).recipients


def test_public_keys_are_told_once_and_in_order(files: Path) -> None:
    expected = tuple(sorted([PUBLIC, OTHER_PUBLIC]))
    for given in ([PUBLIC, OTHER_PUBLIC], [OTHER_PUBLIC, PUBLIC, PUBLIC.upper()], [files / "recipients"]):
        keys, names, problem = load_recipients(given)
        assert (len(keys), names, problem) == (2, expected, None)


def test_ssh_keys(tmp_path: Path) -> None:
    for kind, protected in (("ed25519", ""), ("rsa", ""), ("ed25519", "secret words")):
        path = tmp_path / f"{kind}{len(protected)}"
        keygen = ["ssh-keygen", "-q", "-t", kind, "-N", protected, "-C", "a comment", "-f", str(path)]
        try:
            subprocess.run(keygen, check=True, stdin=subprocess.DEVNULL)
        except FileNotFoundError:
            pytest.skip("ssh-keygen is not installed: apt install openssh-client")
        public = path.with_name(f"{path.name}.pub")
        if protected:
            assert "has no passphrase" in refusal([public], [path])
            continue
        words = public.read_text().split()
        assert store([public.read_text()], [path.read_text()]).recipients == (" ".join(words[:2]),)
        assert store([public], [path, SECRET]).recipients == (" ".join(words[:2]),)
        thing = ssh.Recipient.from_str(public.read_text().strip())
        assert store([thing, PUBLIC], [ssh.Identity.from_buffer(path.read_bytes())]).recipients == ("<pyrage.ssh>", PUBLIC)


@pytest.mark.parametrize(
    ("recipients", "identities", "sentence"),
    [
        ([PUBLIC], [OTHER], "none of the 1 identities fits a recipient"),
        ([PUBLIC], [], "identities is empty: give at least one key"),
        ([], [SECRET], "recipients is empty"),
        (PUBLIC, [SECRET], "invalid recipients of type str: give a list"),
        ([PUBLIC], SECRET, "invalid identities of type str: give a list"),
        ([PUBLIC], None, "invalid identities of type NoneType"),
        ([PUBLIC], [None], r"invalid identities\[0\] of type NoneType"),
        ([PUBLIC], [SECRET.encode()], r"invalid identities\[0\] of type bytes"),
        ([SECRET], [SECRET], r"recipients\[0\] is a secret key"),
        ([KEY], [SECRET], r"recipients\[0\] is a secret key: give its public one"),
        ([PUBLIC], [PUBLIC], r"identities\[0\] is a public key"),
        ([PUBLIC], [KEY.to_public()], r"identities\[0\] is a public key"),
        ([PUBLIC[:-1]], [SECRET], r"recipients\[0\] is no public key .*copied whole"),
        ([PUBLIC], [SECRET, SECRET[:-1]], r"identities\[1\] is no secret key .*copied whole"),
        ([PUBLIC], [SECRET[1:]], r"identities\[0\] is no key and no file of keys that can be read"),
        ([PUBLIC], ["./not there"], r"identities\[0\] './not there' is no key and no file .*No such file"),
        ([PUBLIC], ["a\0b"], r"identities\[0\] is no key and no file"),
        ([f"age1pq1{PUBLIC[4:]}"], [SECRET], r"recipients\[0\] is a hybrid \(post-quantum\) key, which pyrage has not"),
        ([PUBLIC], ["AGE-SECRET-KEY-PQ-1QQQ"], r"identities\[0\] is a hybrid"),
        ([PLUGIN_PUBLIC], [SECRET], r"recipients\[0\] is a key of the plugin 'yubikey': give a pyrage.plugin.Recip"),
        ([plugin.Identity.default_for_plugin("yubikey")], [SECRET], r"recipients\[0\] is a plugin's key alone: give a py"),
        ([PUBLIC], ["AGE-PLUGIN-YUBIKEY-1QQQ"], r"identities\[0\] is a key of a plugin: give a pyrage.plugin.Identity"),
        ([PUBLIC], [plugin.Identity.default_for_plugin("yubikey")], r"identities\[0\] is a plugin's key alone"),
        (["ssh-dss AAAA"], [SECRET], r"recipients\[0\] is no SSH key that age knows"),
        ([PUBLIC, *(OTHER_PUBLIC,) * 9, *(x25519.Identity.generate().to_public() for _ in range(400))], [SECRET], "too many"),
    ],
    ids=count(),  # keys are drawn anew in each process, and are no names
)
def test_what_is_wrong_is_named_with_the_cure(recipients: Any, identities: Any, sentence: str) -> None:
    said = refusal(recipients, identities)
    assert re.search(sentence, said), said


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "holds no key"),
        (b"# nothing\n", "holds no key"),
        (b"\xff\xfe", "can be read (not text)"),
        (b"age-encryption.org/v1\n-> scrypt", "is itself encrypted: decrypt it with `age -d` first"),
        (b"-----BEGIN AGE ENCRYPTED FILE-----\n", "is itself encrypted"),
        (b"-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n", "is no SSH key that age can use"),
        (f"{SECRET}\n{SECRET[:-3]}\n".encode(), "is no secret key"),
        (b"x" * 300_000, "has more than 262144 bytes"),
    ],
    ids=count(),
)
def test_what_is_wrong_with_a_file_is_named(tmp_path: Path, content: bytes, sentence: str) -> None:
    path = tmp_path / "keys"
    path.write_bytes(content)
    path.chmod(0o600)
    said = refusal([PUBLIC], [path])
    assert sentence in said
    assert str(path) in said


@pytest.mark.parametrize("inner", [None, object(), "file:backups"])
def test_what_is_no_store_is_refused(inner: object) -> None:
    with pytest.raises(ConfigurationError, match="EncryptedStore needs a Store"):
        EncryptedStore(inner, recipients=[PUBLIC], identities=[SECRET])  # type: ignore[arg-type]


@posix
def test_a_secret_key_that_others_can_read_is_warned_of(files: Path, caplog: pytest.LogCaptureFixture) -> None:
    store([files / "recipients"], [files / "identity"])
    (files / "recipients").chmod(0o644)
    store([files / "recipients"], [files / "identity"])
    assert caplog.records == []
    (files / "identity").chmod(0o640)
    store([PUBLIC], [files / "identity"])
    assert [record.getMessage() for record in caplog.records] == [
        f"others can read the secret key in {files / 'identity'}: chmod 600 it"
    ]


def test_a_new_identity_is_one() -> None:
    text, public = new_identity()
    created, told, secret = text.splitlines()
    assert created.startswith("# created: 20")
    assert told == f"# public key: {public}"
    assert text.endswith("\n")
    keys, problem = load_identities([secret])
    assert problem is None
    assert str(keys[0].to_public()) == public
    assert new_identity()[1] != public


def keygen(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "COLUMNS": "200", "NO_COLOR": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-m", "wwauth", "keygen", *arguments]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, encoding="utf-8", check=False)


@pytest.mark.parametrize(("arguments", "name"), [((), "wwauth.key"), (("mine.txt",), "mine.txt")])
def test_keygen(tmp_path: Path, arguments: tuple[str, ...], name: str) -> None:
    before = os.umask(0)
    try:
        done = keygen(*arguments, cwd=tmp_path)
    finally:
        os.umask(before)
    path = tmp_path / name
    assert (done.returncode, [entry.name for entry in tmp_path.iterdir()]) == (0, [name])
    if os.name == "posix":
        assert path.stat().st_mode & 0o777 == 0o600
    text = path.read_text()
    secret = text.splitlines()[-1]
    assert secret.startswith("AGE-SECRET-KEY-1")
    assert secret not in done.stdout + done.stderr
    assert f"# public key: {done.stdout.strip()}\n" in text
    assert store([path], [path]).recipients == (done.stdout.strip(),)


def test_keygen_overwrites_nothing(tmp_path: Path) -> None:
    (tmp_path / "wwauth.key").write_text("the only key")
    done = keygen(cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "wwauth: wwauth.key is there already, and may be the only key to a backup: name a new file\n"
    assert (tmp_path / "wwauth.key").read_text() == "the only key"


@posix
def test_keygen_says_where_it_cannot_write(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("elsewhere")
    assert "link is there already" in keygen("link", cwd=tmp_path).stderr
    done = keygen("no/such/folder.key", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert "cannot write no/such/folder.key: No such file or directory" in done.stderr
    assert [entry.name for entry in tmp_path.iterdir()] == ["link"]
