"""`bulkdel jobs`: the installed jobs and their id types."""

from __future__ import annotations

from bulkdel.job import job_names, load_job
from bulkdel.output import result


def print_jobs() -> int:
    """Print each job, and the id types that it knows."""
    for job in map(load_job, job_names()):
        result(f"{job.name}  {job.summary}")
        for id_type in job.id_types.values():
            default = ", the default" if id_type.name == job.id_type_default else ""
            result(f"  --id-type {id_type.name:<14} {id_type.shape_text}{default}")
    return 0
