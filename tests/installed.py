"""A job of a test, as if it were installed: a module and its entry point in a folder that PYTHONPATH names."""

from __future__ import annotations

from pathlib import Path

from bulkdel.core.outcome import COUNTED, REMAINING
from tests.harness import Ran, importing_from


def installed(folder: Path, source: str, job: str, job_class: str) -> dict[str, str]:
    """Write the module and its entry point below `folder`; return the environment in which they are installed."""
    module = job.replace("-", "_") + "_of_a_test"
    metadata = folder / f"{module}-1.dist-info"
    metadata.mkdir(parents=True)
    (folder / f"{module}.py").write_text(source)
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1\n")
    (metadata / "entry_points.txt").write_text(f"[bulkdel.jobs]\n{job} = {module}:{job_class}\n")
    return importing_from(folder)


def outcomes(ran: Ran) -> dict[str, int]:
    """The counts of a summary that are not zero, by the engine's words; they add up to the rows."""
    found = {name: ran.summary[name] for name in (*COUNTED, REMAINING) if ran.summary.get(name)}
    assert sum(found.values()) == ran.summary["rows"], ran
    return found
