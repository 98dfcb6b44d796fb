"""A folder with an export and hostile modules beside it: no process that a command starts imports one of them.

The oracle is a file that every such module would write.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import xlsxwriter

from tests.harness import KEYS, POOL, PROGRAM, bulkdel, environment, sandbox, user_ids
from tests.mutants import mutant
from tests.syntax import swap

IDS = user_ids(1_500)
PAD = "x" * 1_000
"""So that the export can be cut."""


def hostile(folder: Path, proof: Path) -> None:
    """Put a module into the folder for everything that is installed, and for the standard library."""
    names = {name for name in {*packages_distributions(), *sys.stdlib_module_names} if name.isidentifier()}
    assert {"orjson", "aiohttp", "bulkdel", "bulkdel_jobs", "json"} <= names
    for name in names:
        (folder / f"{name}.py").write_text(f"open({str(proof)!r}, 'a').write(__name__ + '\\n')\nraise SystemExit(9)\n")


@mutant(
    "a process of a run imports modules from the folder of the export",
    "PROGRAM",
    swap('(sys.executable, "-P", "-m", "bulkdel")', '(sys.executable, "-m", "bulkdel")'),
    crashes=True,
)
def test_no_process_of_a_command_imports_a_module_of_its_folder(tmp_path: Path) -> None:
    """Shards, the conversion of a table, the runs of a batch and their verification."""
    folder, proof = tmp_path / "exports", tmp_path / "proof"
    folder.mkdir()
    (folder / "users.jsonl").write_text("".join(f"{json.dumps({'id': id_, 'pad': PAD})}\n" for id_ in IDS))
    (folder / "more.jsonl").write_text("".join(f'"{id_}"\n' for id_ in IDS[:50]))
    book = xlsxwriter.Workbook(str(folder / "keep.xlsx"))
    book.add_worksheet().write_column(0, 0, ["id", *IDS[:50]])
    book.close()
    key = folder / "key.env"
    key.write_text("".join(f"{name}={value}\n" for name, value in KEYS.items()))
    key.chmod(0o600)
    hostile(folder, proof)
    with sandbox([*IDS, *user_ids(1, seed=9)]) as served:
        where = ("--host", served.url, "--rate", 0, "--confirm", 1_450, "--pool", POOL)
        ran = bulkdel("run", "delete-users", "users.jsonl", "--shards", 2, "--exclude", "keep.xlsx", *where, cwd=folder)
        assert (ran.code, served.pool.deleted) == (0, 1_450), ran.err
        (folder / "night.toml").write_text(
            f'[[run]]\nname = "a"\njob = "delete-users"\nexport = "more.jsonl"\nhost = "{served.url}"\n'
            'credentials_file = "key.env"\n'
        )
        here = ("night.toml", "--host", served.url)
        planned = bulkdel("batch", "plan", *here, "--json", cwd=folder, env={})
        found = json.loads(planned.out)["to_confirm"]
        confirmed = ("--confirm", found["ids"], "--plan", found["plan"])
        assert bulkdel("batch", "run", *here, *confirmed, cwd=folder, env={}).code == 0
        assert served.pool.deleted == 1_500
        assert bulkdel("batch", "verify", *here, cwd=folder, env={}).code == 0
    assert not proof.exists(), proof.read_text()


def test_nor_does_a_process_of_a_batch_where_a_path_of_modules_has_an_empty_entry(tmp_path: Path) -> None:
    """It means the folder where the command is typed, and never that of the file of the batch."""
    theirs, own, proof = tmp_path / "theirs", tmp_path / "own", tmp_path / "proof"
    theirs.mkdir()
    own.mkdir()
    (theirs / "more.jsonl").write_text("".join(f'"{id_}"\n' for id_ in IDS[:50]))
    key = theirs / "key.env"
    key.write_text("".join(f"{name}={value}\n" for name, value in KEYS.items()))
    key.chmod(0o600)
    hostile(theirs, proof)
    relative = {"PYTHONPATH": f":{os.environ.get('PYTHONPATH', '')}", "SSL_CERT_FILE": "ca.pem"}
    with sandbox(IDS[:50]) as served:
        (theirs / "night.toml").write_text(
            f'[[run]]\nname = "a"\njob = "delete-users"\nexport = "more.jsonl"\nhost = "{served.url}"\n'
            'credentials_file = "key.env"\n'
        )
        words = ("batch", "plan", theirs / "night.toml", "--host", served.url, "--json")
        planned = bulkdel(*words, cwd=own, env=relative)
        assert planned.code == 0, planned
        ran = bulkdel(*json.loads(planned.out)["command"][1:], cwd=own, env=relative)
        assert (ran.code, served.pool.deleted) == (0, 50), ran
    assert not proof.exists(), proof.read_text()


@pytest.mark.parametrize("words", [("--version",), ("jobs",), ("plan", "delete-users", "none.jsonl")], ids=" ".join)
def test_nor_does_python_with_the_name_of_the_program(words: tuple[str, ...], tmp_path: Path) -> None:
    """What Python itself imports before the program, of its own library, it takes from there, and so a `bulkdel`."""
    folder, proof = tmp_path / "exports", tmp_path / "proof"
    folder.mkdir()
    hostile(folder, proof)
    for name in {"bulkdel", *sys.stdlib_module_names}:
        (folder / f"{name}.py").unlink(missing_ok=True)
    ran = subprocess.run(
        [*PROGRAM, *words], cwd=folder, env=environment({}), capture_output=True, text=True, check=False
    )
    assert (ran.returncode, proof.exists()) == (3 if "plan" in words else 0, False), ran


@pytest.mark.soak
def test_nor_does_a_process_of_the_demo(tmp_path: Path) -> None:
    folder, proof = tmp_path / "exports", tmp_path / "proof"
    folder.mkdir()
    hostile(folder, proof)
    assert bulkdel("demo", cwd=folder, env={}).code == 0
    assert not proof.exists(), proof.read_text()
