"""The command `bulkdel job check`: plays the fault catalogue against a job and says what it gets wrong.

Without --host everything happens at the job's own look-alike and at a server of faults, both on 127.0.0.1. With --host
the sign-in, the control and look-ups go to that host. An action goes there only if the host is a loopback address, and
only for the ids that --id names. No other module of the kit sends an action.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import replace
from typing import Any, NamedTuple

import orjson

from bulkdel.cli.config import tables_of
from bulkdel.core.decision import Decision, NextStep, Response, Verdict, decision_per_id
from bulkdel.core.id_type import IdType
from bulkdel.core.outcome import OutcomeWords
from bulkdel.core.target_state import TargetState
from bulkdel.errors import UsageError
from bulkdel.format import counted
from bulkdel.http.transport import HttpTransport, TransportOptions, check_host, is_loopback
from bulkdel.job import CONTRACT, GROUP, Job, Target, TargetOptions, installed, job_names
from bulkdel.output import result, say
from bulkdel.parameters import check_type
from bulkdel_jobs.commands import CheckOptions
from bulkdel_jobs.kit.check_calls import check_calls
from bulkdel_jobs.kit.check_look_ups import (
    check_administrators,
    check_control,
    check_fields,
    check_look_up_calls,
    check_look_up_faults,
    check_look_ups,
    check_states,
    check_target_state,
)
from bulkdel_jobs.kit.check_sign_in import check_rejections, check_secrets, check_sign_in, check_sign_in_faults
from bulkdel_jobs.kit.examples import example_ids, example_parameters
from bulkdel_jobs.kit.faults import Good, check_action_faults
from bulkdel_jobs.kit.lab import JobFindings, Lab, shown
from bulkdel_jobs.kit.wire import fault_server

SOME = 3
"""Ids of the first chunk: enough for an answer with an id missing."""

DONE = frozenset({Verdict.SETTLED, Verdict.ALREADY})

REST = 3
"""Ids beyond those of the two actions that the look-alike gets, for look-ups, controls and pure checks."""


class Place(NamedTuple):
    """Where a job is checked.

    has_api: whether something answers at the target's host. If not, only the server of faults is asked.
    existing: ids that the API holds and that the action may be carried out for. whole: whether they fill a chunk.
    """

    target: Target
    has_api: bool
    existing: list[str]
    whole: bool = False


def run_check(name: str, options: CheckOptions) -> int:
    """Check a job and print what was found. Returns 1 when something is wrong. Raises UsageError."""
    findings = JobFindings()
    if (job := load_and_check(name, findings)) is not None:
        job = job.configured(_table(job, options))
        asyncio.run(_check(job, options, findings))
    if options.json:
        checks = [finding.to_json() for finding in findings.found]
        result(orjson.dumps({"job": name, "wrong": findings.wrong, "checks": checks}).decode())
    else:
        for finding in findings.found:
            result(finding.line)
        result(f"{findings.wrong} of {counted(len(findings.found), 'check')} found something wrong")
    return 1 if findings.wrong else 0


async def _check(job: Job, options: CheckOptions, findings: JobFindings) -> None:
    id_type = _id_type(job, options)
    made_up = example_ids(id_type, 2 * job.chunk_max + SOME + REST, options.ids)
    if len(made_up) < SOME + REST:
        raise UsageError(
            f"no made-up id fits {id_type.name} ({id_type.shape_text}): name {SOME + REST} or more with --id, the last "
            "one of which does not exist"
        )
    stranger = made_up.pop()
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(fault_server())
        place = stack.enter_context(_place(job, options, id_type, made_up, server.url))
        to_faults = await stack.enter_async_context(HttpTransport(TransportOptions(server.url)))
        existing = [id_ for id_ in place.existing if id_ != stranger]
        lab = Lab(job, place.target, id_type, made_up, stranger, server, to_faults, findings)
        if place.has_api:
            lab.api = await stack.enter_async_context(HttpTransport(TransportOptions(place.target.host)))
        await _check_all(lab, existing, whole=place.whole)


async def _check_all(lab: Lab, existing: list[str], *, whole: bool) -> None:
    """All checks in their order. Those that need the API are skipped when the sign-in did not work."""
    findings, look_ups, with_ids = lab.findings, lab.look_ups, not lab.job.takes_records
    if with_ids:
        await check_calls(lab)
    else:
        findings.skip("calls", "a row of this job is a whole record, and no check makes one up")
    if not look_ups.possible:
        findings.skip("look-up", "the job has no look-ups: a plan says what cannot be known then")
    else:
        await check_look_up_calls(lab, look_ups)
    if lab.api is not None:
        await check_sign_in(lab)
    await check_sign_in_faults(lab)
    if lab.auth is not None:
        await check_secrets(lab)
        await check_rejections(lab)
        if look_ups.possible and with_ids:
            listed = await check_control(lab, look_ups)
            known = existing or listed
            if len(known) > 1:
                await check_look_ups(lab, look_ups, known)
                await check_fields(lab, look_ups, known[0])
                await check_administrators(lab, look_ups)
                await check_states(lab, look_ups, known[0])
    if look_ups.possible:
        await check_look_up_faults(lab, look_ups)
    good: Good | None = None
    if lab.auth is None or not existing or not with_ids:
        findings.skip("action/good-answer", _why_no_action(lab))
    else:
        good = await _act(lab, existing, whole=whole)
    if with_ids:
        await check_action_faults(lab, good)


async def _act(lab: Lab, existing: list[str], *, whole: bool) -> Good | None:
    """Carry out the action for some ids, then for a whole chunk. Returns the first good answer."""
    size = lab.job.chunk_max
    some, rest = existing[: min(SOME, size)], existing[min(SOME, size) :]
    looks = lab.look_ups.possible
    if looks:
        await check_target_state(lab, some, after=False)
    good = await carry_out(lab, "action/good-answer", some, "read() must settle the answer to an action that worked")
    if good is not None and looks:
        await check_target_state(lab, some, after=True)
    if good is not None and whole and size > len(some):
        await carry_out(lab, "calls/chunk-max", rest[:size], "chunk_max is more than the API takes in one request")
    return good


def _table(job: Job, options: CheckOptions) -> Mapping[str, Any]:
    """The job's table of the config file."""
    table: Mapping[str, Any] = {}
    if options.config is not None:
        table = tables_of(str(options.config)).get(job.config_table, {})
    return table


def _why_no_action(lab: Lab) -> str:
    if lab.job.takes_records:
        return "a row of this job is a whole record"
    if lab.api is None:
        return "the job has no look-alike, so no good answer is known"
    if lab.auth is None:
        return "not signed in"
    return "no action is sent to this host" + ("; --id names ids for it" if is_loopback(lab.target.host) else "")


@contextmanager
def _place(
    job: Job, options: CheckOptions, id_type: IdType, made_up: Sequence[str], faults_url: str
) -> Iterator[Place]:
    """The target to check the job at: --host, else the job's look-alike, else none but the server of faults."""
    parameters = example_parameters(job, options.parameters)
    wanted = TargetOptions(None, _table(job, options), os.environ, parameters)
    if options.host is not None:
        host = check_host(options.host)
        acts = is_loopback(host)
        where = "the ids of --id are acted on there" if acts and options.ids else "no action is sent there"
        say(f"Sign-in and look-ups go to {host}; {where}.")
        target = job.target(replace(wanted, host=host))
        yield Place(target, has_api=True, existing=list(options.ids) if acts else [])
        return
    try:
        look_alike = job.sandbox(made_up, id_type, parameters)
    except UsageError as error:
        target = job.target(replace(wanted, host=faults_url))
        say(f"No look-alike ({error}): only the requests of the job and its reading of faults are checked.")
        yield Place(target, has_api=False, existing=[])
        return
    say("Everything happens on this machine, at the job's look-alike: no API is called.")
    with look_alike as target:
        yield Place(target, has_api=True, existing=list(made_up), whole=True)


def _id_type(job: Job, options: CheckOptions) -> IdType:
    name = options.id_type or job.id_type_default
    if name not in job.id_types:
        raise UsageError(f"--id-type {name!r}: {job.name} knows {', '.join(job.id_types)}")
    return job.id_types[name]


async def carry_out(lab: Lab, name: str, ids: Sequence[str], advice: str) -> Good | None:
    """Send the action for `ids`, which exist. Returns the answer when all of them are settled."""
    assert lab.api is not None
    good: Good | None = None
    with lab.findings.watch(name):
        action = lab.target.action(lab.id_type)
        decision = Decision(NextStep.RETRY)
        for request in action.calls(lab.records(*ids)):
            response, decision = await lab.exchange(lab.api, request, action.read, ids)
            if not isinstance(response, Response) or not settles(decision, ids):
                good = None
                break
            good = good or Good(response, ids, lab.stranger)
        seen = f"{len(ids)} id(s): {shown(decision)}"
        lab.findings.add(name, ok=good is not None, seen=seen, advice=advice)
    return good


def settles(decision: Decision, ids: Sequence[str]) -> bool:
    """Whether a decision settles every id."""
    if decision.next_step is not NextStep.PER_ID:
        return decision.next_step is NextStep.SETTLED
    complete = decision_per_id(ids, decision)
    return complete.next_step is NextStep.PER_ID and all(answer.verdict in DONE for answer in complete.data)


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
        findings.add("contract/loads", ok=True, seen=points[0].value)
    if job is None:
        return None
    edition = getattr(job, "contract", 1)
    seen, advice = f"edition {edition}", f"This version has edition {CONTRACT}: docs/adding-a-job.md lists what changed"
    if not findings.add("contract/edition", ok=edition == CONTRACT, seen=seen, advice=advice):
        return None
    with findings.watch("contract/description"):
        check_type(job)
        wrong = list(_mistakes(name, job))
        seen = "; ".join(wrong) or f"{len(job.id_types)} id type(s), {job.chunk_max} id(s) a request"
        if findings.add("contract/description", ok=not wrong, seen=seen, advice="Correct the class attributes"):
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
