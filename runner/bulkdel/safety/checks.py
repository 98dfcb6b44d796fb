"""The checks of a run before its confirmation, in the order in which they run: a list for each step.

A step knows more than the one before it. A check refuses the run, or does nothing: UsageError is exit 2, NotAcceptable
3, FileFailed 5. What a file holds is refused where it is read. Without credentials a run is refused by `library`, as
soon as its log is open; a plan needs none.
"""

from __future__ import annotations

from collections.abc import Callable

from bulkdel.safety import argument_checks, as_planned, backup_checks, log_checks, place_checks, server_checks
from bulkdel.safety.run_plan import OpenedRun, RunArguments, RunPlan

BEFORE_OPENING: tuple[Callable[[RunArguments], object], ...] = (
    argument_checks.check_config,
    argument_checks.check_page,
    as_planned.check_other_user,
    argument_checks.check_options,
    argument_checks.check_addresses,
    place_checks.check_names,
    argument_checks.check_reading,
    place_checks.check_folders,
)
"""By the arguments alone. Then the log is opened, which locks it and repairs its end."""

BEFORE_READING: tuple[Callable[[OpenedRun], None], ...] = (
    log_checks.check_goes_on,
    log_checks.check_restored,
    as_planned.check_user,
    as_planned.check_age,
    as_planned.check_planned_host,
    as_planned.check_files,
    server_checks.check_can_look_up,
    argument_checks.check_shards,
    argument_checks.check_until,
    log_checks.check_no_copy,
    backup_checks.check_own_backup,
    backup_checks.check_memberships,
)
"""By the log and the host too. Then the exclude files and the export are read. With a plan, `check_files` comes before
anything reads a file that only the plan names."""

AFTER_READING: tuple[Callable[[RunPlan], None], ...] = (
    place_checks.check_planned_folders,
    argument_checks.check_max,
    place_checks.check_bad_rows_folder,
    server_checks.check_sandbox,
    log_checks.check_pinned,
    log_checks.check_guards,
    log_checks.check_as_logged,
    as_planned.check_as_planned,
)
"""By the rows too. Then the run signs in, and looks a sample of the ids up."""

AFTER_SIGN_IN: tuple[Callable[[RunPlan], None], ...] = (
    server_checks.check_pool,
    server_checks.check_ages,
    as_planned.check_as_planned,
)
"""By the pool and the sample too. Then the plan is shown, and confirmed; `confirm` begins with `check_sample`."""
