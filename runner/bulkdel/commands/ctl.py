"""`bulkdel ctl`: one command to a run that is under way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from json import dumps
from pathlib import Path

from bulkdel.errors import UsageError
from bulkdel.live.ask import ask
from bulkdel.live.status_lines import answer_text, status_lines
from bulkdel.output import result
from bulkdel.place.finding import find_run


def ctl(path: Path, words: Sequence[str], *, json: bool, environ: Mapping[str, str]) -> int:
    """Send a command to a run, and print the answer. path: of the run, or its export.

    Raises NotAcceptable when the run is not alive or cannot be reached, UsageError when it refuses the command.
    """
    run = find_run(path)
    answer = ask(run, " ".join(words), environ)
    if json:
        result(dumps(answer))
    elif answer["ok"]:
        result(answer_text(run, answer["text"]) or "\n".join(status_lines(run, answer["status"])))
    if not answer["ok"]:
        raise UsageError(f"{run}: {answer_text(run, answer['text'])}")
    return 0
