"""The checks of a run by a plan that another user approves: the user, the age of the plan, and every approved value.

`plan --out` writes these values, and `run --plan` makes them anew. Both take them from `plan_facts`, so every approved
value is compared.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from bulkdel.core.address import shown_address
from bulkdel.core.exclude_name import ExcludeKey
from bulkdel.core.option import option_of
from bulkdel.core.plan_file import age_fault, differences, is_same_user, over_fault, sample_difference
from bulkdel.errors import NotAcceptable, NotConfirmed, UsageError
from bulkdel.export.file import Fingerprint
from bulkdel.format import printable, shown
from bulkdel.http.shared_rate import ADDRESS
from bulkdel.job import Target, TargetOptions
from bulkdel.log_words import user_words
from bulkdel.parameters import pinned
from bulkdel.safety.exclude import exclude_path
from bulkdel.safety.plan_facts import approved_values, guard_options, known_first, parameter_value
from bulkdel.safety.plan_from_file import OTHER_USER, PlanFile, is_recorded, this_user
from bulkdel.safety.protect import PROTECT, requires_other_user
from bulkdel.safety.run_plan import OpenedRun, RunArguments, RunPlan
from bulkdel.safety.server_checks import check_named_host


def check_other_user(arguments: RunArguments) -> None:
    """Where another user is required, refuse a run without a plan, and a run by the user that has made the plan.

    Every session is checked. A restore and a sandbox need no plan: a restore brings accounts back, and a sandbox has
    none. Raises UsageError.
    """
    approved, required = arguments.approved, requires_other_user(arguments.config)
    if approved is not None and (required or approved.values[OTHER_USER]):
        _check_planner(approved, arguments.claimed)
    if not required or arguments.undoes is not None or arguments.settings.sandbox:
        return
    said = f"config, [{PROTECT}] {OTHER_USER}"
    if ADDRESS in arguments.environ:
        raise UsageError(f"{said}: a batch goes by no plan of another user. Run each of its exports with `run --plan`")
    if approved is None and arguments.command == "run":
        raise UsageError(
            f"{said}: a run needs a plan that another user has made (--plan). Nothing was sent. Have that user make "
            f"it:\n  {arguments.planning_line}"
        )


def check_user(opened: OpenedRun) -> None:
    """Refuse a session by the user that has made the plan, and one without a plan, where log or config say so.

    The config of this session may lack the setting that the plan had, and the last session had another one. Raises
    UsageError.
    """
    arguments, log = opened.arguments, opened.log
    if opened.complete:
        return
    of_log = log is not None and log.plan is not None and log.plan.get(OTHER_USER) is True
    if of_log and arguments.undoes is None and arguments.command == "run":
        if arguments.approved is None:
            raise UsageError(
                f"{arguments.run}: this run goes by a plan that another user has to run ([{PROTECT}] {OTHER_USER}). "
                "Nothing was sent. Resume it with that plan: run --plan FILE"
            )
        _check_planner(arguments.approved, arguments.claimed)
    check_other_user(arguments)


def _check_planner(plan: PlanFile, claimed: str | None) -> None:
    """Refuse the user that has made the plan. Raises UsageError. claimed: the name of --as."""
    planner, runner = plan.values["planned_by"], this_user(claimed)
    if is_same_user(planner, runner):
        raise UsageError(
            f"{plan.path}: was made by {user_words(planner)}, and you are {user_words(runner)}. [protect] "
            "require_other_user wants another user to run it. Nothing was sent. Let another user run this command; in "
            "CI, name the user of each job with --as"
        )


def _known_differences(arguments: RunArguments, target: Target | None) -> list[str]:
    """The differences from the plan, if there is one, that can be seen before a file is opened."""
    if arguments.approved is None:
        return []
    host = {} if target is None else {"host": target.pinned_host}
    return differences(arguments.approved.values, {**host, **known_first(_with_planned_limit(arguments))})


def _with_planned_limit(arguments: RunArguments) -> RunArguments:
    """The arguments as they are compared: a session that settles fewer ids than was approved is no difference."""
    approved, limit = arguments.approved, arguments.settings.limit
    planned = None if approved is None else approved.values["options"].get("limit")
    if limit is None or not isinstance(planned, int | None) or (planned is not None and limit > planned):
        return arguments
    return replace(arguments, settings=replace(arguments.settings, limit=planned))


def check_age(opened: OpenedRun) -> None:
    """Refuse a plan that is over. Unless the run has begun by it, refuse one that is too old or from the future.

    Raises NotConfirmed.
    """
    plan = opened.arguments.approved
    if plan is None or opened.complete:
        return
    fault = (over_fault if is_recorded(opened.log, plan) else age_fault)(plan.values, opened.now.timestamp())
    if fault is not None:
        raise NotConfirmed(
            f"{plan.path}: the plan cannot be run: {fault}. Nothing was sent. Make it anew, and have it approved:\n"
            f"  {opened.arguments.planning_line}"
        )


def check_planned_host(opened: OpenedRun) -> None:
    """Refuse a plan with another host than this run, when no host was typed. Raises UsageError."""
    arguments, approved = opened.arguments, opened.arguments.approved
    if approved is None or opened.complete or arguments.settings.host is not None or opened.target is None:
        return
    table = arguments.config.get(arguments.job.config_table, {})
    options = TargetOptions(approved.values["host"], table, arguments.environ, arguments.parameters)
    check_named_host(arguments.job, options, approved.path, arguments.line)


def check_files_of_job(arguments: RunArguments) -> None:
    """Refuse a file that is a parameter and that the plan does not have, before the job reads it.

    Raises NotConfirmed, and UsageError for anything but a regular file.
    """
    approved = arguments.approved
    if approved is None:
        return
    files = {name: value for name, value in pinned(arguments.parameters).items() if isinstance(value, Mapping)}
    planned = {name: approved.values["parameters"].get(name) for name in files}
    others = [name for name, value in files.items() if planned[name] != parameter_value(value)]
    _refuse(arguments, [f"{option_of(name)}: the plan has {planned[name] or 'none'}, now another" for name in others])


def check_files(opened: OpenedRun) -> None:
    """Refuse a file that the plan does not have before anything of it is read. Raises NotConfirmed.

    A file that is missing, or lies elsewhere, is refused later, when it is opened, unless the place of the run has its
    ids.
    """
    arguments, approved = opened.arguments, opened.arguments.approved
    if approved is None or opened.complete:
        return
    settings, found = arguments.settings, list[str]()
    if Path(arguments.export).exists() and not Path(arguments.export).is_file():
        found.append(f"export {arguments.export}: is not a regular file")
    planned = list(approved.values["exclude"])
    now: list[Mapping[str, Any]] = []
    for name in settings.exclude or ():
        path = Path(exclude_path(name, arguments.job.id_types))
        if not path.is_file():
            if path.exists():
                found.append(f"exclude {path}: is not a regular file")
            continue
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        same = next((file for file in planned if file["sha256"] == sha256), None)
        now.append({"path": printable(path), "sha256": sha256} if same is None else same)
        if same is not None:
            planned.remove(same)
    if len(now) < len(settings.exclude or ()):
        now += planned
    found += differences(approved.values, {"exclude": now})
    if found:
        _refuse(arguments, [*found, *_known_differences(arguments, opened.target)])


def check_export(arguments: RunArguments, target: Target | None, read: Fingerprint) -> None:
    """Refuse another export than the planned one before its rows are parsed. Raises NotConfirmed.

    Neither size nor SHA-256 of the other file is shown: a plan may name any file.
    """
    approved = arguments.approved
    if approved is None:
        return
    export = approved.values["export"]
    planned, size = export["sha256"], export["bytes"]
    if (read.sha256, read.size) == (planned, size):
        return
    same = printable(shown_address(arguments.export)) == export["name"]
    what = "was changed since" if same else f"is not the planned {shown(export['name'])}"
    changed = f"export {arguments.export}: {what}; the planned one has SHA-256 {planned} ({size:,} bytes)"
    _refuse(arguments, [changed, *_known_differences(arguments, target)])


@contextmanager
def naming_differences(arguments: RunArguments, target: Target | None) -> Iterator[None]:
    """When the block refuses the run, name the differences from the plan: a wrong option may be the reason.

    Raises NotConfirmed.
    """
    try:
        yield
    except NotAcceptable:
        _refuse(arguments, _known_differences(arguments, target))
        raise


def check_as_planned(plan: RunPlan) -> None:
    """Refuse a run that differs from the plan which it goes by. Raises NotConfirmed, naming each difference.

    It is called before the sign-in, again when pool and sample are known, and once more when more rows are.
    """
    approved = plan.arguments.approved
    if approved is None:
        return
    if plan.complete:
        _check_complete(plan, approved)
        return
    compared = replace(plan, arguments=_with_planned_limit(plan.arguments))
    before, now = dict(approved.values), approved_values(compared)
    if plan.pool is None or not plan.rows_known:
        del now["digest"]
    if plan.pool is None:
        del now["pool"]
    if not plan.rows_known:
        before["numbers"], now["numbers"] = (
            {name: count for name, count in each["numbers"].items() if name not in {"ids", "excluded"}}
            for each in (before, now)
        )
    found = differences(before, now)
    if plan.server.asked:
        begun = plan.progress is not None
        shifted = sample_difference(approved.values["sample"], plan.server.to_json(), begun=begun)
        found += [] if shifted is None else [shifted]
    _refuse(plan.arguments, found)


def run_otherwise(plan: RunPlan) -> str | None:
    """How a complete run was confirmed, in words, when it was not by the plan that is given now."""
    approved, log = plan.arguments.approved, plan.progress
    if approved is None or log is None or not log.complete or is_recorded(log, approved):
        return None
    before = log.plan
    return "without a plan" if before is None else f"by another plan, of {shown(before.get('planned_at'))}"


def _check_complete(plan: RunPlan, approved: PlanFile) -> None:
    """Refuse a plan of another run than the complete one, by what its log has. Raises NotConfirmed.

    Export, host, job and parameters were compared with the log before. Nothing is read again.
    """
    log, how = plan.progress, run_otherwise(plan)
    if log is None or how is None:
        return
    now = {
        "pool": log.header.pinned["pool"],
        "numbers": {name: log.asked.get(name) for name in approved.values["numbers"]},
        "guards": guard_options(log.guards),
    }
    planned = {_key(file): file["path"] for file in approved.values["exclude"]}
    found = [
        *differences({name: approved.values[name] for name in now}, now),
        *(f"exclude {name}: the run did not have it" for key, name in planned.items() if key not in log.excluded),
        *(f"exclude {name}: the plan does not have it" for key, name in log.excluded.items() if key not in planned),
    ]
    if found:
        raise NotConfirmed(
            f"{approved.path}: the run of {shown(plan.run)} is complete. It was run {how}, and not as planned "
            f"here. Nothing was sent.\n{_listed(found)}\n"
            "To begin a run of its own by this plan, name another place (--run)."
        )


def _listed(found: list[str]) -> str:
    return "\n".join(f"  {shown(line)}" for line in found)


def _key(file: Mapping[str, Any]) -> str:
    """The entry of an exclude file as a log keeps it, made from a plan."""
    parts = (file[name] for name in ("sha256", "column", "sheet", "id_type"))
    return str(ExcludeKey.of(*parts, looked_up=file["looked_up"]))


def _refuse(arguments: RunArguments, found: list[str]) -> None:
    """Raise NotConfirmed for the differences from the plan, if there are any."""
    approved = arguments.approved
    if approved is not None and found:
        raise NotConfirmed(
            f"{approved.path}: this run is not the one that was planned. {arguments.job.words.nothing}.\n"
            f"{_listed(found)}\nTo run what was planned:\n  {approved.line(arguments.settings.connection)}\n"
            f"To make the plan anew, and have it approved:\n  {arguments.planning_line}"
        )
