"""Finds a job and checks how it describes itself: edition, names, words, target state."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from bulkdel.core.id_type import IdType
from bulkdel.core.outcome import OutcomeWords
from bulkdel.core.target_state import TargetState
from bulkdel.errors import UsageError
from bulkdel.job import CONTRACT, GROUP, Job, installed, job_names
from bulkdel.parameters import check_type
from bulkdel_jobs.kit.findings import Findings


def load_and_check(name: str, findings: Findings) -> Job | None:
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
