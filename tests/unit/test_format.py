"""What is printed of a command line and of a failure: nothing that only its user may know."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from bulkdel.command_line import CommandLine
from bulkdel.errors import Halted, UsageError, of_the_machine, trace_of
from bulkdel.format import counted, printable
from bulkdel.job import TargetOptions, load_job
from bulkdel.safety.server_checks import check_named_host
from tests.mutants import mutant
from tests.syntax import swap


@mutant(
    "the host of a log looks like another",
    "shown_host",
    swap('shown(host).encode("ascii", "backslashreplace")', "shown(host).encode()"),
)
def test_a_host_that_only_a_file_names_looks_like_no_other() -> None:
    """A letter of another script becomes its escape in the refusal."""
    options, line = TargetOptions("https://api.genauth.\u0430i"), CommandLine("verify", ("log",))
    with pytest.raises(UsageError, match=r"log: names the host https://api\.genauth\.\\u0430i, "):
        check_named_host(load_job("delete-users"), options, Path("log"), line)


@pytest.mark.parametrize(
    ("word", "printed"),
    [
        ("http://user:pass@proxy:3128", "'http://[hidden]@proxy:3128'"),
        ("http://user:p@ss@proxy:3128/x", "'http://[hidden]@proxy:3128/x'"),
        ("http://proxy:3128", "http://proxy:3128"),
        ("a@b.jsonl", "a@b.jsonl"),
        ("https://host/a@b", "https://host/a@b"),
    ],
)
def test_a_password_in_a_url_is_not_printed(word: str, printed: str) -> None:
    assert str(CommandLine("run", (word,))) == f"bulkdel run {printed}"
    assert str(CommandLine("run").plus("--proxy", word)) == f"bulkdel run --proxy {printed}"


def _fail(how: str) -> None:
    said = "can" + "ary"  # the line of code is told, so the word is not in it
    table: dict[str, str] = {}
    try:
        table[said]
    except KeyError as error:
        if how == "from":
            raise Halted(said) from error
        if how == "from none":
            raise Halted(said) from None
        raise Halted(said)  # noqa: B904 - the third way, on purpose


@pytest.mark.parametrize(("how", "kinds"), [("from", 2), ("while", 2), ("from none", 1)])
def test_a_failure_is_told_by_type_and_place(how: str, kinds: int) -> None:
    with pytest.raises(Halted) as caught:
        _fail(how)
    told = trace_of(caught.value)
    assert "canary" in str(caught.value)
    assert "canary" not in told
    assert told.splitlines()[-1] == "bulkdel.errors.Halted"
    assert ("builtins.KeyError" in told) is (kinds == 2)
    assert f"in {_fail.__name__}" in told


@pytest.mark.parametrize(
    ("count", "words", "told"),
    [
        (0, ("row",), "0 rows"),
        (1, ("request",), "1 request"),
        (1, ("retry",), "1 retry"),
        (2_000, ("retry",), "2,000 retries"),
        (1, ("id", "is", "are"), "1 id is"),
        (2, ("id", "is", "are"), "2 ids are"),
    ],
)
def test_a_count_agrees_with_its_noun(count: int, words: tuple[str, ...], told: str) -> None:
    assert counted(count, *words) == told


@pytest.mark.parametrize(
    ("text", "fit"),
    [
        ("a\u00e9\U0001f600", "a\u00e9\U0001f600"),
        ("a\ud800b", "a\ufffdb"),  # of JSON
        ("\udbff\udc7f\udd00\udfff", "\ufffd" * 4),
        ("x\udc80y", "x\ufffdy"),  # the byte 80 in the name of a file
        ("\udcc3\udca9", "\u00e9"),
    ],
)
def test_a_text_is_fit_for_json(text: str, fit: str) -> None:
    assert printable(text) == fit


@mutant(
    "a start without memory is a bug",
    "_is_short_of_memory",
    swap(
        "isinstance(link, MemoryError) or (isinstance(link, OSError) and link.errno == errno.ENOMEM)",
        "isinstance(link, OSError) and link.errno == errno.ENOMEM",
    ),
    case="error0-no more memory",
)
@pytest.mark.parametrize(
    ("error", "words"),
    [
        (MemoryError(), "no more memory"),
        (OSError(errno.ENOMEM, ""), "no more memory"),
        (ImportError("libx.so: cannot allocate memory in static TLS block"), "no more memory"),
        (ImportError("x.so: failed to map segment from shared object: Cannot allocate memory"), "no more memory"),
        (ModuleNotFoundError("No module named 'orjson'", name="orjson"), "the module orjson cannot be loaded"),
        (ImportError("libm.so.6: version `GLIBC_2.38' not found", name="pyarrow"), "the module pyarrow cannot be"),
        (ImportError("cannot import name 'x'"), "the module ? cannot be loaded"),
        (OSError(errno.ENAMETOOLONG, "", "x" * 300), "this name is too long"),
        (OSError(errno.ENOENT, ""), None),
        (KeyError("cannot allocate"), None),
    ],
)
def test_an_error_of_the_machine(error: Exception, words: str | None) -> None:
    assert (words or "None") in str(of_the_machine(error))
