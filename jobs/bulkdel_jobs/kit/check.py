"""The command `bulkdel job check`: plays the table of checks against a job and says what the job gets wrong.

Without --host everything happens at the job's own look-alike and at a server of faults, both on 127.0.0.1. With --host
the sign-in, the control and look-ups go to that host. An action goes there only if the host is a loopback address, and
only for the ids that --id names: only these are `Lab.existing` then.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import replace
from typing import Any

import orjson

from bulkdel.cli.config import tables_of
from bulkdel.core.id_type import IdType
from bulkdel.core.outcome import OutcomeWords
from bulkdel.core.target_state import TargetState
from bulkdel.errors import UsageError
from bulkdel.format import counted
from bulkdel.http.transport import HttpTransport, TransportOptions, check_host, is_loopback
from bulkdel.job import CONTRACT, GROUP, Job, Target, TargetOptions, installed, job_names
from bulkdel.output import result, say
from bulkdel.parameters import check_type
from bulkdel.safety.argument_checks import checked_id_type
from bulkdel_jobs.commands import CheckOptions
from bulkdel_jobs.kit.examples import example_ids, example_parameters
from bulkdel_jobs.kit.job_checks import CHECKS, NEEDS
from bulkdel_jobs.kit.lab import MESSAGE, SOME, Finding, JobFindings, Lab, Seen
from bulkdel_jobs.kit.wire import fault_server

REST = 3
"""Ids beyond those of the two actions that the look-alike gets, for look-ups, controls and pure checks."""

NAMES = ("contract/loads", "contract/edition", "contract/description", *(row.name for row in CHECKS if "/" in row.name))
"""The names of all checks."""


def run_check(name: str, options: CheckOptions) -> int:
    """Check a job and print what was found. Returns 1 when something is wrong. Raises UsageError."""
    findings = find_wrong(name, options)
    if options.json:
        checks = [finding._asdict() for finding in findings.found]
        result(orjson.dumps({"job": name, "wrong": findings.wrong, "checks": checks}).decode())
    else:
        for finding in findings.found:
            result(finding.line)
        result(f"{findings.wrong} of {counted(len(findings.found), 'check')} found something wrong")
    return 1 if findings.wrong else 0


def find_wrong(name: str, options: CheckOptions) -> JobFindings:
    """Check a job: play every row of the table that its lab can play. Raises UsageError."""
    findings = JobFindings()
    if (job := load_and_check(name, findings)) is not None:
        job = job.configured(_table(job, options))
        asyncio.run(_check(job, options, findings))
    return findings


def finding_of(name: str, found: Sequence[Finding]) -> Finding:
    """Return what the check of this name has found, what is wrong first; skipped where it was not made."""
    mine = sorted(
        (each for each in found if each.name in {name, f"{name}{MESSAGE}"}), key=lambda each: each.ok is not False
    )
    why = next((each.seen for each in found if each.name == name.partition("/")[0]), "this job does not meet it")
    return mine[0] if mine else Finding(name, None, why)


async def _check(job: Job, options: CheckOptions, findings: JobFindings) -> None:
    id_type = checked_id_type(job, options.id_type)
    made_up = example_ids(id_type, 2 * job.chunk_max + SOME + REST, options.ids)
    if len(made_up) < SOME + REST:
        raise UsageError(
            f"no made-up id fits {id_type.name} ({id_type.shape_text}): name {SOME + REST} or more with --id, the last "
            "one of which does not exist"
        )
    stranger = made_up.pop()
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(fault_server())
        target, known = stack.enter_context(_place(job, options, id_type, made_up, server.url))
        to_faults = await stack.enter_async_context(HttpTransport(TransportOptions(server.url)))
        api = None
        if known is not None:
            api = await stack.enter_async_context(HttpTransport(TransportOptions(target.host)))
        existing = [id_ for id_ in known or () if id_ != stranger]
        whole = options.host is None
        lab = Lab(job, target, id_type, made_up, stranger, server, to_faults, existing, whole, api)
        for check in CHECKS:
            with findings.watch(check.name, check.raises):
                lacking = next((NEEDS[need] for need in check.needs if not NEEDS[need].has(lab)), None)
                if lacking is None:
                    seen = await check.play(lab)
                else:
                    seen = Seen(None, lacking.why_not(lab)) if check.says_why else None
                if seen is not None:
                    findings.add(check.name, seen, check.advice)


def _table(job: Job, options: CheckOptions) -> Mapping[str, Any]:
    """The job's table of the config file."""
    table: Mapping[str, Any] = {}
    if options.config is not None:
        table = tables_of(str(options.config)).get(job.config_table, {})
    return table


@contextmanager
def _place(
    job: Job, options: CheckOptions, id_type: IdType, made_up: Sequence[str], faults_url: str
) -> Iterator[tuple[Target, list[str] | None]]:
    """The target to check the job at: --host, else the job's look-alike, else none but the server of faults.

    With it the ids that it holds and that the action may be carried out for; None where nothing answers but faults.
    """
    parameters = example_parameters(job, options.parameters)
    wanted = TargetOptions(None, _table(job, options), os.environ, parameters)
    if options.host is not None:
        host = check_host(options.host)
        acts = is_loopback(host)
        where = "the ids of --id are acted on there" if acts and options.ids else "no action is sent there"
        say(f"Sign-in and look-ups go to {host}; {where}.")
        target = job.target(replace(wanted, host=host))
        yield target, list(options.ids) if acts else []
        return
    try:
        look_alike = job.sandbox(made_up, id_type, parameters)
    except UsageError as error:
        target = job.target(replace(wanted, host=faults_url))
        say(f"No look-alike ({error}): only the requests of the job and its reading of faults are checked.")
        yield target, None
        return
    say("Everything happens on this machine, at the job's look-alike: no API is called.")
    with look_alike as target:
        yield target, list(made_up)


def load_and_check(name: str, findings: JobFindings) -> Job | None:
    """Find an installed job. None when it cannot be loaded, or is of another edition. Raises UsageError without one."""
    points = [point for point in installed(GROUP) if point.name == name]
    if not points:
        raise UsageError(f"no job {name!r}. Jobs: {', '.join(job_names()) or 'none'}")
    job: Job | None = None
    with findings.watch("contract/loads"):
        findings.package = points[0].module.partition(".")[0]
        made = points[0].load()
        findings.package = made.__module__.partition(".")[0]
        job = made()
        findings.add("contract/loads", Seen(ok=True, text=points[0].value))
    if job is None:
        return None
    edition = getattr(job, "contract", 1)
    seen, advice = f"edition {edition}", f"This version has edition {CONTRACT}: docs/adding-a-job.md lists what changed"
    if not findings.add("contract/edition", Seen(edition == CONTRACT, seen), advice):
        return None
    with findings.watch("contract/description"):
        check_type(job)
        wrong = list(_mistakes(name, job))
        seen = "; ".join(wrong) or f"{len(job.id_types)} id type(s), {job.chunk_max} id(s) a request"
        if findings.add("contract/description", Seen(not wrong, seen), "Correct the class attributes"):
            return job
    return None


def _mistakes(name: str, job: Any) -> Iterator[str]:
    """Class attributes that a run would fail on, or a list of jobs would show wrong."""
    if job.name != name:
        yield f"name is {job.name!r}, and its entry point is called {name!r}"
    if type(job.chunk_max) is not int or job.chunk_max < 1:
        yield f"chunk_max is {job.chunk_max!r}, not a number of ids"
    if not job.id_types or not all(isinstance(each, IdType) for each in job.id_types.values()):
        yield "id_types is not a mapping of IdType"
    elif any(key != each.name for key, each in job.id_types.items()):
        yield "an id type is called otherwise than its key in id_types"
    if job.id_type_default not in job.id_types:
        yield f"id_type_default {job.id_type_default!r} is not in id_types"
    if not isinstance(job.words, OutcomeWords) or not job.words.names.get("done"):
        yield "words does not say what `done` is called"
    if not isinstance(job.target_state, TargetState):
        yield "target_state is not a TargetState"
    if job.undo is not None and job.undo not in job_names():
        yield f"undo names {job.undo!r}, which is not installed"
    if not all(isinstance(text, str) and text for text in (job.summary, job.config_table)):
        yield "summary or config_table is empty"
