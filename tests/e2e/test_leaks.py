"""Ways by which a secret leaves, or others come in, that no option names."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from bulkdel.command_line import CommandLine
from bulkdel.errors import UsageError
from bulkdel.fleet.on_ray.cluster import check_token_asked
from bulkdel.settings import Settings
from tests.harness import KEYS, bulkdel, user_ids, write_objects
from tests.mutants import mutant
from tests.syntax import swap

IDS = user_ids(3)


@mutant(
    "the keys of a TLS session are written to SSLKEYLOGFILE",
    "main",
    swap("os.environ.pop", "os.environ.get"),
)
def test_the_keys_of_a_tls_session_are_written_nowhere(tmp_path: Path) -> None:
    """Python's own TLS and other libraries would append them to the file that this variable names."""
    export, keys = write_objects(tmp_path / "e.jsonl", IDS), tmp_path / "keys"
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        host = f"https://localhost:{closed.getsockname()[1]}"
        ran = bulkdel(
            "plan", "delete-users", export, "--host", host, "--patience", "1s", env={**KEYS, "SSLKEYLOGFILE": str(keys)}
        )
    assert ran.code == 4, ran.err
    assert not keys.exists()


@mutant(
    "a config with a command that others may write is obeyed",
    "ConfigFile.__call__",
    swap("stat.S_IWGRP | stat.S_IWOTH", "stat.S_ISUID"),
)
@pytest.mark.parametrize(("mode", "code"), [(0o666, 2), (0o660, 2), (0o644, 0), (0o600, 0)])
def test_a_config_with_a_command_that_others_may_write_is_refused(mode: int, code: int, tmp_path: Path) -> None:
    export, config, proof = write_objects(tmp_path / "e.jsonl", IDS), tmp_path / "c.toml", tmp_path / "proof"
    config.write_text(f'[run]\non_event = "touch {proof}"\n')
    config.chmod(mode)
    ran = bulkdel("run", "delete-users", export, "--sandbox", "--config", config)
    assert (ran.code, f"Fix: chmod go-w {config}" in ran.err) == (code, code == 2), ran.err
    assert proof.exists() is (code == 0)


def test_an_export_that_is_a_link_to_itself_is_no_bug(tmp_path: Path) -> None:
    (tmp_path / "e.jsonl").symlink_to("e.jsonl")
    ran = bulkdel("plan", "delete-users", "e.jsonl", cwd=tmp_path)
    assert (ran.code, "symbolic links" in ran.err, "bug" in ran.err) == (3, True, False), ran.err


@mutant(
    "a slow-while that is no URL is printed with its query",
    "_without_secrets",
    swap(
        "f\"{f'{HIDDEN}@' if user else ''}{place}{f'?{HIDDEN}' if query else ''}\"",
        "f\"{f'{HIDDEN}@' if user else ''}{place}{f'?{query[0]}' if query else ''}\"",
    ),
    case="sign-in.example.com/?s3cr3t",
)
@pytest.mark.parametrize(
    "text", ["sign-in.example.com/?s3cr3t", "ftp://me:s3cr3t@x/y", "https:///x#s3cr3t", "a b?s3cr3t"]
)
def test_a_slow_while_that_is_no_url_shows_no_secret(text: str, tmp_path: Path) -> None:
    export = write_objects(tmp_path / "e.jsonl", IDS)
    for words, env in ((("--slow-while", text), {}), ((), {"BULKDEL_SLOW_WHILE": text})):
        ran = bulkdel("run", "delete-users", export, *words, cwd=tmp_path, env={**KEYS, **env})
        assert (ran.code, "is not a URL. Give one like" in ran.err, "[hidden]" in ran.err) == (2, True, True), ran
        assert "s3cr3t" not in ran.out + ran.err


def test_the_query_of_slow_while_is_in_no_command() -> None:
    settings = Settings(slow_while="https://example.com/health?token=s3cr3t")
    line = CommandLine("run").plus_settings(settings, environ={}, config={})
    assert str(line) == "bulkdel run --slow-while 'https://example.com/health?[hidden]'"


@mutant(
    "a Ray cluster counts as guarded when ray status fails for any reason",
    "check_token_asked",
    swap("not _is_answered(command, os.environ)", "not _is_answered(command, os.environ) and not address"),
)
@pytest.mark.parametrize(
    ("answers", "said"),
    [
        ('[ "$RAY_AUTH_MODE" = token ]', None),
        ("true", "takes requests without a token"),
        ("false", "does not answer `ray status` with the token either"),
    ],
)
def test_a_cluster_counts_as_guarded_only_if_the_token_opens_it(
    answers: str, said: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`ray status` may fail for another reason than a token that is missing."""
    program = tmp_path / "python"
    program.write_text(f"#!/bin/sh\n{answers}\n")
    program.chmod(0o755)
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setattr("sys.executable", str(program))
    if said is None:
        check_token_asked("127.0.0.1:1")
        return
    with pytest.raises(UsageError, match=said):
        check_token_asked("127.0.0.1:1")
