"""Where the access key comes from, and that it is never shown."""

from __future__ import annotations

import re
from pathlib import Path
from shlex import quote

import pytest

from bulkdel.errors import UsageError
from bulkdel_jobs.genauth.access_key import KEY_ID, KEY_SECRET, Credentials, find_credentials
from tests.mutants import mutant
from tests.syntax import swap

ID, SECRET = "64f0c0ffee64f0c0ffee0001", "s3cr3t-s3cr3t-s3cr3t"


def written(folder: Path, text: str | bytes, mode: int = 0o600) -> str:
    path = folder / "key.env"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    path.chmod(mode)
    return str(path)


def test_environment() -> None:
    assert find_credentials({KEY_ID: f" {ID} ", KEY_SECRET: f"{SECRET}\n"}, None) == Credentials(ID, SECRET)
    assert find_credentials({}, None) is None
    assert find_credentials({KEY_ID: "", KEY_SECRET: "  "}, None) is None


def test_file(tmp_path: Path) -> None:
    text = f"# the key of the export job\n\n{KEY_ID}={ID}\n  {KEY_SECRET} = '{SECRET}'\nOTHER=x=y\n"
    assert find_credentials({}, written(tmp_path, text)) == Credentials(ID, SECRET)
    assert find_credentials({}, written(tmp_path, f'{KEY_ID}="{ID}"\r\n{KEY_SECRET}=a=b==\r\n')) == Credentials(
        ID, "a=b=="
    )
    shell = f"export {KEY_ID}={ID}\n  export\t{KEY_SECRET}='{SECRET}'\n"
    assert find_credentials({}, written(tmp_path, shell)) == Credentials(ID, SECRET)
    assert find_credentials({}, written(tmp_path, "OTHER=1\n")) is None


def test_a_file_below_the_home_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    written(tmp_path, f"{KEY_ID}={ID}\n{KEY_SECRET}={SECRET}\n")
    assert find_credentials({}, "~/key.env") == Credentials(ID, SECRET)


def test_the_environment_outweighs_the_file(tmp_path: Path) -> None:
    file = written(tmp_path, f"{KEY_ID}=other\n{KEY_SECRET}=other\n")
    assert find_credentials({KEY_ID: ID, KEY_SECRET: SECRET}, file) == Credentials(ID, SECRET)
    # Half a key in the environment is not completed from elsewhere.
    with pytest.raises(UsageError, match=f"the environment has {KEY_ID} but not {KEY_SECRET}"):
        find_credentials({KEY_ID: ID}, file)


@pytest.mark.parametrize(("name", "missing"), [(KEY_ID, KEY_SECRET), (KEY_SECRET, KEY_ID)])
def test_half_a_key(tmp_path: Path, name: str, missing: str) -> None:
    with pytest.raises(UsageError, match=f"the environment has {name} but not {missing}"):
        find_credentials({name: SECRET}, None)
    with pytest.raises(UsageError, match=f"has {name} but not {missing}") as caught:
        find_credentials({}, written(tmp_path, f"{name}={SECRET}\n"))
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("char", ["\udcff", "\n", "\x1b"])
@pytest.mark.parametrize("name", [KEY_ID, KEY_SECRET])
def test_a_key_that_no_request_can_carry(name: str, char: str) -> None:
    """A byte that is not UTF-8 is half a surrogate in the environment of a Python process."""
    with pytest.raises(UsageError, match=f"{name} in the environment has a character that no key has") as caught:
        find_credentials({KEY_ID: ID, KEY_SECRET: SECRET, name: f"{SECRET}{char}{SECRET}"}, None)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o610, 0o644, 0o777])
def test_others_must_not_be_able_to_read_it(tmp_path: Path, mode: int) -> None:
    file = written(tmp_path, f"{KEY_ID}={ID}\n{KEY_SECRET}={SECRET}\n", mode)
    with pytest.raises(UsageError, match=re.escape(f"chmod 600 {quote(file)}")):
        find_credentials({}, file)


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_modes_that_will_do(tmp_path: Path, mode: int) -> None:
    assert find_credentials({}, written(tmp_path, f"{KEY_ID}={ID}\n{KEY_SECRET}={SECRET}\n", mode)) is not None


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        find_credentials({}, str(tmp_path / "missing"))
    folder = tmp_path / "folder"
    folder.mkdir(mode=0o700)
    with pytest.raises(UsageError, match="Is a directory"):
        find_credentials({}, str(folder))
    with pytest.raises(UsageError, match="not text"):
        find_credentials({}, written(tmp_path, b"\xff\xfe"))


def test_a_bad_line_is_named_by_its_number_and_not_quoted(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="line 3: not NAME=VALUE") as caught:
        find_credentials({}, written(tmp_path, f"# x\n{KEY_ID}={ID}\n{SECRET}\n"))
    assert SECRET not in str(caught.value)


def test_a_secret_is_in_no_repr() -> None:
    credentials = Credentials(ID, SECRET)
    assert SECRET not in repr(credentials)
    assert credentials.masked == "64f0…0001"
    assert Credentials("short", SECRET).masked == "…"


@mutant(
    "of a secret that is given twice one is taken",
    "text_named",
    swap(
        'if given:\n    raise UsageError(f"the environment sets {variable} and {source}: leave one of them out")',
        "if given and not path:\n"
        '    raise UsageError(f"the environment sets {variable} and {source}: leave '
        'one of them out")',
    ),
)
def test_each_half_may_be_in_a_file_that_a_variable_names(tmp_path: Path) -> None:
    """As containers mount them: readable for others, perhaps with one newline at the end."""
    for name, text in (("id", f"{ID}\n"), ("secret", SECRET)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o444)
    by_file = {f"{KEY_ID}_FILE": str(tmp_path / "id"), f"{KEY_SECRET}_FILE": str(tmp_path / "secret")}
    assert find_credentials(by_file, None) == Credentials(ID, SECRET)
    half = {KEY_ID: ID, f"{KEY_SECRET}_FILE": by_file[f"{KEY_SECRET}_FILE"]}
    assert find_credentials(half, written(tmp_path, "x=y\n")) == Credentials(ID, SECRET)
    with pytest.raises(UsageError, match=f"sets {KEY_ID} and {KEY_ID}_FILE: leave one of them out"):
        find_credentials({KEY_ID: ID, **by_file}, None)


@pytest.mark.parametrize(
    ("content", "why"),
    [(None, "No such file"), (b"", "is empty"), (b"\n", "is empty"), (b"\xff", "not text"), (b"a\nb", "no key has")],
)
def test_such_a_file_that_cannot_be_used_is_named_and_not_quoted(
    tmp_path: Path, content: bytes | None, why: str
) -> None:
    if content is not None:
        (tmp_path / "secret").write_bytes(content)
    with pytest.raises(UsageError, match=why) as caught:
        find_credentials({KEY_ID: ID, f"{KEY_SECRET}_FILE": str(tmp_path / "secret")}, None)
    assert KEY_SECRET in str(caught.value)
