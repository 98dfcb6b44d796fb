"""The checks of `bulkdel job check` as tests of pytest, one a row of the table.

    @pytest.mark.bulkdel_job("delete-items")
    def test_the_job(job_check: Finding) -> None:
        assert job_check.ok, job_check.line

The mark takes the options of the command by their names in Python, such as `id_type` and `parameters`. pytest loads
this module in every session; it does nothing, and loads nothing more, until a test has the mark.
"""

from __future__ import annotations

from typing import Any

import pytest

MARK = "bulkdel_job"


def pytest_configure(config: pytest.Config) -> None:
    """Make the mark known."""
    config.addinivalue_line("markers", f"{MARK}(name, **options): the job that `job_check` is about")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make one test of each check."""
    if metafunc.definition.get_closest_marker(MARK) is not None:
        from bulkdel_jobs.kit.check import NAMES  # noqa: PLC0415 - loads the network stack

        metafunc.parametrize("job_check", NAMES, indirect=True)


@pytest.fixture(scope="session")
def bulkdel_checked() -> dict[str, list[Any]]:
    """What was found, by job and options: a job is checked once a session."""
    return {}


@pytest.fixture
def job_check(request: pytest.FixtureRequest, bulkdel_checked: dict[str, list[Any]]) -> Any:
    """What one check has found: a `Finding`, right or wrong. The test is skipped where the check was not made."""
    from bulkdel_jobs.commands import CheckOptions  # noqa: PLC0415 - the same
    from bulkdel_jobs.kit.check import find_wrong, finding_of  # noqa: PLC0415

    mark = request.node.get_closest_marker(MARK)
    assert mark is not None, 'name the job: @pytest.mark.bulkdel_job("NAME")'
    job = f"{mark.args} {mark.kwargs}"
    if job not in bulkdel_checked:
        bulkdel_checked[job] = find_wrong(mark.args[0], CheckOptions(**mark.kwargs)).found
    found = finding_of(request.param, bulkdel_checked[job])
    if found.ok is None:
        pytest.skip(found.seen)
    return found
