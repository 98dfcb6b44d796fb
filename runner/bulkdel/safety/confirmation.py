"""The confirmation of a run: when it is due, the values that confirm, the entry in the log. The commands ask for it."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from bulkdel.command_line import CommandLine
from bulkdel.core.account_match import REUSE_AFTER_S, Instant, known_age_s
from bulkdel.core.log_entries import stamp
from bulkdel.core.run_state import RunState
from bulkdel.errors import NotConfirmed
from bulkdel.format import counted, span, until_words
from bulkdel.job import Job
from bulkdel.safety.plan_facts import plan_digest
from bulkdel.safety.plan_from_file import PlanFile
from bulkdel.safety.protect import bare_name
from bulkdel.safety.run_plan import RunPlan
from bulkdel.safety.server_checks import check_sample
from bulkdel.store_path import in_store
from bulkdel.times import next_day

CONFIRMED_PLAN = "_BULKDEL_CONFIRMED_PLAN"
"""The environment variable by which a batch tells its child process the digest of the plan that was confirmed. It is no
option: a process that is given one sends nothing of another plan."""


class How(enum.StrEnum):
    """How a run was confirmed, as the log keeps it."""

    TYPED = "typed"
    OPTIONS = "options"
    LIBRARY = "library"
    SANDBOX = "sandbox"
    RESTORE = "restore"
    BATCH = "batch"
    PLAN = "plan"
    NOTHING = "nothing to delete"


@dataclass(frozen=True, slots=True)
class Confirmed:
    """The confirmed numbers, and how they were confirmed.

    host: the extra word, where the config protects the host. ahead_s: how far the server's clock was ahead of ours;
    None when it is not known. plan: the plan file that confirmed them.
    """

    ids: int
    pool: str | None
    how: How
    host: str | None = None
    ahead_s: int | None = None
    plan: PlanFile | None = None

    def to_json(self) -> dict[str, Any]:
        """As the log keeps it."""
        more = {"host": self.host, "ahead_s": self.ahead_s, "plan": self.plan and self.plan.to_log()}
        known = {name: value for name, value in more.items() if value is not None}
        return {"ids": self.ids, "pool": self.pool, "how": self.how.value, **known}


CONFIRMED_BY = {"--confirm": "number", "--pool": "pool", "--confirm-host": "host"}
"""What each option that confirms names."""


def confirm(plan: RunPlan, *, ids: int | None, pool: str | None, host: str | None, how: How, now: float) -> Confirmed:
    """Compare the given values with the plan.

    Raises NotConfirmed when one is missing or differs, Halted as `check_sample`.
    """
    check_sample(plan)
    word = plan.host_word if host is None else bare_name(plan.target.host)  # what is typed has to be right
    if how in {How.OPTIONS, How.PLAN} and (too_soon := meant_for_the_day_before(plan, now)):
        raise NotConfirmed(
            f"not confirmed: {too_soon}. {plan.words.nothing}. If that is what you want:\n  {plan.confirming_line}"
        )
    wanted = {"--confirm": plan.ids, "--pool": plan.pool, **({"--confirm-host": word} if word is not None else {})}
    given = {"--confirm": ids, "--pool": pool, "--confirm-host": host}
    if missing := [name for name in wanted if given[name] is None]:
        raise NotConfirmed(
            f"not confirmed: {' and '.join(missing)} missing; {' and '.join(wanted)} confirm together. "
            f"{plan.words.nothing}. {_how_to_confirm(plan, wanted, given)}"
        )
    if any(given[name] != value for name, value in wanted.items()):
        options = " ".join(f"{name} {value}" for name, value in given.items() if value is not None)
        host_too = "" if word is None else f" on the {'protected ' if plan.host_word else ''}host {word}"
        raise NotConfirmed(
            f"not confirmed: you gave {options}, and the plan has {counted(plan.ids, 'id')} in pool "
            f"{plan.pool}{host_too}. {plan.words.nothing}. {_how_to_confirm(plan, wanted, given)}"
        )
    _check_bytes(plan)
    moment = plan.server.moment
    ahead_s = None if moment is None else moment.ahead_s
    return Confirmed(plan.ids, plan.pool, how, plan.host_word, ahead_s, plan.arguments.approved)


def _check_bytes(plan: RunPlan) -> None:
    """Compare the export with --confirm-export. Raises NotConfirmed."""
    beginning, sha256 = plan.arguments.settings.confirm_export, plan.export.fingerprint.sha256
    if beginning is not None and not sha256.startswith(beginning.lower()):
        raise NotConfirmed(
            f"not confirmed: the SHA-256 of {plan.export.path} does not begin with {beginning}, so these are other "
            f"rows than those of the plan. {plan.words.nothing}. Look at the plan; if these are meant:\n"
            f"  {plan.confirming_line}"
        )


def _how_to_confirm(plan: RunPlan, wanted: Mapping[str, Any], given: Mapping[str, Any]) -> str:
    """The command that confirms. It lacks each value that was given otherwise: a person has to look at it first.

    A person that gave the number of remaining ids has seen this plan.
    """
    other = [name for name, value in given.items() if value not in {None, wanted.get(name)}]
    if given["--confirm"] == plan.remaining:
        other = [name for name in other if name != "--confirm"]
    if not other:
        return f"To confirm{of_all_ids(plan)}:\n  {plan.confirming_line}"
    if plan.arguments.approved is not None and plan.begun_by_me_or_new:
        return "Find out why they differ. The plan confirms by itself; a value beside it has to be the plan's"
    key = "; the key decides the pool" if "--pool" in other else ""
    return (
        f"Find out why they differ{key}. Only if the plan is what you want{of_all_ids(plan)}, add "
        f"{' and '.join(f'{name} with that {CONFIRMED_BY[name]}' for name in other)} to:\n"
        f"  {plan.confirming_line.without(*other)}"
    )


def words_to_confirm(line: CommandLine, given: int | None, number: int) -> str:
    """The command that confirms. If another number was given, it lacks the number: a person has to look at it first."""
    if given in {None, number}:
        return f":\n  {line}"
    why = f"find out why the number is {number:,} now, and add it with --confirm to"
    return f", {why}:\n  {line.without('--confirm')}"


def check_digest(plan: RunPlan, confirmed: str) -> None:
    """Compare the plan with the one that was confirmed as a part of a batch. Raises NotConfirmed."""
    if plan_digest(plan) != confirmed:
        raise NotConfirmed(
            "not confirmed: this is no longer the plan that was confirmed for the batch. The export, an exclude file, "
            f"the pool, a guard, a parameter or what the responses mean has changed. {plan.words.nothing}. Run the "
            "batch again; it shows the new plan and asks for this run again"
        )


def confirmed_before(plan: RunPlan, now: float) -> Confirmed | None:
    """The confirmation of a run that needs none now: the sandbox, or nothing to delete.

    None when an earlier session was confirmed. Raises NotConfirmed for any other run, Halted as `check_sample`.
    """
    if plan.complete:
        return None
    if plan.arguments.settings.sandbox:
        return Confirmed(plan.ids, plan.pool, How.SANDBOX)
    if plan.ids == 0:
        return Confirmed(0, plan.pool, How.NOTHING)
    check_sample(plan)
    if (due := confirmation_due(plan, now)) is not None:
        raise NotConfirmed(
            f"not confirmed: --confirm and --pool are missing; {due}. {plan.words.nothing}. To confirm"
            f"{of_all_ids(plan)}:\n  {plan.confirming_line}"
        )
    return None


def of_all_ids(plan: RunPlan) -> str:
    """Which number --confirm takes, where some of the ids have their outcome already."""
    if plan.remaining == plan.ids:
        return ""
    return f" ({plan.remaining:,} ids remain; --confirm takes the number of the whole run, {plan.ids:,})"


def confirmation_due(plan: RunPlan, now: float) -> str | None:
    """The reason why the run has to be confirmed (again); None when it is confirmed."""
    log = plan.progress
    if log is not None and log.complete:
        return None  # nothing is left to send
    if log is None or log.start is None:
        return _why_at_all(plan.arguments.job)
    verdicts, now_verdicts = log.start.facts.get("verdicts", {}), plan.arguments.job.verdicts
    other = [name for name in {**verdicts, **now_verdicts} if verdicts.get(name) != now_verdicts.get(name)]
    lifted = _limit_lifted(log.start.facts.get("limit"), plan.arguments.settings.limit, log.remaining)
    due = None
    if plan.by_another is not None:
        due = f"the last session {plan.by_another}, and you are {plan.person}"
    elif not plan.begun_by_me_or_new:
        due = "the log has no confirmation that this user has written on this machine"
    elif plan.more_excluded:
        due = "exclude files were added"
    elif plan.more_guards:
        due = "guards were added or tightened"
    elif plan.host_word not in {None, log.confirmed_host}:
        due = f"the config protects {plan.host_word}, which was not confirmed by name"
    elif other:
        due = f"the config says something else of the responses than in the last session: {', '.join(other)}"
    elif log.stop is not None and (until := log.stop.facts.get("not_after")):
        due = f"the run was stopped by its --not-after, {until_words(datetime.fromisoformat(until))}"
    elif lifted is not None:
        due = lifted
    elif plan.id_type.reusable:
        due = _confirmed_long_ago(plan, log, now)
    return due


def _limit_lifted(before: int | None, limit: int | None, remaining: int) -> str | None:
    """The reason to confirm ids that an earlier --limit, `before`, did not reach; None without one."""
    if before is None or (limit is not None and (limit <= before or limit < remaining)):
        return None
    return "--limit was left out" if limit is None else "--limit covers all ids that remain"


def _confirmed_long_ago(plan: RunPlan, log: RunState, now: float) -> str | None:
    """The reason to confirm ids again that may have been given to other accounts since; None without one."""
    ahead_s = None if plan.server.moment is None else plan.server.moment.ahead_s
    moment, instant = Instant(log.confirmed_at, log.confirmed_ahead_s), Instant(stamp(now), ahead_s)
    age_s = known_age_s(moment, instant, one_clock=not in_store(plan.run))
    if age_s is not None and age_s <= REUSE_AFTER_S:
        return None
    ago = f"{span(age_s)} ago" if age_s is not None else "at a time that no clock can tell (the server names none)"
    return (
        f"the run was confirmed {ago}, and a {plan.id_type.name} may belong to another {plan.words.noun} by now: "
        "is the export still right?"
    )


def _why_at_all(job: Job) -> str:
    """The reason why a new run has to be confirmed."""
    if job.target_state.absence_reaches:
        return "the API cannot undo a deletion"
    return "that cannot be undone" if job.undo is None else f"only a run of {job.undo} can undo it"


def meant_for_the_day_before(plan: RunPlan, now: float) -> str | None:
    """The reason when --not-after is the time of day that has just stopped this run: it would now mean the next day."""
    text, stop = plan.arguments.settings.not_after, plan.progress and plan.progress.stop
    stopped = stop.facts.get("not_after") if stop else None
    until = next_day(text, stopped, datetime.fromtimestamp(now, UTC))
    if until is None or stopped is None:
        return None
    ago = span(max(0.0, now - datetime.fromisoformat(stopped).timestamp()))
    return f"--not-after stopped this run {ago} ago, and --not-after {text} would now mean {until_words(until)}"
