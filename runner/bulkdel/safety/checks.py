"""Every check of a run before the first id is sent, in the order in which they run: a list for each step.

A step knows more than the one before it. A check refuses the run, or does nothing: UsageError is exit 2, NotAcceptable
3, Halted 4, FileFailed 5. What a file holds is refused where it is read.
"""

from __future__ import annotations

from collections.abc import Callable

from bulkdel.safety.argument_checks import (
    check_addresses,
    check_config,
    check_max,
    check_options,
    check_page,
    check_reading,
    check_shards,
    check_until,
)
from bulkdel.safety.as_planned import (
    check_age,
    check_as_planned,
    check_files,
    check_other_user,
    check_planned_host,
    check_user,
)
from bulkdel.safety.backup_checks import check_memberships, check_own_backup
from bulkdel.safety.log_checks import check_as_logged, check_goes_on, check_guards, check_no_copy, check_pinned
from bulkdel.safety.place_checks import check_bad_rows_folder, check_folders, check_names, check_planned_folders
from bulkdel.safety.run_plan import OpenedRun, RunArguments, RunPlan
from bulkdel.safety.server_checks import check_ages, check_can_look_up, check_pool, check_sandbox

BEFORE_OPENING: tuple[Callable[[RunArguments], object], ...] = (
    check_config,
    check_page,
    check_other_user,
    check_options,
    check_addresses,
    check_names,
    check_reading,
    check_folders,
)
"""By the arguments alone. Then the log is opened, which locks it and repairs its end."""

BEFORE_READING: tuple[Callable[[OpenedRun], None], ...] = (
    check_goes_on,
    check_user,
    check_age,
    check_planned_host,
    check_files,
    check_can_look_up,
    check_shards,
    check_until,
    check_no_copy,
    check_own_backup,
    check_memberships,
)
"""By the log and the host too. Then the exclude files and the export are read. With a plan, `check_files` comes before
anything reads a file that only the plan names."""

AFTER_READING: tuple[Callable[[RunPlan], None], ...] = (
    check_planned_folders,
    check_max,
    check_bad_rows_folder,
    check_sandbox,
    check_pinned,
    check_guards,
    check_as_logged,
    check_as_planned,
)
"""By the rows too. Then the run signs in, and looks a sample of the ids up."""

AFTER_SIGN_IN: tuple[Callable[[RunPlan], None], ...] = (check_pool, check_ages, check_as_planned)
"""By the pool and the sample too. Then the plan is shown, and confirmed; `confirm` begins with `check_sample`."""
