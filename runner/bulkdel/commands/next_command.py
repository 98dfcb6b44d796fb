"""The command that resumes a stopped run, from its log alone. For `run`, `status` and `verify`."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from bulkdel.core.run_state import Progress
from bulkdel.format import counted


def going_on(progress: Progress) -> str:
    """The command that resumes the run, as the stopped session would print it; or the ways to settle rows in doubt."""
    start, stop = (session.facts if session else {} for session in (progress.start, progress.stop))
    if not (words := stop.get("to_go_on") or start.get("to_go_on")):
        return "To go on, run the command of this run again."
    where = f", in {start.get('cwd', 'its folder')}"
    if blind(progress):
        return ways_out(progress, words, where)
    again = ", with a new confirmation" if stop.get("not_after") else ""
    return f"To go on{again}{where}:\n  {shlex.join(words)}"


def blind(progress: Progress) -> bool:
    """Whether ids are in doubt and the same command cannot settle them: the last session's look-ups found no user."""
    return bool(progress.in_doubt.size and progress.stop is not None and progress.stop.facts.get("blind"))


def ways_out(progress: Progress, words: Sequence[str], where: str = "") -> str:
    """The ways to settle rows in doubt when look-ups find no user at all. words: the command that resumes."""
    pinned, options = progress.header.pinned, progress.start.facts.get("options", {}) if progress.start else {}
    text = (
        f"{counted(progress.in_doubt.size, 'id', 'is', 'are')} in doubt: sent, and no answer came. Now look-ups find "
        f"no user at all in pool {pinned['pool']}. Either the pool is empty, or this key cannot see the users in it.\n"
        f"To go on{where}, create one user in that pool that can be looked up by {pinned['id_type']}, as a control. "
        f"Then run the same command:\n  {shlex.join(words)}"
    )
    if options.get("look_first") or options.get("backup") or options.get("in_doubt") == "resend":
        return text  # the first two send only ids that a look-up has found; the command has the third already
    resend = shlex.join([*words, "--in-doubt", "resend"])
    return f"{text}\nOr send them again, if no {pinned['id_type']} was given to a new user meanwhile:\n  {resend}"
