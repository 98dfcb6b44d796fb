"""Programs that break one promise each: a copy of the packages with one substitution, and the test that must notice.

The rules for a mutant:
- Its text is found exactly once. The code moves on, and the mutant has to move with it.
- The file with the substitution passes ruff and mypy: code that could have been committed.
- The named test fails by an assertion of its own. A NameError, a timeout or a traceback of the program is no kill: it
  says that the program is broken, and not that the test watches the promise. Where the promise is about crashes, so
  that the test makes the program crash, the mutant says `crashes=True`.
To try one: `python -m pytest tests/campaigns/test_mutants.py -k "the-name-with-dashes"`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests import forked

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class Mutant:
    """One broken promise. file: below the root. old → new: the substitution. test: what must fail by it.

    traced: the test needs strace. crashes: the test makes the program crash on purpose, so a traceback proves nothing.
    """

    name: str
    file: str
    old: str
    new: str
    test: str
    traced: bool = False
    crashes: bool = False


MUTANTS = (
    Mutant(
        "a request is written after the share of its process has ended",
        "runner/bulkdel/http/client.py",
        "return may_send() and not rate_limiter.without_share",
        "return may_send() or not rate_limiter.without_share",
        "integration/test_rate_keeper.py::test_nothing_is_written_without_a_share_although_the_limiter_let_it_through",
    ),
    Mutant(
        "the keeper gives away a share before it has expired",
        "runner/bulkdel/core/rate_shares.py",
        "if granted.until > now]",
        "if granted.until > now + 1]",
        "unit/test_rate_shares.py::test_a_lowered_share_counts_in_full_until_it_has_expired",
    ),
    Mutant(
        "a keeper that was started again grants at once",
        "runner/bulkdel/core/rate_shares.py",
        "now + self._lasts_s if restarted else now",
        "now + 0 * self._lasts_s if restarted else now",
        "unit/test_rate_shares.py::test_a_keeper_that_was_started_again_grants_nothing_until_the_earlier_shares_have_expired",
    ),
    Mutant(
        "a share that was lowered counts as lowered before its process says so",
        "runner/bulkdel/core/rate_shares.py",
        "return max((granted.rate for granted in self.granted), default=0.0)",
        "return self.granted[-1].rate if self.granted else 0.0",
        "unit/test_rate_shares.py::test_one_worker_has_the_whole_rate_and_a_second_one_half_of_it_once_the_first_has_agreed",
    ),
    Mutant(
        "a 429 is told to the others with their next share",
        "runner/bulkdel/core/rate_shares.py",
        "other.owed = other.owed or other.group == group",
        "other.owed = other.owed and other.group == group",
        "integration/test_rate_keeper.py::test_one_process_alone_is_told_of_the_429_of_another",
    ),
    Mutant(
        "a process counts its share from the answer",
        "runner/bulkdel/http/shared_rate.py",
        'limiter.let_until(self._asked_at[share["asked"]] + LASTS_S)',
        "limiter.let_until(self._clock() + LASTS_S)",
        "integration/test_rate_keeper.py::test_a_share_lasts_from_the_ask_on_and_not_from_its_answer",
    ),
    Mutant(
        "a request leaves although the share has ended while it waited",
        "runner/bulkdel/http/rate_limiter.py",
        " and self._held_at is None and not self.without_share:",
        " and self._held_at is None:",
        "integration/test_rate_limiter.py::test_a_request_whose_share_ends_while_it_waits_in_the_bucket_does_not_leave",
    ),
    Mutant(
        "a shard ignores the duplicates of the log",
        "runner/bulkdel/core/shards.py",
        "PositionSet(rows.ranges(first, end))",
        'PositionSet(rows.ranges(first, first if reason == "duplicate" else end))',
        "unit/test_shards.py::test_any_cut_of_any_export_sends_the_rows_that_one_process_sends",
    ),
    Mutant(
        "a shard accepts entries about rows of another shard",
        "runner/bulkdel/core/run_state.py",
        "return not ranges or (self.first <= ranges[0][0] and ranges[-1][1] <= self.end)",
        "return not ranges or ranges[-1][1] <= self.end",
        "unit/test_shards.py::test_a_shard_refuses_entries_about_rows_of_another_shard",
    ),
    Mutant(
        "--limit is that of each shard",
        "runner/bulkdel/fleet/sharded_session.py",
        "        self._limit_left -= portion\n",
        "        self._limit_left -= 0\n",
        "e2e/test_shards.py::test_limits_hold_for_all_shards_together",
    ),
    Mutant(
        "--max-refused is that of each shard",
        "runner/bulkdel/fleet/shard.py",
        'ANY_SHARE = "100%"',
        'ANY_SHARE = "10"',
        "e2e/test_shards.py::test_refusals_are_counted_over_all_shards",
    ),
    Mutant(
        "the audit does not miss the log of a shard",
        "runner/bulkdel/checkpoint/audit.py",
        "if shards.get(int(number)) != sha256 and",
        "if shards.get(int(number), sha256) != sha256 and",
        "e2e/test_shards.py::test_the_results_are_those_of_one_process",
    ),
    Mutant(
        "a shard sends rows of the next shard",
        "runner/bulkdel/core/chunker.py",
        "        if batch.start >= progress.end:\n"
        "            break\n"
        "        for start, stop in settled.missing(\n"
        "            max(batch.start, progress.first), min(batch.start + len(batch.rows), progress.end)\n"
        "        ):\n",
        "        for start, stop in settled.missing(batch.start, batch.start + len(batch.rows)):\n",
        "unit/test_shards.py::test_any_cut_of_any_export_sends_the_rows_that_one_process_sends",
    ),
    Mutant(
        "a run sends a copy of an object without asking whether it has changed",
        "runner/bulkdel/export/download.py",
        "if resumed and source.digest == _digest(address)",
        "if resumed or source.digest == _digest(address)",
        "e2e/test_far_exports.py::test_an_object_that_changes_between_plan_and_run",
    ),
    Mutant(
        "the rest of another version is put behind the beginning of an object",
        "runner/bulkdel/store/web_object.py",
        "version is not None and version.differs(found)",
        "version is not None and version.size != found.size",
        "integration/test_download.py::test_nothing_of_two_versions_is_put_together",
    ),
    Mutant(
        "the end of an object is not asked for again",
        "runner/bulkdel/export/download.py",
        "        await self._check_end()\n",
        "",
        "integration/test_download.py::test_a_file_that_is_written_to_while_it_is_read",
    ),
    Mutant(
        "a copy is continued behind what was durable",
        "runner/bulkdel/export/download.py",
        "size // SYNC_BYTES * SYNC_BYTES",
        "size",
        "integration/test_download.py::test_patience",
    ),
    Mutant(
        "the signature of an address is shown",
        "runner/bulkdel/core/address.py",
        'return f"{shown}?{HIDDEN}" if address.query else shown',
        "return shown + address.query",
        "e2e/test_far_exports.py::test_plan_reads_it_and_run_sends_that",
    ),
    Mutant(
        "a line of another process in a store counts as our own",
        "runner/bulkdel/store/certain.py",
        "            return None\n        return self._clock() - began\n",
        "            return 0.0\n        return self._clock() - began\n",
        "unit/test_store_model.py::test_no_interleaving_breaks_the_invariant",
    ),
    Mutant(
        "a licence counts from the end of its commit",
        "runner/bulkdel/checkpoint/store_log.py",
        "        began = self._terms.means.clock()\n        self._creator.create(line_name(self.seq + 1), line)\n",
        "        self._creator.create(line_name(self.seq + 1), line)\n        began = self._terms.means.clock()\n",
        "unit/test_store_model.py::test_no_interleaving_breaks_the_invariant",
    ),
    Mutant(
        "a successor does not wait for the licence of the process before it",
        "runner/bulkdel/checkpoint/store_log.py",
        "            self._overtakes = False\n            self.licence.succeed()\n",
        "            self._overtakes = False\n",
        "unit/test_store_model.py::test_no_interleaving_breaks_the_invariant",
    ),
    Mutant(
        "a watch ends before the licence has lapsed",
        "runner/bulkdel/checkpoint/watch.py",
        "until = means.clock() + terms.wait_s\n",
        "until = means.clock() + terms.licence_s / 4\n",
        "unit/test_store_model.py::test_no_interleaving_breaks_the_invariant",
    ),
    Mutant(
        "a session in a store goes on with the nonce of another process",
        "runner/bulkdel/checkpoint/store_log.py",
        "        if self.adopted is not None:\n            self.nonce",
        "        if self.adopted is None:\n            self.nonce",
        "integration/test_store_parts.py::test_a_creation_that_was_cut_short_is_completed_by_the_same_run",
    ),
    Mutant(
        "a request leaves without asking for the licence last",
        "runner/bulkdel/http/transport.py",
        "        if not self._may_send():  # the last step",
        "        if self.closed and not self._may_send():  # the last step",
        "integration/test_http_client.py::test_nothing_is_written_without_a_licence",
    ),
    Mutant(
        "a paused run does not renew its licence",
        "runner/bulkdel/checkpoint/writer.py",
        "                self.touch()\n",
        "                await self.flush()\n",
        "e2e/test_store.py::test_a_second_run_is_refused_while_the_first_is_paused",
    ),
    Mutant(
        "after --take-over the rows in doubt are looked up at once",
        "runner/bulkdel/engine/pipeline.py",
        "doubts_wait_s(parts) > 0\n",
        "doubts_wait_s(parts) < 0\n",
        "e2e/test_store.py::test_a_stopped_process_sends_nothing_after_it_was_taken_over",
    ),
    Mutant(
        "every chunk of a run with --store has an intent",
        "runner/bulkdel/engine/gate.py",
        "max(LEAST, AHEAD_S * rate)",
        "max(LEAST, 10 * rate)",
        "integration/test_store_parts.py::test_the_gate_lets_in_what_the_rate_sends_soon",
    ),
    Mutant(
        "a file of a store is replaced",
        "runner/bulkdel/store/directory.py",
        "                os.link(part, path)\n",
        "                part.replace(path)\n",
        "integration/test_store_parts.py::test_one_of_many_writers_creates_a_file",
    ),
    Mutant(
        "the archive has the log although its ids were to be left out",
        "runner/bulkdel/commands/archive.py",
        "    if not settings.archive_no_ids:\n",
        "    if not (settings.archive_no_ids and settings.json and settings.archive is None):\n",
        "e2e/test_store.py::test_the_archive_of_each_stop",
    ),
    Mutant(
        "a store that does not fence is accepted",
        "runner/bulkdel/store/probe.py",
        "        if len(created) > 1:\n",
        "        if len(created) > AT_ONCE:\n",
        "integration/test_store_parts.py::test_the_probe_refuses_a_store_that_does_not_fence",
    ),
    Mutant(
        "the page answers under any name",
        "runner/bulkdel/core/page_access.py",
        "    if not has_token and not here:\n",
        "    if not has_token and not address.loopback:\n",
        "unit/test_page_access.py::test_the_name_of_the_page",
    ),
    Mutant(
        "another port of this machine steers the run from a browser",
        "runner/bulkdel/core/page_access.py",
        'OTHER_SITES = frozenset({"cross-site", "same-site"})',
        'OTHER_SITES = frozenset({"cross-site"})',
        "unit/test_page_access.py::test_another_site",
    ),
    Mutant(
        "a cookie steers without an origin",
        "runner/bulkdel/core/page_access.py",
        "request.path != LOGIN and not named, FROM_ANOTHER_SITE",
        'request.path != LOGIN and origin == "null", FROM_ANOTHER_SITE',
        "integration/test_page.py::test_the_token",
    ),
    Mutant(
        "the status is shown to a network without the token",
        "runner/bulkdel/core/page_access.py",
        "request.path not in PROBES | FILES, SIGN_IN",
        'request.path in {PAGE, "/events"}, SIGN_IN',
        "integration/test_page.py::test_in_a_network_nothing_is_shown_without_the_token",
    ),
    Mutant(
        "a wrong token costs nothing",
        "runner/bulkdel/live/page/sign_in.py",
        "await asyncio.sleep(WRONG_S)",
        "await asyncio.sleep(0)",
        "integration/test_page.py::test_wrong_tokens_are_slow_and_few",
    ),
    Mutant(
        "the group may read the token",
        "runner/bulkdel/live/page/sign_in.py",
        "0o077 if",
        "0o037 if",
        "integration/test_page.py::test_the_token_file",
    ),
    Mutant(
        "connections are taken as fast as they come",
        "runner/bulkdel/live/connections.py",
        "TAKEN_PER_S = 50.0",
        "TAKEN_PER_S = 5_000.0",
        "integration/test_page.py::test_connections_are_taken_at_a_bounded_rate",
    ),
    Mutant(
        "a reader that takes nothing is kept",
        "runner/bulkdel/live/page/stream.py",
        "                sent = self._latest\n                async with asyncio.timeout(WRITE_S):\n",
        "                sent = self._latest\n                async with asyncio.timeout(None):\n",
        "integration/test_page.py::test_slow_and_many_connections_are_ended",
    ),
    Mutant(
        "an answer of the page has the path of the log",
        "runner/bulkdel/live/page/run_on_page.py",
        "return obeyed, self._without_path(text)",
        "return obeyed, text",
        "e2e/test_page.py::test_the_page_of_a_run",
    ),
    Mutant(
        "a notification may go to another machine without https",
        "runner/bulkdel/notify/addresses.py",
        'if scheme == "http" and not is_loopback(text):',
        'if scheme == "http" and not is_loopback(text) and not text:',
        "e2e/test_notify.py::test_a_place_that_cannot_be_told_is_refused_before_anything_is_read",
    ),
    Mutant(
        "process 1 ignores SIGTERM until a command has its handlers",
        "runner/bulkdel/cli/main.py",
        "    if os.getpid() == 1:\n",
        "    if os.getpid() == 0:\n",
        "e2e/test_unattended.py::test_sigterm_ends_process_1_at_any_time",
    ),
    Mutant(
        "of a secret that is given twice one is taken",
        "jobs/bulkdel_jobs/parts/secret.py",
        '    if value:\n        raise UsageError(f"the environment sets',
        '    if value == path:\n        raise UsageError(f"the environment sets',
        "unit/test_credentials.py::test_each_half_may_be_in_a_file_that_a_variable_names",
    ),
    Mutant(
        "a command before the sending is obeyed later",
        "runner/bulkdel/live/steering.py",
        "            if obey != self._status:\n",
        "            if obey == self._status:\n",
        "e2e/test_library.py::test_a_command_before_the_sending_is_refused_and_not_obeyed_later",
    ),
    Mutant(
        "the plan in a JSON log shows sampled ids",
        "runner/bulkdel/commands/run.py",
        '"plan", private=True, plan=plan_values(plan)',
        '"plan", private=False, plan=plan_values(plan)',
        "e2e/test_unattended.py::test_each_line_of_both_streams_is_json",
    ),
    Mutant(
        "a JSON log quotes bad rows",
        "runner/bulkdel/output.py",
        'out.put("error", "error", text=error.public, exit_code=error.exit_code)',
        'out.put("error", "error", text=str(error), exit_code=error.exit_code)',
        "e2e/test_unattended.py::test_errors_are_json_too",
    ),
    Mutant(
        "protected pools of the environment replace those of the config",
        "runner/bulkdel/cli/config.py",
        "        return [*before, *map(str, value.read_as(list))]\n",
        "        return list(map(str, value.read_as(list)))\n",
        "unit/test_variables.py::test_the_environment_stands_above_the_file",
    ),
    Mutant(
        "the bar is wider than the terminal",
        "runner/bulkdel/engine/reporter.py",
        "        if len(text) + len(BETWEEN) + len(part) > width:\n",
        "        if len(text) + len(BETWEEN) > width:\n",
        "e2e/test_unattended.py::test_the_bar_at_80_and_60_columns_and_lines_on_a_dumb_terminal",
    ),
    Mutant(
        "the end waits for a server that hangs",
        "runner/bulkdel/notify/sending.py",
        "loop.call_later(sender.leave_s, work.cancel)",
        "loop.call_later(sender.leave_s * 5, work.cancel)",
        "integration/test_notifying.py::test_a_place_that_hangs_holds_up_neither_the_end_nor_another_place",
    ),
    Mutant(
        "a long outage is told again and again",
        "runner/bulkdel/notify/message.py",
        "        if long == self._told:\n            return None\n",
        "        if not long and not self._told:\n            return None\n",
        "integration/test_notifying.py::test_a_long_outage_of_a_real_run_is_told_once_and_its_end",
    ),
    Mutant(
        "the command of an event gets the credentials of the job",
        "runner/bulkdel/notify/senders.py",
        "if name in KEPT or name.startswith(KEPT_BEGINNING)",
        "if name in KEPT or not name.startswith(KEPT_BEGINNING)",
        "integration/test_notifying.py::test_the_command_gets_the_values_and_no_credentials",
    ),
    Mutant(
        "the URL of a notification is in the printed command",
        "runner/bulkdel/command_line.py",
        'SECRET = frozenset({"notify"})',
        'SECRET = frozenset({"proxy"})',
        "e2e/test_notify.py::test_a_halt_and_a_stop_have_their_events",
    ),
    Mutant(
        "a notice has the path of the checkpoint",
        "runner/bulkdel/commands/notices.py",
        "            host=plan.target.pinned_host,\n",
        "            host=str(plan.checkpoint),\n",
        "e2e/test_notify.py::test_nothing_about_a_person_is_sent",
    ),
    Mutant(
        "a report shows a text that holds a value of the export",
        "runner/bulkdel/commands/report.py",
        "return LEFT_OUT if check.holds(value) else value",
        "return LEFT_OUT if check.holds(value) and not value else value",
        "e2e/test_report.py::test_no_value_of_the_export_is_in_it",
    ),
    Mutant(
        "a report compares its texts with the ids only",
        "runner/bulkdel/report/export_values.py",
        "                check.see(value)\n",
        "                check.see(value[:0])\n",
        "e2e/test_report.py::test_no_value_of_the_export_is_in_it",
    ),
    Mutant(
        "a title may hold an id",
        "runner/bulkdel/commands/report.py",
        "if check.holds(text):",
        "if check.holds(text) and not option:",
        "e2e/test_report.py::test_no_value_of_the_export_is_in_it",
    ),
    Mutant(
        "a report of a changed log says that the audit holds",
        "runner/bulkdel/report/run_facts.py",
        "return AuditFacts(found.fault is None, found.commits",
        "return AuditFacts(found.commits >= 0, found.commits",
        "e2e/test_report.py::test_under_way_killed_changed_and_without_its_export",
    ),
    Mutant(
        "a report of a run under way calls it finished",
        "runner/bulkdel/report/run_facts.py",
        "if not run.progress.complete or run.pid is not None:",
        "if not run.progress.rows or run.pid is not None:",
        "e2e/test_report.py::test_under_way_killed_changed_and_without_its_export",
    ),
    Mutant(
        "the memberships are copied when the ids are sent",
        "runner/bulkdel/engine/session.py",
        "            if plan.copies_memberships:\n                await self._copy_memberships(workers)\n"
        "            await settle_export(plan, parts, workers, self._left)\n",
        "            await settle_export(plan, parts, workers, self._left)\n"
        "            if plan.copies_memberships:\n                await self._copy_memberships(workers)\n",
        "e2e/test_memberships.py::test_killed_while_reading",
    ),
    Mutant(
        "a list of members that changed while it was read counts as whole",
        "runner/bulkdel/http/memberships.py",
        "return self._totals <= {None} or self._totals == {self._items}",
        "return self._items >= 0",
        "e2e/test_memberships.py::test_a_list_that_cannot_be_read_halts_the_run",
    ),
    Mutant(
        "one reading of the members whose count fits is enough",
        "runner/bulkdel/http/memberships.py",
        "if content == before or all(each.pages <= 1 for each in lists):",
        "if content == before or all(each.fits for each in lists):",
        "e2e/test_memberships.py::test_none_is_missed_when_one_leaves_and_one_joins",
    ),
    Mutant(
        "the code of a group may make its memberships bad rows",
        "jobs/bulkdel_jobs/genauth/memberships.py",
        'char if char.isprintable() and char not in {"%", SEPARATOR} else',
        'char if char not in {"%", SEPARATOR} else',
        "e2e/test_memberships.py::test_a_restore_puts_back_what_still_has_a_group_or_a_role",
    ),
    Mutant(
        "memberships of users that were not restored are put back",
        "runner/bulkdel/engine/derived_memberships.py",
        'JOIN = "INSERT INTO found SELECT ?, ?, ?, ?, new FROM users WHERE old = ?"',
        'JOIN = "INSERT INTO found SELECT ?1, ?2, ?3, ?4, coalesce((SELECT new FROM users WHERE old = ?5), ?5)"',
        "e2e/test_memberships.py::test_the_memberships_of_restored_users_are_put_back",
    ),
    Mutant(
        "a role that may have had an end is given back for ever",
        "jobs/bulkdel_jobs/genauth/memberships.py",
        "        if UNKNOWN in facts.values():\n            return None\n"
        '        return {"id": id_of(of, user), **facts}',
        "        known = {name: value for name, value in facts.items() if value != UNKNOWN}\n"
        '        return {"id": id_of(of, user), **known}',
        "e2e/test_memberships.py::test_an_end_that_may_be_any_users_is_not_forgotten",
    ),
    Mutant(
        "a resume takes a copy of the memberships that has changed",
        "runner/bulkdel/safety/checks.py",
        'fault = "it has changed" if (size, crc) != (known.size, known.crc) else ""',
        'fault = "it has changed" if size != known.size and crc != known.crc else ""',
        "e2e/test_memberships.py::test_the_copy_belongs_to_every_session",
    ),
    Mutant(
        "forget removes whatever has the name of a file that was confirmed",
        "runner/bulkdel/commands/forget.py",
        "if identity_of(file.path.lstat()) == file.identity:",
        "if identity_of(file.path.lstat()):",
        "e2e/test_forget.py::test_a_file_that_changes_while_it_asks_is_left",
    ),
    Mutant(
        "forget removes a backup that the run did not write",
        "runner/bulkdel/commands/run_files.py",
        'kept = "" if fits else "holds other bytes than those that the run wrote"',
        'kept = "" if fits or found.st_size else "holds other bytes than those that the run wrote"',
        "e2e/test_forget.py::test_links_and_other_bytes_are_left_and_named",
    ),
    Mutant(
        "forget removes bad rows that were corrected",
        "runner/bulkdel/commands/run_files.py",
        "yield Named(name, what, known or None,",
        "yield Named(name, what, None,",
        "e2e/test_forget.py::test_bad_rows_that_were_corrected_or_belong_to_another_run_too_are_left",
    ),
    Mutant(
        "forget of a copied log removes the files of the original",
        "runner/bulkdel/commands/run_files.py",
        "if elsewhere and original is not None:",
        "if elsewhere and original is log:",
        "e2e/test_forget.py::test_a_copied_log_does_not_remove_the_files_of_the_original",
    ),
    Mutant(
        "forget removes the map while memberships are to be put back",
        "runner/bulkdel/commands/run_files.py",
        '"the old and the new ids of a restore", wanted=restoring)',
        '"the old and the new ids of a restore", wanted=resumable)',
        "e2e/test_forget.py::test_the_files_of_a_restore_go_too_once_it_is_complete",
    ),
    Mutant(
        "forget leaves a copy of the memberships that a kill has ended",
        "runner/bulkdel/commands/run_files.py",
        r'for part in _beside(each, r"\.\w+\.part", before=".")',
        r'for part in _beside(each, r"\.\w+\.part", before="")',
        "e2e/test_forget.py::test_a_copy_of_the_memberships_that_a_kill_has_ended",
    ),
    Mutant(
        "forget removes files before the log says so",
        "runner/bulkdel/commands/forget.py",
        'log.add("forget", now, stamp(around.wall()))',
        'stack.callback(log.add, "forget", now, stamp(around.wall()))',
        "e2e/test_forget.py::test_killed_at_every_effect_the_same_command_finishes",
    ),
    Mutant(
        "forget says that the files are gone before their folder is on the disk",
        "runner/bulkdel/commands/forget.py",
        "for folder in {Path(name).parent for name in gone}:",
        "for folder in {Path(name).parent for name in gone if not name}:",
        "e2e/test_forget.py::test_the_folder_is_synced_before_the_log_says_that_the_removal_has_ended",
    ),
    Mutant(
        "forget removes what a run with rows left needs",
        "runner/bulkdel/commands/forget.py",
        "if wanted and not abandon:",
        "if wanted and abandon:",
        "e2e/test_forget.py::test_what_a_run_with_rows_left_needs_stays_unless_it_is_given_up",
    ),
    Mutant(
        "a user that is active is deleted",
        "runner/bulkdel/core/guards.py",
        "facts.last_seen_at >= self.active_since",
        "facts.last_seen_at > self.active_since",
        "e2e/test_spared.py::test_what_each_guard_prevents[active]",
    ),
    Mutant(
        "a user that is new is deleted",
        "runner/bulkdel/core/guards.py",
        "facts.created_at > self.created_after",
        "facts.created_at < self.created_after",
        "e2e/test_spared.py::test_what_each_guard_prevents[created]",
    ),
    Mutant(
        "a user with another status is deleted",
        "runner/bulkdel/core/guards.py",
        "facts.status not in self.statuses",
        "not facts.status and self.statuses",
        "e2e/test_spared.py::test_what_each_guard_prevents[status]",
    ),
    Mutant(
        "only the first record of an id passes the guards",
        "runner/bulkdel/core/guards.py",
        "            spared = spared or self._spares(facts)\n",
        "            spared = self._spares(facts)\n",
        "unit/test_spared.py::test_an_account_is_spared_when_one_of_its_records_is",
    ),
    Mutant(
        "a missing field is taken for no sign-in",
        "jobs/bulkdel_jobs/parts/json_values.py",
        "and name in holder and holder[name] is None",
        "and holder.get(name) is None",
        "unit/test_parts.py::test_null_is_no_sign_in_and_a_missing_field_is_no_answer",
    ),
    Mutant(
        "a field that cannot be read halts no run",
        "runner/bulkdel/core/guards.py",
        "in self.given if getattr(facts, guard.fact) is None",
        "in self.given[1:] if getattr(facts, guard.fact) is None",
        "e2e/test_spared.py::test_a_field_that_cannot_be_read_halts_the_run",
    ),
    Mutant(
        "a resume may drop a guard",
        "runner/bulkdel/safety/checks.py",
        "not (loosened := plan.guards.loosened(log.guards))",
        "not (loosened := plan.guards and plan.guards.loosened(log.guards))",
        "e2e/test_spared.py::test_a_resume_keeps_the_guards_and_may_tighten_them",
    ),
    Mutant(
        "the guards of later sessions are forgotten",
        "runner/bulkdel/core/run_state.py",
        "        self.guards = _guards(facts) or self.guards\n",
        "        self.guards = self.guards or _guards(facts)\n",
        "e2e/test_spared.py::test_a_resume_keeps_the_guards_and_may_tighten_them",
    ),
    Mutant(
        "tightened guards are not confirmed",
        "runner/bulkdel/safety/confirmation.py",
        "    elif plan.more_guards:\n",
        "    elif plan.more_guards and limit is not None:\n",
        "e2e/test_spared.py::test_a_resume_keeps_the_guards_and_may_tighten_them",
    ),
    Mutant(
        "rows in doubt pass no guards",
        "runner/bulkdel/engine/chunk.py",
        "        return judged.spared is not None\n",
        "        return judged.spared is not None and self._chunk.in_doubt_since is None\n",
        "e2e/test_spared.py::test_rows_in_doubt_pass_the_guards",
    ),
    Mutant(
        "a newer account is called the one that was meant, and spared",
        "runner/bulkdel/engine/chunk.py",
        "            found |= {id_: each for id_, each in compare(resend=True).items() if id_ not in protected}\n",
        "            found |= compare(resend=True)\n",
        "e2e/test_spared.py::test_a_new_account_is_spared_also_when_rows_in_doubt_are_sent_again",
    ),
    Mutant(
        "a look-up counts for ever",
        "runner/bulkdel/engine/chunk.py",
        "return any(at is None or max(wall - at[0], steady - at[1]) > RETRY_MAX_S for at in seen)",
        "return any(at is None or min(wall, steady) < at[1] - RETRY_MAX_S for at in seen)",
        "e2e/test_spared.py::test_an_old_look_up_is_repeated_before_its_request_leaves",
    ),
    Mutant(
        "what another client deleted before the request is called done",
        "runner/bulkdel/core/chunk_state.py",
        "seen=sub_chunk.seen and sub_chunk.touched",
        "seen=sub_chunk.seen or sub_chunk.touched",
        "e2e/test_spared.py::test_an_old_look_up_is_repeated_before_its_request_leaves",
    ),
    Mutant(
        "a user is spared for the status that the run gave it",
        "runner/bulkdel/engine/chunk.py",
        "        sent = since is not None or self.state.requests > 0\n",
        "        sent = since is not None\n",
        "e2e/test_spared.py::test_a_disabled_user_is_not_spared_by_the_status_that_the_run_gave_it",
    ),
    Mutant(
        "a record that is half-way to the target state counts as never sent",
        "runner/bulkdel/core/chunk_state.py",
        "elif sub_chunk.maybe_applied and self.several_requests:",
        "elif sub_chunk.maybe_applied and not self.several_requests:",
        "unit/test_chunk_state.py::"
        "test_a_record_of_which_one_of_several_requests_may_have_been_applied_is_not_called_untouched[True]",
    ),
    Mutant(
        "spared rows count for --limit",
        "runner/bulkdel/engine/pipeline.py",
        "if left() is None or tally.not_sent == not_sent:",
        "if left() is None or tally.not_sent >= not_sent:",
        "e2e/test_spared.py::test_spared_rows_do_not_count_for_the_limit",
    ),
    Mutant(
        "the last administrator is deleted",
        "runner/bulkdel/safety/preparation.py",
        "protected=plan.protected.plus(own_ids)",
        "protected=plan.protected.plus(owner)",
        "e2e/test_http_job.py::test_guards_and_the_administrator_that_is_kept",
    ),
    Mutant(
        "a session may go on with the nonce of an annotation",
        "runner/bulkdel/checkpoint/reader.py",
        "if nonce != self._nonce or annotates is not self._annotates:",
        "if nonce != self._nonce:",
        "integration/test_annotation.py::test_an_annotation_that_cannot_be_believed_is_refused",
    ),
    Mutant(
        "an annotation is no part of the chain of hashes",
        "runner/bulkdel/checkpoint/reader.py",
        "for entry in entries if types & {Session, Annotation} else ():",
        "for entry in entries if types & {Session} else ():",
        "integration/test_annotation.py::test_an_annotation_that_cannot_be_believed_is_refused",
    ),
    Mutant(
        "a check of a job acts on ids that were not named",
        "jobs/bulkdel_jobs/kit/check.py",
        "existing=list(options.ids) if acts else []",
        "existing=list(options.ids or made_up) if acts else []",
        "integration/test_job_check.py::test_no_deletion_reaches_a_host",
    ),
    Mutant(
        "a check of a job acts at a host that only begins like this machine",
        "runner/bulkdel/http/transport.py",
        'return host == "localhost" or',
        'return host.startswith("localhost") or',
        "integration/test_job_check.py::test_which_hosts_take_an_action",
    ),
    Mutant(
        "a check of a job lets a failure pass that forgets what may be done",
        "jobs/bulkdel_jobs/kit/check_answers.py",
        "return not decision.untouched and (decision.maybe_applied or decision.next_step is NextStep.HALT)",
        "return not decision.untouched",
        "integration/test_job_check.py::test_a_failure_that_may_have_had_effect",
    ),
    Mutant(
        "a slash in an id stays a slash in the path",
        "jobs/bulkdel_jobs/parts/paths.py",
        'return quote(id_, safe="")',
        'return quote(id_, safe="/")',
        "unit/test_parts.py::test_everything_but_unreserved_characters_is_encoded",
    ),
    Mutant(
        "an id pattern lets dots into a path",
        "runner/bulkdel/core/id_type.py",
        "if id_type.never is not None and id_type.never.fullmatch(id_):",
        "if id_type.never is not None and id_type.shape is None and id_type.never.fullmatch(id_):",
        "unit/test_parts.py::test_no_id_pattern_lets_such_an_id_in",
    ),
    Mutant(
        "a web page is a success",
        "jobs/bulkdel_jobs/parts/statuses.py",
        "            if _PAGE.match(response.body):\n",
        "            if _PAGE.match(response.body) and status != 200:  # noqa: PLR2004\n",
        "unit/test_parts.py::test_a_web_page_is_no_success",
    ),
    Mutant(
        "a 2xx that the table does not name is a success",
        "jobs/bulkdel_jobs/parts/statuses.py",
        "return cls({**DEFAULTS, **named})",
        'return cls({**DEFAULTS, "2xx": "settled", **named})',
        "unit/test_parts.py::test_what_a_status_means",
    ),
    Mutant(
        "a resume with another path is not refused",
        "runner/bulkdel/safety/checks.py",
        '            **pinned.get("table", {}),\n',
        "",
        "e2e/test_http_job.py::test_a_changed_path_does_not_resume",
    ),
    Mutant(
        "a value that no list of the table names is settled",
        "jobs/bulkdel_jobs/parts/answers.py",
        "    otherwise: Verdict = Verdict.MAYBE_APPLIED\n",
        "    otherwise: Verdict = Verdict.SETTLED\n",
        "unit/test_parts.py::test_a_value_without_a_meaning_is_maybe_applied",
    ),
    Mutant(
        "a server that fails is believed to have done nothing",
        "jobs/bulkdel_jobs/parts/statuses.py",
        '"again": Decision(NextStep.RETRY, maybe_applied=True)',
        '"again": Decision(NextStep.RETRY)',
        "unit/test_parts.py::test_a_failing_server_may_have_applied_a_request",
    ),
    Mutant(
        "a refusal of the job http is a success",
        "jobs/bulkdel_jobs/parts/statuses.py",
        '"4xx": "refused",',
        '"4xx": "settled",',
        "campaigns/test_http.py::test_faults_and_kills_lose_nothing[forum-0]",
    ),
    Mutant(
        "an id that an answer does not name is settled",
        "runner/bulkdel/core/decision.py",
        "IdAnswer(id_, Verdict.MAYBE_APPLIED, decision.detail)",
        "IdAnswer(id_, Verdict.SETTLED, decision.detail)",
        "unit/test_answers_per_id.py::test_an_id_that_the_answer_does_not_name_is_maybe_applied",
    ),
    Mutant(
        "an answer about other ids is believed",
        "runner/bulkdel/core/decision.py",
        "if len(named) < len(answers) or not named.issubset(ids):",
        "if len(named) < len(answers) or named.isdisjoint(ids):",
        "unit/test_answers_per_id.py::test_an_unknown_or_doubled_id_makes_the_answer_a_lost_one",
    ),
    Mutant(
        "the second request of a chunk is left out",
        "runner/bulkdel/core/chunk_state.py",
        "if sub_chunk.part + 1 < requests:",
        "if sub_chunk.part + 2 < requests:",
        "unit/test_answers_per_id.py::test_a_chunk_that_takes_three_requests",
    ),
    Mutant(
        "an id that is refused after a lost answer is refused for good",
        "runner/bulkdel/core/chunk_state.py",
        "        if sub_chunk.maybe_applied:\n            self._stack.append((sub_chunk._replace(again=0)",
        "        if sub_chunk.known:\n            self._stack.append((sub_chunk._replace(again=0)",
        "unit/test_chunk_state.py::test_refused_after_a_request_that_may_have_been_applied",
    ),
    Mutant(
        "look-ups that have ceased to find accounts are believed",
        "runner/bulkdel/engine/chunk.py",
        "            if not proven and (accounts or parts.lookup.lost):\n",
        "            if not proven and accounts:\n",
        "e2e/test_lost_look_ups.py::test_a_key_that_loses_its_permission_proves_nothing_absent",
    ),
    Mutant(
        "what was changed and excluded since is called excluded",
        "runner/bulkdel/engine/chunk.py",
        "and (sent or id_ not in protected):\n",
        "and (sent and id_ not in protected):\n",
        "e2e/test_jobs.py::test_what_was_sent_is_not_called_excluded",
    ),
    Mutant(
        "an id without an account counts as disabled",
        "runner/bulkdel/core/chunk_state.py",
        "        if not self.absence_reaches:\n",
        "        if not self.absence_reaches and not sub_chunk.maybe_applied:\n",
        "unit/test_answers_per_id.py::test_rows_in_doubt_of_such_a_job",
    ),
    Mutant(
        "refusals in chunks of one never halt",
        "runner/bulkdel/core/held_outcomes.py",
        "        if size(self._refused_parts) >= ALL_REFUSED_MIN:\n",
        "        if size(self._refused_parts[-1:]) >= ALL_REFUSED_MIN:\n",
        "e2e/test_without_look_ups.py::test_a_key_that_may_not_delete_halts",
    ),
    Mutant(
        "a wrong path ends as a success",
        "runner/bulkdel/engine/session.py",
        "absent_counts=lookup.possible or allowed",
        "absent_counts=bool(lookup) or allowed",
        "e2e/test_without_look_ups.py::test_a_wrong_path_ends_as_no_success",
    ),
    Mutant(
        "ids that nothing has proven absent stay in doubt after the halt",
        "runner/bulkdel/engine/parts.py",
        "        parts.log.enqueue(Released(part.records.ranges))\n",
        "        parts.log.enqueue(Released(part.records.ranges[1:]))\n",
        "e2e/test_without_look_ups.py::test_a_wrong_path_ends_as_no_success",
    ),
    Mutant(
        "the library leaves the options in a config unread",
        "runner/bulkdel/library.py",
        '    if config and "run" in config:',
        '    if config and "ran" in config:',
        "e2e/test_library.py::test_options_in_the_config_are_refused",
    ),
    Mutant(
        "a pass sends the duplicates of the log",
        "runner/bulkdel/core/chunker.py",
        "                skips = set(progress.skipped.rows.between(first, last))\n",
        "                skips = set(progress.skipped.rows.between(first, first))\n",
        "e2e/test_duplicates.py::test_a_duplicate_is_sent_once",
    ),
    Mutant(
        "duplicates are found within a run of rows only",
        "runner/bulkdel/export/duplicates.py",
        "if first_of(key, position) != position])",
        "if positions[0] <= first_of(key, position) != position])",
        "e2e/test_duplicates.py::test_distinct_rows_in_between",
    ),
    Mutant(
        "a log with half a list is gone on with",
        "runner/bulkdel/checkpoint/reader.py",
        "        if fold is not None and not fold.born:\n",
        "        if fold is not None and not fold.born and fold.under_way:\n",
        "e2e/test_duplicates.py::test_a_list_that_was_not_written_whole_is_written_again[within the list]",
    ),
    Mutant(
        "a line of another session is believed",
        "runner/bulkdel/checkpoint/reader.py",
        "            if self.seq and (nonce in self._nonces or not begins):\n",
        "            if self.seq and (nonce in self._nonces and not begins):\n",
        "integration/test_checkpoint_damage.py::test_corruption_is_refused_with_its_place_and_nothing_is_changed"
        "[a line of another session]",
    ),
    Mutant(
        "a changed list of skipped rows is believed",
        "runner/bulkdel/core/run_state.py",
        "        if listed != wanted or self._listed.hex != self.header.skipped_sha256:\n",
        "        if listed != wanted or self._listed.hex == self.header.skipped_sha256[1:]:\n",
        "e2e/test_duplicates.py::test_a_list_that_was_changed_is_refused",
    ),
    Mutant(
        "the list of those still there holds duplicates",
        "runner/bulkdel/verify/still_there.py",
        "            if position not in skipped:\n",
        "            if position not in skipped or position:\n",
        "e2e/test_duplicates.py::test_verify_asks_once_for_an_id_and_lists_it_once",
    ),
    Mutant(
        "the temporary file may fill the disk",
        "runner/bulkdel/export/duplicates.py",
        "            self._check_space(len(data))\n",
        "            self._needed = len(data)\n",
        "unit/test_export_duplicates.py::test_too_little_space_is_told_before_the_disk_is_full",
    ),
    Mutant(
        "no fsync",
        "runner/bulkdel/durable.py",
        "        os.fdatasync(fd)\n",
        "        pass\n",
        "integration/test_checkpoint.py::test_nothing_is_told_or_counted_before_it_is_durable",
    ),
    Mutant(
        "outcome before reply",
        "runner/bulkdel/engine/chunk.py",
        "        decision = await client.ask(requests[step.part], read, self._worker, self._redact, expired)\n",
        "        self.state.replied(Decision(NextStep.SETTLED), len(requests))\n"
        "        write_settled(parts, self.state.settled)\n"
        "        self.state.settled.clear()\n"
        "        asked = await client.ask(requests[step.part], read, self._worker, self._redact, expired)\n"
        "        decision = asked if self.state.halt else None\n",
        "integration/test_promises.py::test_no_outcome_before_its_reply",
    ),
    Mutant(
        "an email sent again long after its answer was lost",
        "runner/bulkdel/engine/chunk.py",
        "        return max(around.wall() - wall, around.steady() - steady) > RETRY_MAX_S\n",
        "        return around.wall() < wall and around.steady() < steady + RETRY_MAX_S\n",
        "e2e/test_clock.py::test_a_newer_account_is_not_deleted_by_a_late_repetition",
    ),
    Mutant(
        "an entry without a waiter is forgotten",
        "runner/bulkdel/checkpoint/group_commit.py",
        "self._writer = asyncio.create_task(self._write_batches())",
        "self._writer = asyncio.create_task(asyncio.sleep(0))",
        "integration/test_checkpoint.py::test_an_entry_without_a_waiter_is_written_by_itself",
    ),
    Mutant(
        "an id in a request's number",
        "runner/bulkdel/core/redaction.py",
        "request_id=clean(detail.request_id) if detail.request_id else detail.request_id",
        "request_id=detail.request_id",
        "integration/test_http_client.py::test_a_success_that_quotes_an_id_as_its_request_id",
    ),
    Mutant(
        "intent not awaited",
        "runner/bulkdel/engine/chunk.py",
        "        await self._parts.log.flush()\n",
        "",
        "integration/test_promises.py::test_no_request_before_its_intent",
        traced=True,
    ),
    Mutant(
        "HTTP status trusted",
        "jobs/bulkdel_jobs/genauth/responses.py",
        '    status_code = envelope.get("statusCode")\n',
        "    status_code = response.status\n",
        "unit/test_responses.py::test_the_table",
    ),
    Mutant(
        "success ignored",
        "jobs/bulkdel_jobs/genauth/responses.py",
        'decision.data["success"] is True',
        'decision.data["success"] != "no"',
        "unit/test_responses.py::test_success_that_is_not_true_is_looked_up_and_may_have_had_effect",
    ),
    Mutant(
        "an answer without success taken for a refusal",
        "jobs/bulkdel_jobs/genauth/responses.py",
        'return _LOST._replace(detail=decision.detail, reason="statusCode 200, but the response has no data.success")',
        "return decision._replace(next_step=NextStep.LOOK_UP, maybe_applied=True)",
        "e2e/test_endings.py::test_an_answer_without_data_refuses_nothing",
    ),
    Mutant(
        "the command after a pipe forgets its checkpoint",
        "runner/bulkdel/safety/run_plan.py",
        'line = line.plus("--checkpoint", self.checkpoint)',
        'line = line.without("--checkpoint")',
        "e2e/test_endings.py::test_the_command_after_a_named_pipe_goes_on",
    ),
    Mutant(
        "the copy of a pipe accepted under another checkpoint",
        "runner/bulkdel/safety/checks.py",
        "if arguments.settings.sandbox or not copy.name.endswith(SPOOLED):",
        "if arguments.settings.sandbox or copy.name:",
        "e2e/test_endings.py::test_the_copy_of_a_pipe_is_no_export_of_another_run",
    ),
    Mutant(
        "a planned stop that is not confirmed again",
        "runner/bulkdel/safety/confirmation.py",
        'if log.stop is not None and (until := log.stop.facts.get("not_after")):',
        'if log.stop is not None and (until := log.stop.facts.get("never")):',
        "e2e/test_endings.py::test_a_run_that_stopped_as_planned_asks_again",
    ),
    Mutant(
        "the exclude list of the config dropped",
        "runner/bulkdel/cli/config.py",
        "files = [*(settings.exclude or ()), *listed, *configured]",
        "files = [*(settings.exclude or ()), *listed]",
        "e2e/test_command_details.py::test_exclude_lists_add_up",
    ),
    Mutant(
        "redirect followed",
        "runner/bulkdel/http/transport.py",
        "allow_redirects=False,",
        "allow_redirects=True,",
        "integration/test_transport.py::test_a_redirect_is_an_answer_and_is_not_followed",
    ),
    Mutant(
        "limiter skipped on retries",
        "runner/bulkdel/http/client.py",
        "            await self.rate_limiter.acquire()\n",
        '            if not self.figures["retries"]:\n                await self.rate_limiter.acquire()\n',
        "integration/test_promises.py::test_retries_pass_the_limiter",
    ),
    Mutant(
        "torn tail kept",
        "runner/bulkdel/checkpoint/file.py",
        "            if reader.damaged_tail:\n",
        "            if reader.damaged_tail and not reader.last:\n",
        "integration/test_checkpoint_damage.py::test_a_resumed_log_goes_on_as_if_nothing_had_been_torn",
    ),
    Mutant(
        "hash check dropped",
        "runner/bulkdel/export/file.py",
        "        if hashlib.sha256(block).digest() != expected.blocks",
        "        if not block and hashlib.sha256(block).digest() != expected.blocks",
        "unit/test_export_file.py::test_a_changed_block_is_never_parsed",
    ),
    Mutant(
        "lock dropped",
        "runner/bulkdel/checkpoint/lock.py",
        "            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)\n",
        "            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)\n",
        "integration/test_checkpoint.py::test_a_second_run_is_refused_and_names_the_process_that_has_the_log",
    ),
    Mutant(
        "429 uses up an attempt",
        "runner/bulkdel/http/client.py",
        "            if self.draining:  # nothing is sent again\n",
        "            if self.draining or decision.next_step is NextStep.THROTTLED:\n",
        "integration/test_http_client.py::test_429_as_often_as_it_comes",
    ),
    Mutant(
        "an empty answer believed without proof",
        "runner/bulkdel/core/chunk_state.py",
        "blind=not found and not proven,",
        "blind=not found and not proven and why is None,",
        "unit/test_chunk_state.py::test_unproven_gone_is_no_proof_of_a_deletion",
    ),
    Mutant(
        "in doubt sent without a look-up",
        "runner/bulkdel/core/chunk_state.py",
        "LookUpReason.IN_DOUBT if self.in_doubt else",
        "None if self.in_doubt else",
        "unit/test_chunk_state.py::test_in_doubt_is_looked_up_first_and_told_apart",
    ),
    Mutant(
        "maybe applied is forgotten",
        "runner/bulkdel/core/chunk_state.py",
        "maybe_applied=sub_chunk.maybe_applied or decision.maybe_applied",
        "maybe_applied=False",
        "unit/test_chunk_state.py::test_an_unknown_id_costs_two_requests_and_nothing_else",
    ),
    Mutant(
        "latch dropped",
        "runner/bulkdel/checkpoint/group_commit.py",
        "        if self.failure is not None:\n            self.lost",
        "        if self.failure is not None and size < 0:\n            self.lost",
        "integration/test_checkpoint.py::test_the_first_failure_is_the_last_thing_tried",
    ),
    Mutant(
        "an answer to something else taken",
        "runner/bulkdel/http/transport.py",
        "connection.protocol.should_close:",
        "connection.protocol.upgraded:",
        "integration/test_transport.py::test_what_came_unasked_answers_nothing",
    ),
    Mutant(
        "a request that may have arrived counts as not sent",
        "runner/bulkdel/http/transport.py",
        "        self.unconnected.remove(req)\n",
        "        self.unconnected.add(req)\n",
        "integration/test_transport.py::test_a_look_up_is_not_sent_again_behind_our_back",
    ),
    Mutant(
        "a request on the wire cannot be seen",
        "runner/bulkdel/http/client.py",
        "            worker.state = WorkerState.ON_WIRE\n",
        "            worker.state = before\n",
        "integration/test_http_client.py::test_whether_a_request_is_on_the_wire_can_be_seen",
    ),
    Mutant(
        "a look-up sent twice in one attempt",
        "runner/bulkdel/http/transport.py",
        "        if self.failed is not None:\n",
        '        if self.failed is not None and request.method != "GET":\n',
        "integration/test_transport.py::test_a_look_up_is_not_sent_again_behind_our_back",
    ),
    Mutant(
        "not confirmed and sent",
        "runner/bulkdel/safety/confirmation.py",
        "given[name] != value for name, value in wanted.items()",
        "given[name] is None for name in wanted",
        "e2e/test_command.py::test_unconfirmed[wrong count]",
    ),
    Mutant(
        "second signal ignored",
        "runner/bulkdel/engine/signals.py",
        "            os._exit(128 + signum)\n",
        "            os.getpid()\n            return\n",
        "e2e/test_signals.py::test_a_second_signal_leaves_at_once[draining-SIGTERM]",
    ),
    Mutant(
        "a log that was lost is written on",
        "runner/bulkdel/checkpoint/file.py",
        "        check_place(self._fd, self.path, self.size + len(line))\n",
        "        if not line:\n            check_place(self._fd, self.path, self.size + len(line))\n",
        "integration/test_promises.py::test_a_log_that_is_gone_takes_no_more",
    ),
    Mutant(
        "ids that a server quotes are told",
        "runner/bulkdel/http/client.py",
        "redact(self.auth.hide(text))",
        'self.auth.hide(text) + redact("")',
        "e2e/test_secrets.py::test_what_a_server_says[402-terminal]",
    ),
    Mutant(
        "credentials that a server quotes are told",
        "runner/bulkdel/http/client.py",
        "redact(self.auth.hide(text))",
        "redact(text[:])",
        "e2e/test_secrets.py::test_what_a_server_says[402-terminal]",
    ),
    Mutant(
        "cut short and hidden then",
        "runner/bulkdel/core/redaction.py",
        "else redacted(text, redact)[:length_max]",
        "else redacted(text[:length_max], redact)",
        "e2e/test_secrets.py::test_what_a_server_says[402-cut-debug]",
    ),
    Mutant(
        "the text of an unexpected exception is told",
        "runner/bulkdel/errors.py",
        '{kind.__qualname__}\\n"',
        '{kind.__qualname__}\\n{link}"',
        "e2e/test_secrets.py::test_an_unexpected_failure[program]",
        crashes=True,
    ),
    Mutant(
        "failures that are not retrieved",
        "runner/bulkdel/engine/workers.py",
        "            for task in self._tasks:\n"
        "                task.cancel()  # has no effect on one that is done\n"
        "            await finished\n"
        "            # Every exception is retrieved: asyncio would print the others, whose text may hold ids.\n"
        "            failures = [task.exception() for task in self._tasks if not task.cancelled()]\n",
        "            for task in [task for task in self._tasks if not task.done()]:\n"
        "                task.cancel()\n"
        "            await finished\n"
        "            failures = (task.exception() for task in self._tasks if not task.cancelled())\n",
        "e2e/test_library.py::test_a_failure_of_several_workers_is_raised_once",
        crashes=True,
    ),
    Mutant(
        "what a job raises is told whole",
        "runner/bulkdel/job.py",
        "failed: {type(error).__qualname__}; report",
        "failed: {error!r}; report",
        "e2e/test_secrets.py::test_an_unexpected_failure[read]",
    ),
    Mutant(
        "a job's fault is the program's",
        "runner/bulkdel/job.py",
        "    if not jobs[at_fault]:\n",
        "    if at_fault:\n",
        "unit/test_job_faults.py::test_told",
    ),
    Mutant(
        "an answer that was cut short is taken for whole",
        "runner/bulkdel/http/lookup.py",
        "max(fullest, PAGE_MIN)",
        "max(fullest, len(group))",
        "e2e/test_guards.py::test_look_ups_that_hold_few_accounts_are_asked_again[50]",
    ),
    Mutant(
        "a control in a response that was cut short proves what the next one lacks",
        "runner/bulkdel/http/lookup.py",
        "LookupResult({**accounts, **more.accounts}, more.unproven)\n\n    async def _explain",
        "LookupResult({**accounts, **more.accounts}, result.unproven & more.unproven)\n\n    async def _explain",
        "integration/test_lookup.py::test_what_a_cut_response_lacks_is_not_proven_by_its_control",
    ),
    Mutant(
        "the second page of a look-up is left out",
        "runner/bulkdel/http/pages.py",
        "and not (some and items):",
        "and not (some or items):",
        "integration/test_lookup.py::test_the_pages_of_a_look_up_are_joined",
    ),
    Mutant(
        "the job http looks only at the first page",
        "jobs/bulkdel_jobs/parts/look_ups.py",
        "if self.pages is None or request == self.administrator_list:",
        "if self.pages is None or found or request == self.administrator_list:",
        "e2e/test_http_job.py::test_look_ups_by_a_list_call_in_pages",
    ),
    Mutant(
        "a look-up of several pages is taken for whole",
        "runner/bulkdel/http/lookup.py",
        "(found.pages == 1 and held < max(",
        "(found.pages and held < max(",
        "integration/test_lookup.py::test_an_account_that_moves_up_between_two_pages_is_found",
    ),
    Mutant(
        "a proxy's password is told",
        "runner/bulkdel/command_line.py",
        '_USER.sub("[hidden]@", word)',
        '_USER.sub(r"\\g<0>", word)',
        "e2e/test_secrets.py::test_a_proxy_that_serves",
    ),
    Mutant(
        "a misspelt variable is ignored",
        "runner/bulkdel/cli/config.py",
        "for name in sorted(own.keys() - options - nested.keys()):",
        "for name in sorted(own.keys() - options - nested.keys() - own.keys()):",
        "e2e/test_command.py::test_a_misspelt_variable_is_no_guard",
    ),
    Mutant(
        "bounds that a library call passes by",
        "runner/bulkdel/settings.py",
        "                        validate(object, value)\n",
        "                        validate(object, None)\n",
        "unit/test_settings.py::test_bounds",
    ),
    Mutant(
        "core dumps allowed",
        "runner/bulkdel/cli/main.py",
        "    _forbid_core_dumps()\n    _fill_streams()\n",
        "    _fill_streams()\n",
        "e2e/test_secrets.py::test_no_core_dump_is_allowed",
    ),
    Mutant(
        "exclude files read and forgotten",
        "runner/bulkdel/safety/exclude.py",
        "                ids.update(row for row in parsed.batch.rows if isinstance(row, str))\n",
        "                IdSet().update(row for row in parsed.batch.rows if isinstance(row, str) and ids)\n",
        "e2e/test_guards.py::test_excluded_ids_stay",
    ),
    Mutant(
        "a set of excluded ids that grows forgets some",
        "runner/bulkdel/core/id_type.py",
        "both[hash(text) & count > 0] += ",
        "both[hash(text) & 1 > 0] += ",
        "unit/test_id_set.py::test_texts_like_a_plain_set",
    ),
    Mutant(
        "a protected phone number compared as it is written",
        "runner/bulkdel/core/id_type.py",
        "whole in self._shortened or any(form in self._whole for form in shortened)\n",
        "whole in shortened\n",
        "e2e/test_matching.py::test_a_protected_number_is_kept_however_it_is_written[13800000004]",
    ),
    Mutant(
        "two ids that may be the same in one request",
        "runner/bulkdel/core/chunker.py",
        "        while not surely_apart(id_type, some.ids):\n",
        "        while not surely_apart(id_type, some.ids[:1]):\n",
        "e2e/test_matching.py::test_two_ids_that_may_be_the_same_are_both_sent_and_never_together",
    ),
    Mutant(
        "a looked-up record not held against the ids to keep",
        "runner/bulkdel/engine/chunk.py",
        "elif id_ in protected and each is Presence.OLD:",
        "elif id_ in protected and each is Presence.UNDATED:",
        "e2e/test_matching.py::test_the_record_that_a_look_up_finds_is_held_against_the_ids_to_keep[--look-first]",
    ),
    Mutant(
        "an id with a comma that was not found is gone",
        "runner/bulkdel/core/absence.py",
        "    commas = frozenset(filter(may_be_split, asked))\n",
        "    commas = frozenset(filter(may_be_split, asked[:0]))\n",
        "e2e/test_matching.py::test_existing_users_with_a_comma_are_not_called_absent[--look-first-1]",
    ),
    Mutant(
        "verify believes an empty answer about a comma",
        "runner/bulkdel/verify/session.py",
        "            if row.id in looked.unproven:\n",
        "            if row.id in looked.unproven and not row.id:\n",
        "e2e/test_matching.py::test_verify_could_not_tell[1]",
    ),
    Mutant(
        "a part of an id taken for the id",
        "runner/bulkdel/http/lookup.py",
        "if account.certain or not self.splits(id_)}",
        "if account.certain or not may_be_split(id_[:0])}",
        "e2e/test_matching.py::test_a_part_of_an_id_is_not_taken_for_it",
    ),
    Mutant(
        "in doubt and protected since sent again",
        "runner/bulkdel/core/chunk_state.py",
        "        if self.protected:\n            self._spare(sub_chunk, meant)\n        elif meant:",
        "        if meant:",
        # Not through the command: there, the record that the look-up finds is held against the exclude files as well.
        "unit/test_chunk_state.py::test_in_doubt_and_protected_since_is_never_sent",
    ),
    Mutant(
        "deleted before the copy is on the disk",
        "runner/bulkdel/engine/backup.py",
        "        self._disk.sync(self._fd)\n        size",
        "        if not packed:\n            self._disk.sync(self._fd)\n        size",
        "integration/test_backup.py::test_the_first_failure_is_the_last_thing_that_is_tried",
    ),
    Mutant(
        "deleted although its copy could not be written",
        "runner/bulkdel/engine/chunk.py",
        "            await backup.save([line for record in missing for line in self._copies_of(record)])\n",
        "            saving = backup.save([line for record in missing for line in self._copies_of(record)])\n"
        "            await asyncio.gather(saving, return_exceptions=True)\n",
        "e2e/test_backup.py::test_without_room_for_a_copy_no_user_is_deleted[users.jsonl]",
    ),
    Mutant(
        "a protected pool not checked",
        "runner/bulkdel/safety/checks.py",
        "if plan.pool is not None and _pool(plan.pool) in _protected(",
        "if plan.pool is None and _pool(plan.checkpoint.name) in _protected(",
        "e2e/test_guards.py::test_a_protected_pool_is_not_touched",
    ),
    Mutant(
        "the rate limiter has a clock of its own",
        "runner/bulkdel/http/client.py",
        "        rate_limiter = RateLimiter(settings.rate, clock=steady)\n",
        "        rate_limiter = RateLimiter(settings.rate)\n",
        "simulation/test_simulation.py::test_known_seeds[0]",
    ),
    Mutant(
        "breaker and patience have a clock of their own",
        "runner/bulkdel/http/client.py",
        "        uptime = Uptime(steady)\n",
        "        uptime = Uptime()\n",
        "simulation/test_simulation.py::test_known_seeds[3]",
    ),
    Mutant(
        "the name of a new log is made durable on another disk",
        "runner/bulkdel/checkpoint/file.py",
        "            how.disk.sync_directory(path)\n",
        "            DISK.sync_directory(path)\n",
        "simulation/test_simulation.py::test_known_seeds[1]",
    ),
    Mutant(
        "a shorter pause replaces a longer one",
        "runner/bulkdel/http/rate_limiter.py",
        "        self._open_at = max(self._open_at, self._clock() + seconds)\n",
        "        self._open_at = self._clock() + seconds\n",
        "simulation/test_simulation.py::test_no_id_is_lost",
    ),
    Mutant(
        "a request on the wire counts as never sent",
        "runner/bulkdel/engine/chunk.py",
        "        if self._worker.state is WorkerState.ON_WIRE:\n",
        "        if self._worker.state is WorkerState.DECIDING:\n",
        "simulation/test_simulation.py::test_no_id_is_lost",
    ),
    Mutant(
        "a request without a response counts as never sent",
        "runner/bulkdel/core/decision.py",
        "untouched=not missing.sent, reason=missing.reason)\n",
        "untouched=True, reason=missing.reason)\n",
        "simulation/test_simulation.py::test_no_id_is_lost",
    ),
    Mutant(
        "look-ups are not repeated for as long as they may lag",
        "runner/bulkdel/core/retry.py",
        "LOOKS_AGAIN_MAX = 3\n",
        "LOOKS_AGAIN_MAX = 1\n",
        "simulation/test_simulation.py::test_no_id_is_lost",
    ),
    Mutant(
        "an account is compared with the time of the look-up and not of the intent",
        "runner/bulkdel/engine/chunk.py",
        "            since or now,\n",
        "            now,\n",
        "simulation/test_simulation.py::test_no_id_is_lost",
    ),
    Mutant(
        "the run goes on although the look-up of the key's own user failed",
        "runner/bulkdel/safety/preparation.py",
        "            if known is None:\n",
        "            known = known or []\n            if user in known[:0]:\n",
        "simulation/test_simulation.py::test_no_id_is_lost",
    ),
    Mutant(
        "a restore brings back accounts that the run did not delete",
        "runner/bulkdel/engine/derived_export.py",
        '            if result.kind == "done":\n',
        '            if result.kind in {"done", "unknown", "refused"}:\n',
        "integration/test_derived_export.py::test_only_rows_that_were_done_in_the_order_of_the_export[b.jsonl]",
    ),
    Mutant(
        "of several copies of an account the first one comes back",
        "runner/bulkdel/engine/derived_export.py",
        "ON CONFLICT DO UPDATE SET nth = ?2",
        "ON CONFLICT DO NOTHING",
        "integration/test_derived_export.py::test_only_rows_that_were_done_in_the_order_of_the_export[b.jsonl]",
    ),
    Mutant(
        "two rows of one account bring it back twice",
        "runner/bulkdel/engine/derived_export.py",
        "WHERE account = ? AND NOT taken",
        "WHERE account = ?",
        "integration/test_derived_export.py::test_two_accounts_of_one_id_come_back_and_two_ids_of_one_account_bring_it_once",
    ),
    Mutant(
        "the log does not know the copies of rows that were in doubt",
        "runner/bulkdel/engine/chunk.py",
        "if self._intended.issuperset(step.records.positions) and not self._copied:",
        "if self._intended.issuperset(step.records.positions):",
        "e2e/test_backup.py::test_in_doubt_and_resent_has_a_copy",
    ),
    Mutant(
        "records of a chunk that are sent later have no intent",
        "runner/bulkdel/engine/chunk.py",
        "if self._intended.issuperset(step.records.positions) and not self._copied:",
        "if self._intended and not self._copied:",
        "integration/test_key_lookup.py::test_each_record_of_a_chunk_has_its_intent_before_it_is_sent",
    ),
    Mutant(
        "a restore creates the accounts in another pool",
        "runner/bulkdel/safety/checks.py",
        "    if undoes is not None and plan.pool is not None and plan.pool != undoes.pool:\n",
        "    if undoes is not None and plan.pool is None:\n",
        "e2e/test_restore.py::test_what_is_refused_before_anything_is_sent",
    ),
    Mutant(
        "the log of the run learns of its restore only when it has ended",
        "runner/bulkdel/library.py",
        "            if self._before_sending is not None:\n",
        "            if self._before_sending is not None and self._drained:\n",
        "e2e/test_restore.py::test_stopped_in_the_middle",
    ),
    Mutant(
        "a run deletes more while it is being restored",
        "runner/bulkdel/safety/checks.py",
        "    if log is not None and not log.complete and (undo := log.undo) is not None:\n",
        "    if log is not None and log.complete and (undo := log.undo) is not None:\n",
        "e2e/test_restore.py::test_a_run_of_which_a_restore_has_begun_is_not_resumed",
    ),
    Mutant(
        "a run that has gone on since the plan of its restore is restored in part",
        "runner/bulkdel/commands/restore.py",
        '            if log.progress.counts["done"] != self.derived.done:\n',
        '            if log.progress.counts["done"] < self.derived.done:\n',
        "e2e/test_restore.py::test_a_run_that_goes_on_before_its_restore_is_confirmed",
    ),
    Mutant(
        "a restore that could not bring all rows back ends as a success",
        "runner/bulkdel/library.py",
        ' + progress.counts["unknown"] + self._arguments.not_restorable\n',
        ' + progress.counts["unknown"]\n',
        "e2e/test_restore.py::test_rows_without_a_record",
    ),
    Mutant(
        "a restore reads another run than one that has ended",
        "runner/bulkdel/checkpoint/lock.py",
        "        lock(fd, path, RUN)\n        yield\n",
        "        yield\n",
        "e2e/test_restore.py::test_only_a_run_that_has_ended",
    ),
    Mutant(
        "users are created before the copy of their memberships is looked for",
        "runner/bulkdel/commands/restore.py",
        "settings.without_memberships else _copy_of(arguments, kept)",
        "settings.without_memberships else kept",
        "e2e/test_restore.py::test_a_copy_of_the_memberships_that_is_lost",
    ),
    Mutant(
        "the command that is printed to undo disable-users does not say which status the users get",
        "runner/bulkdel/commands/restore.py",
        "        line = line.plus(option, value)\n",
        "        line = line.plus(option, value) if progress.backup is not None else line\n",
        "e2e/test_restore.py::test_an_undo_that_takes_ids_is_a_command_to_type",
    ),
    Mutant(
        "a restore takes a backup that was changed",
        "runner/bulkdel/engine/backup.py",
        "    return os.fstat(fd).st_size >= known.size and _crc(fd, 0, known.size) == known.crc\n",
        "    return os.fstat(fd).st_size >= known.size or _crc(fd, 0, known.size) == known.crc\n",
        "integration/test_derived_export.py::test_damage_in_the_durable_part_is_refused[b.jsonl]",
    ),
    Mutant(
        "a restore refuses users whose ids have another shape than usual",
        "runner/bulkdel/settings.py",
        'format="jsonl", id_pattern=".*")',
        'format="jsonl")',
        "e2e/test_restore.py::test_users_whose_ids_have_any_shape",
    ),
    Mutant(
        "one record with an id that no export can have keeps all others from coming back",
        "runner/bulkdel/engine/derived_export.py",
        "return _stored(id_) if isinstance(ANY_SHAPE.check(id_), str) else None",
        "return _stored(id_) if ANY_SHAPE.check(id_) else None",
        "e2e/test_restore.py::test_users_whose_ids_have_any_shape",
    ),
    Mutant(
        "a user is deleted whose record no restore can read",
        "runner/bulkdel/engine/backup.py",
        "    if len(line) > LINE_MAX:\n",
        "    if len(line) > 2 * LINE_MAX:\n",
        "e2e/test_restore.py::test_a_user_whose_record_no_restore_could_read_is_kept",
    ),
    Mutant(
        "an account is created again without a look-up after a lost answer",
        "runner/bulkdel/core/creation_state.py",
        "        if not sub_chunk.maybe_applied:\n            super()._retry(",
        "        if not sub_chunk.maybe_applied or not free:\n            super()._retry(",
        "integration/test_key_lookup.py::test_after_a_lost_answer_no_user_is_created_twice[drop_after]",
    ),
    Mutant(
        "a record that no look-up can find is created again after a lost answer",
        "runner/bulkdel/core/creation_state.py",
        "{*unproven} if rest.maybe_applied and not self.resend_unproven else set[str]()",
        "{*unproven} if rest.maybe_applied and self.resend_unproven else set[str]()",
        "unit/test_creation_state.py::test_a_record_that_no_look_up_is_sure_to_find_is_not_sent_again[True]",
    ),
    Mutant(
        "an older account is taken for the one that was created",
        "runner/bulkdel/core/created_account.py",
        "        return Presence.TAKEN\n    dated = moment.servers - SKEW_S <= account.at <= now.servers + SKEW_S and",
        "        return Presence.TAKEN\n    dated = account.at <= now.servers + SKEW_S and",
        "unit/test_creation_state.py::test_which_account_a_look_up_has_found",
    ),
    Mutant(
        "an account with one of the keys is taken for the one that was created",
        "runner/bulkdel/core/created_account.py",
        "    alike = account.alike and account.keys is Keys.ALL\n",
        "    alike = account.alike\n",
        "unit/test_creation_state.py::test_which_account_a_look_up_has_found",
    ),
    Mutant(
        "what a user has of several keys is judged by one of them",
        "jobs/bulkdel_jobs/genauth/creation.py",
        "                keys = Keys.SOME if keys is Keys.ALL else keys\n",
        "                keys = Keys.ALL if keys is Keys.ALL else keys\n",
        "unit/test_creation.py::test_which_keys_a_user_shares_with_a_record",
    ),
    Mutant(
        "nothing is looked up after several records were refused together",
        "runner/bulkdel/core/creation_state.py",
        "            self._stack.append((sub_chunk._replace(maybe_applied=True, again=0), LookUpReason.UNSURE))\n",
        "            self._split(sub_chunk._replace(maybe_applied=True, again=0))\n",
        "unit/test_creation_state.py::test_after_a_refusal_of_several_a_look_up_shows_which_were_created",
    ),
    Mutant(
        "users are created with a key that finds no user",
        "runner/bulkdel/core/creation_state.py",
        "        if blind:\n            self.left.append(rest)\n",
        "        if blind and rest.maybe_applied:\n            self.left.append(rest)\n",
        "integration/test_key_lookup.py::test_a_key_that_lists_users_and_finds_none_creates_nothing",
    ),
    Mutant(
        "a pool whose users may not be listed counts as empty",
        "runner/bulkdel/http/lookup.py",
        "        self.none_listed = listed == [] and listed is not refused.items\n",
        "        self.none_listed = listed == [] or listed is refused.items\n",
        "integration/test_key_lookup.py::test_a_key_that_may_not_list_users_and_finds_none_creates_nothing",
    ),
    Mutant(
        "a pool that lists none of the created users counts as empty",
        "runner/bulkdel/engine/creation.py",
        "(lookup.none_listed and not self._parts.tally.succeeded)",
        "(lookup.none_listed and self._parts.tally.settled >= 0)",
        "integration/test_key_lookup.py::test_what_was_created_has_to_be_found_before_more_is_created",
    ),
    Mutant(
        "the API is asked to send mails to the users of a restore",
        "jobs/bulkdel_jobs/genauth/creation.py",
        '{"sendEmailNotification": False, "sendPhoneNotification": False}',
        '{"sendEmailNotification": True, "sendPhoneNotification": False}',
        "unit/test_creation.py::test_no_notification_is_asked_for_and_the_password_policy_is",
    ),
    Mutant(
        "the new ids are those of the response in its order",
        "runner/bulkdel/engine/creation.py",
        "        for id_, account in created.items():\n            self._note(id_, account)\n",
        "        for id_, (_, account) in zip(step.records.ids, claims, strict=False):\n"
        "            self._note(id_, account)\n",
        "integration/test_key_lookup.py::test_each_row_has_the_new_id_of_its_own_user[True]",
    ),
    Mutant(
        "two records with the same keys are restored as one account",
        "runner/bulkdel/engine/creation.py",
        "if met.isdisjoint(keys):",
        "if met is not keys:",
        "integration/test_key_lookup.py::test_two_records_with_the_same_keys_are_not_one_account[2-refuse]",
    ),
    Mutant(
        "two chunks create accounts with one key at the same time",
        "runner/bulkdel/engine/parts.py",
        "        while not self._keys.isdisjoint(keys):\n            await self._released.wait()\n",
        "",
        "integration/test_key_lookup.py::test_two_records_with_the_same_keys_are_not_one_account[1-accept]",
    ),
    Mutant(
        "with a department that is gone another part of the user is lost",
        "runner/bulkdel/engine/creation.py",
        "        if step.left_out is not None:\n",
        "        if step.left_out is not None and not self._parts.tally.gone_references:\n",
        "unit/test_creation_in_hand.py::test_with_a_part_that_is_gone_no_other_part_is_lost[False]",
    ),
    Mutant(
        "what was just created has to be found at once",
        "runner/bulkdel/http/lookup.py",
        "            if passes or not (new and self.listed) or self._client.draining:\n",
        "            if passes or not (new and self.listed) or again:\n",
        "integration/test_key_lookup.py::test_into_an_empty_pool_users_are_created_although_look_ups_lag",
    ),
    Mutant(
        "a department that does not exist counts as a taken key",
        "jobs/bulkdel_jobs/genauth/creation.py",
        "        conflict = decision.detail.code == CONFLICT  # a 404 is about a department\n",
        "        conflict = decision.next_step is NextStep.LOOK_UP or decision.detail.code == CONFLICT\n",
        "unit/test_creation.py::test_a_conflict_is_told_from_other_refusals",
    ),
    Mutant(
        "a phone number without its country code is shown in a message",
        "jobs/bulkdel_jobs/genauth/creation.py",
        "        yield from filter(None, _texts_in(self._users[id_]))\n",
        "",
        "unit/test_creation.py::test_a_message_that_quotes_what_identifies_a_user_is_redacted[13800000001]",
    ),
    Mutant(
        "the end of a backup whose sync failed is kept as it is",
        "runner/bulkdel/engine/backup.py",
        "                    disk.write_at(fd, block, at)\n",
        "",
        "simulation/test_simulation.py::test_no_id_is_lost",
    ),
    Mutant(
        "a control without an answer counts as passed",
        "runner/bulkdel/http/lookup.py",
        "        return result is not None and bool(result.accounts)\n",
        "        return result is None or bool(result.accounts)\n",
        "simulation/test_simulation.py::test_no_id_is_lost",
    ),
    Mutant(
        "a verification has no control after its look-ups",
        "runner/bulkdel/verify/session.py",
        "        await self._control(live, worker)\n        positions",
        "        if self._missing:\n            await self._control(live, worker)\n        positions",
        "simulation/test_simulation.py::test_no_id_is_lost",
    ),
    Mutant(
        "time window ignored",
        "runner/bulkdel/engine/workers.py",
        'self._drain.begin(Stop(f"it is {self._until[1]} (--not-after)", planned=True))',
        'self.client.last_failure = f"it is {self._until[1]} (--not-after)"',
        "e2e/test_guards.py::test_not_after_stops_and_goes_on_later",
    ),
    Mutant(
        "in doubt taken for fresh",
        "runner/bulkdel/core/chunker.py",
        "            yield max(begin, start), min(end, stop), since\n",
        "            yield max(begin, start), min(end, stop), since if end < 0 else None\n",
        "unit/test_protocol_model.py::TestProtocol::runTest",
    ),
    Mutant(
        "released although it may have had effect",
        "runner/bulkdel/core/chunk_state.py",
        "for sub_chunk in sub_chunks if not sub_chunk.touched for record",
        "for sub_chunk in sub_chunks for record",
        "unit/test_protocol_model.py::TestProtocol::runTest",
    ),
    Mutant(
        "a burst at every start",
        "runner/bulkdel/http/rate_limiter.py",
        "            await self._bucket.acquire(size)  # an empty",
        "            await self._bucket.acquire(0)  # an empty",
        "integration/test_rate_limiter.py::test_a_second_limiter_begins_without_a_burst",
    ),
    Mutant(
        "an unlimited run takes part of a second for its rate",
        "runner/bulkdel/core/adaptive_rate.py",
        "            measured = self._measured or before or UNMEASURED\n",
        "            measured = self._count\n",
        "unit/test_adaptive_rate.py::test_before_its_first_whole_second_an_unlimited_run_is_taken_to_have_had_fifty",
    ),
    Mutant(
        "a Retry-After date measured by our clock",
        "runner/bulkdel/core/retry.py",
        "if answered is None else min(until - answered, RETRY_AFTER_MAX_S)",
        "if answered is None else min(until - now, RETRY_AFTER_MAX_S)",
        "e2e/test_pace.py::test_a_retry_after_date_is_measured_by_the_servers_clock",
    ),
    Mutant(
        "a certificate that is not accepted is tried again",
        "runner/bulkdel/core/decision.py",
        "        return Decision(NextStep.HALT, untouched=not missing.sent, reason",
        "        return Decision(NextStep.RETRY, untouched=not missing.sent, reason",
        "e2e/test_pace.py::test_a_certificate_that_is_not_accepted_is_named_at_the_first_try",
    ),
    Mutant(
        "time in which the process was stopped counts as silence of the server",
        "runner/bulkdel/http/client.py",
        "                self.stopped_s += gap_s - TICK_S\n",
        "                self.stopped_s += 0 * gap_s\n",
        "e2e/test_stopped.py::test_while_requests_are_on_the_wire",
    ),
    Mutant(
        "a signal that came too late is told as the reason to stop",
        "runner/bulkdel/engine/ending.py",
        "(stop.signal is not None or stop.drained) and done",
        "stop.drained and done",
        "e2e/test_stopped.py::test_a_signal_after_the_last_request_changes_nothing",
    ),
    Mutant(
        "SIGUSR1 ends a command",
        "runner/bulkdel/cli/main.py",
        "    signal.signal(signal.SIGUSR1, signal.SIG_IGN)",
        "    signal.signal(signal.SIGUSR1, signal.SIG_DFL)",
        "e2e/test_stopped.py::test_sigusr1_does_not_end_other_commands",
    ),
    Mutant(
        "a 429 that is not learned from",
        "runner/bulkdel/core/adaptive_rate.py",
        "        self._halve(now, Slowed.THROTTLED)\n",
        "",
        "unit/test_adaptive_rate.py::test_a_429_halves_at_most_once_a_second",
    ),
    Mutant(
        "every request is a probe",
        "runner/bulkdel/core/retry.py",
        "        if self._probe_at is not None:\n            self._probe_at = now + PROBE_S\n        return True\n",
        "        if self._probe_at is not None:\n            self._probe_at = now\n        return True\n",
        "unit/test_circuit_breaker.py::test_one_probe_an_interval_while_it_is_open",
    ),
    Mutant(
        "every waiting request signs in",
        "jobs/bulkdel_jobs/parts/tokens.py",
        "            if self._usable() is not None:\n                return\n            try:\n",
        "            try:\n",
        "integration/test_auth.py::test_one_sign_in_serves_all_requests_that_wait",
    ),
    Mutant(
        "verify without a control",
        "runner/bulkdel/verify/session.py",
        "            if await lookup.prove(worker):\n",
        "            if await lookup.prove(worker) or lookup:\n",
        "e2e/test_verify.py::test_a_blind_key_proves_nothing",
    ),
    Mutant(
        "verify without a control afterwards",
        "runner/bulkdel/verify/session.py",
        "        await self._control(live, worker)\n        positions = ",
        "        if not looked_up:\n            await self._control(live, worker)\n        positions = ",
        "e2e/test_verify.py::test_a_key_that_goes_blind_on_the_way_proves_nothing",
    ),
    Mutant(
        "a failed look-up taken for an empty one",
        "runner/bulkdel/http/lookup.py",
        "            if more is None:\n                return None\n            found = LookupResult({**",
        "            if more is None:\n                break\n            found = LookupResult({**",
        "e2e/test_verify.py::test_a_refused_look_up_is_asked_for_again_and_else_could_not_be_told",
    ),
    Mutant(
        "still there does not matter to verify",
        "runner/bulkdel/commands/verify.py",
        "        code = exit_code(ending, complete=counts.complete(ending), refused=counts.still_there)\n",
        "        code = exit_code(ending, complete=counts.complete(ending), refused=0)\n",
        "e2e/test_verify.py::test_the_report_for_people",
    ),
    Mutant(
        "a session's hash is not checked",
        "runner/bulkdel/checkpoint/reader.py",
        "if isinstance(entry, Session | Annotation) and entry.log_sha256 != self.sha.hexdigest():",
        "if isinstance(entry, Session | Annotation) and not entry.log_sha256:",
        "e2e/test_audit.py::test_an_edited_log_does_not_pass",
    ),
    Mutant(
        "what no session wrote is believed",
        "runner/bulkdel/checkpoint/audit.py",
        "case _ if not sessions or sessions[-1].stop is not None:",
        "case _ if not sessions:",
        "e2e/test_audit.py::test_what_was_put_behind_the_last_session_does_not_pass",
    ),
    Mutant(
        "an id fed back with its mark on",
        "runner/bulkdel/export/csv.py",
        "                id_ = unmarked(id_)\n",
        "                id_ = unmarked(MARK + id_)\n",
        "e2e/test_results.py::test_what_was_refused_can_be_fed_back",
    ),
    Mutant(
        "a report that is cut short is not told",
        "runner/bulkdel/commands/results.py",
        '        raise FileFailed(f"{name}: ',
        '        return\n        raise FileFailed(f"{name}: ',
        "e2e/test_results.py::test_where_it_cannot_be_written",
    ),
    Mutant(
        "an export without a usable id is a run",
        "runner/bulkdel/export/refusal.py",
        'on_invalid == "skip" and bad < rows and bad <= allowed):',
        'on_invalid == "skip" and bad <= allowed):',
        "e2e/test_bad_rows.py::test_an_export_without_a_usable_id_is_refused[run]",
    ),
    Mutant(
        "one bad row more than allowed",
        "runner/bulkdel/export/refusal.py",
        'on_invalid == "skip" and bad < rows and bad <= allowed):',
        'on_invalid == "skip" and bad < rows and bad <= allowed + 1):',
        "e2e/test_bad_rows.py::test_too_many_bad_rows[1199-12-options1-False]",
    ),
    Mutant(
        "blank rows at the end count as rows",
        "runner/bulkdel/export/reader.py",
        "    blocks = without_blank_end(lines, dialect.delimiter, path)\n",
        "    blocks = lines if dialect.delimiter else without_blank_end(lines, dialect.delimiter, path)\n",
        "e2e/test_reading.py::test_a_csv_as_excel_writes_it",
    ),
    Mutant(
        "an exclude file read from another column",
        "runner/bulkdel/safety/exclude.py",
        "            if error.usable:\n",
        "            if error.usable < 0:\n",
        "e2e/test_bad_rows.py::test_a_bad_row_among_the_ids_to_keep_is_not_read_from_another_column",
    ),
    Mutant(
        "a csv file read as a list of ids to keep",
        "runner/bulkdel/safety/exclude.py",
        'ways = [options] if options.format != "lines" or bare else []',
        "ways = [options]",
        "e2e/test_reading.py::test_a_csv_is_no_list_to_keep",
    ),
    Mutant(
        "re-created although nothing shows that the request had effect",
        "runner/bulkdel/core/account_match.py",
        "    had_effect = gone > 0 and Presence.OLD not in found.values()\n",
        "    had_effect = gone >= 0 and Presence.OLD not in found.values()\n",
        "e2e/test_clock.py::test_a_whole_request_whose_accounts_are_there_and_younger_is_not_called_deleted",
    ),
    Mutant(
        "a user id that is there is compared by its date",
        "runner/bulkdel/core/account_match.py",
        "    if not reusable:\n        return dict.fromkeys(created, Presence.OLD)\n",
        "    if not reusable and not created:\n        return {}\n",
        "e2e/test_clock.py::test_a_user_id_that_is_there_is_sent_again_whatever_its_date",
    ),
    Mutant(
        "an account that a time zone makes look old is sent again",
        "runner/bulkdel/core/account_match.py",
        "    if created_at < first - ZONE_MAX_S - ",
        "    if created_at < first - SKEW_S - ",
        "e2e/test_clock.py::test_local_time_with_a_z_never_deletes_an_account_that_was_created_again",
    ),
    Mutant(
        "a look-up that lags is believed",
        "runner/bulkdel/core/chunk_state.py",
        "        if may_lag and sub_chunk.again < LOOKS_AGAIN_MAX:\n",
        "        if may_lag and sub_chunk.again > LOOKS_AGAIN_MAX:\n",
        "e2e/test_lagging_lookup.py::test_refused_as_unknown_and_found_is_looked_up_again",
    ),
    Mutant(
        "refused although it may be deleted",
        "runner/bulkdel/core/chunk_state.py",
        "        elif may_lag and not self.lag_over and len(sub_chunk.records) == 1:\n",
        "        elif may_lag and self.lag_over and len(sub_chunk.records) == 1:\n",
        "unit/test_chunk_state.py::test_a_look_up_that_lags_behind_a_half_done_chunk",
    ),
    Mutant(
        "refused because of another id that turns out to be gone",
        "runner/bulkdel/core/chunk_state.py",
        "if why is LookUpReason.LAGGING and (gone or reached):  # the others may",
        "if why is LookUpReason.LAGGING and not there:  # the others may",
        "unit/test_chunk_state.py::test_ids_refused_with_one_that_turns_out_to_be_gone_are_sent_again",
    ),
    Mutant(
        "absent counts as proven although the look-up may have lagged",
        "runner/bulkdel/core/chunk_state.py",
        "        if gone and sub_chunk.shared and sub_chunk.seen:\n",
        "        if gone and sub_chunk.shared and sub_chunk.seen and not sub_chunk.maybe_applied:\n",
        "unit/test_chunk_state.py::test_absent_is_unproven_when_ids_that_were_found_with_it_are_gone_after_a_lost_response",
    ),
    Mutant(
        "an empty second page is believed",
        "runner/bulkdel/engine/chunk.py",
        "        if missing and (looked.empty or not accounts) and not all(map(parts.lookup.splits, missing)):\n",
        "        if missing and not accounts and not all(map(parts.lookup.splits, missing)):\n",
        "simulation/test_simulation.py::test_look_ups_that_cease_to_find_accounts_between_two_pages_are_not_believed",
    ),
    Mutant(
        "a file of zeros is the log of a run",
        "runner/bulkdel/checkpoint/reader.py",
        "        zeros = len(tail) <= ZEROS_MAX and not any(tail)\n",
        "        zeros = not any(tail)\n",
        "integration/test_checkpoint_damage.py::test_a_strangers_file_is_refused_and_left_alone[zeros]",
    ),
    Mutant(
        "verify is content while rows are in doubt",
        "runner/bulkdel/core/verification.py",
        "        return not (self.could_not_tell or self.in_doubt or ending.halted or ending.file_failed)\n",
        "        return not (self.could_not_tell or ending.halted or ending.file_failed)\n",
        "e2e/test_clock.py::test_the_pool_is_empty_and_emails_are_in_doubt",
    ),
    Mutant(
        "a run that is left goes on",
        "runner/bulkdel/library.py",
        "                if not sending.done():\n                    self.drain()\n",
        "                if sending.done():\n                    self.drain()\n",
        "e2e/test_library.py::test_leaving_the_context_drains",
    ),
    Mutant(
        "events that are not taken are kept without bound",
        "runner/bulkdel/engine/progress.py",
        "        if self._queue.qsize() >= self._size:\n",
        "        if self._queue.qsize() < 0:\n",
        "e2e/test_library.py::test_events_that_are_not_taken_are_dropped_and_counted",
    ),
    Mutant(
        "a resume takes other parameters",
        "runner/bulkdel/safety/preparation.py",
        '"parameters": log.header.parameters}\n',
        '"parameters": plan.parameters}\n',
        "e2e/test_parameters.py::test_a_resume_with_other_values_is_refused",
    ),
    Mutant(
        "a printed command leaves the parameters out",
        "runner/bulkdel/safety/run_plan.py",
        ".plus_parameters(self.parameters)\n",
        ".plus_parameters(None)\n",
        "e2e/test_parameters.py::test_each_type_reaches_the_job",
    ),
    Mutant(
        "verify gives the job no parameters",
        "runner/bulkdel/commands/verify.py",
        "TargetOptions(host, table, arguments.environ, parameters))\n",
        "TargetOptions(host, table, arguments.environ))\n",
        "e2e/test_parameters.py::test_verify_gives_the_job_the_parameters_of_the_run",
    ),
    Mutant(
        "scripts get the words for people",
        "runner/bulkdel/core/summary.py",
        "    return progress.header.keys.get(kind) or name_of(progress, kind)\n",
        "    return name_of(progress, kind)\n",
        "e2e/test_job_words.py::test_scripts_read_the_words_of_the_engine",
    ),
    Mutant(
        "a job without look-ups takes a backup",
        "runner/bulkdel/safety/checks.py",
        "            if given:\n",
        "            if given and settings.sandbox:\n",
        "e2e/test_job_words.py::test_options_that_need_look_ups_are_refused",
    ),
    Mutant(
        "an unknown role is looked up like an unknown user",
        "jobs/bulkdel_jobs/memberships.py",
        "        if unknown and dict(decision.detail.extra).get(API_CODE) != USER_NOT_FOUND:\n",
        "        if not unknown and dict(decision.detail.extra).get(API_CODE) == USER_NOT_FOUND:\n",
        "integration/test_job_calls.py::test_an_unknown_role_is_no_unknown_user",
    ),
    Mutant(
        "a plan asks for the state of each user of the sample",
        "runner/bulkdel/safety/preparation.py",
        "lookup.find(some, WorkerStatus(), with_states=False)",
        "lookup.find(some, WorkerStatus(), with_states=True)",
        "e2e/test_jobs.py::test_a_run_does_what_the_plan_says_and_nothing_else[remove-group-members]",
    ),
    Mutant(
        "of two records of a user in a backup the later one counts",
        "jobs/bulkdel_jobs/genauth/user_status.py",
        "                    statuses.setdefault(user, sys.intern(status))\n",
        "                    statuses[user] = sys.intern(status)\n",
        "integration/test_job_calls.py::test_the_first_record_of_a_user_counts",
    ),
    Mutant(
        "delete-users leaves out the last id of a chunk",
        "jobs/bulkdel_jobs/genauth/endpoints.py",
        '{"userIds": checked_ids(self._path, records), "options"',
        '{"userIds": checked_ids(self._path, records)[:-1], "options"',
        "campaigns/test_jobs.py::test_a_campaign[delete-users-sent]",
    ),
    Mutant(
        "resign-users deletes",
        "jobs/bulkdel_jobs/resign_users.py",
        'RESIGN_PATH = "/api/v3/resign-user-batch"',
        'RESIGN_PATH = "/api/v3/delete-users-batch"',
        "campaigns/test_jobs.py::test_a_campaign[resign-users-sent]",
    ),
    Mutant(
        "disable-users sends a gender too",
        "jobs/bulkdel_jobs/genauth/user_status.py",
        '{"userId": id_, "status": status} for id_, status in',
        '{"userId": i, "status": s, "gender": "U"} for i, s in',
        "campaigns/test_jobs.py::test_a_campaign[disable-users-sent]",
    ),
    Mutant(
        "enable-users ignores the backup",
        "jobs/bulkdel_jobs/user_status.py",
        "status = backed.get(id_, self.status)",
        "status = self.status or backed.get(id_)",
        "campaigns/test_jobs.py::test_a_campaign[enable-users-from-backup-sent]",
    ),
    Mutant(
        "enable-users gives the wrong status",
        "jobs/bulkdel_jobs/user_status.py",
        "            return lambda _id: self.status\n",
        '            return lambda _id: self.status and "Archived"\n',
        "campaigns/test_jobs.py::test_a_campaign[enable-users-sent]",
    ),
    Mutant(
        "kick-users leaves out the second 50 applications",
        "jobs/bulkdel_jobs/kick_users.py",
        "for at in range(0, len(self._apps), APPS_MAX)",
        "for at in range(0, len(self._apps[:APPS_MAX]), APPS_MAX)",
        "campaigns/test_jobs.py::test_a_campaign[kick-users-sent]",
    ),
    Mutant(
        "revoke-roles takes roles of the default namespace",
        "jobs/bulkdel_jobs/memberships.py",
        '{"code": code, "namespace": self.namespace} for',
        '{"code": code, "namespace": DEFAULT_NAMESPACE} for',
        "campaigns/test_jobs.py::test_a_campaign[revoke-roles-sent]",
    ),
    Mutant(
        "the state of remove-group-members ignores the group",
        "jobs/bulkdel_jobs/memberships.py",
        "partial(read_has_none, [self.group], None)",
        "partial(read_has_none, [], None)",
        "campaigns/test_jobs.py::test_a_campaign[remove-group-members-looked up]",
    ),
    Mutant(
        "delete-public-accounts deletes users",
        "jobs/bulkdel_jobs/genauth/endpoints.py",
        '"/api/v3/delete-public-accounts-batch"',
        '"/api/v3/delete-users-batch"',
        "campaigns/test_jobs.py::test_a_campaign[delete-public-accounts-sent]",
    ),
    Mutant(
        "delete-groups cuts a code at its slash",
        "jobs/bulkdel_jobs/genauth/codes.py",
        'return [post(path, {"codeList": checked_ids(path, records), **dict',
        'ids = [id_.partition("/")[0] for id_ in checked_ids(path, records)]\n'
        '        return [post(path, {"codeList": ids, **dict',
        "campaigns/test_jobs.py::test_a_campaign[delete-groups-sent]",
    ),
    Mutant(
        "delete-roles takes the default namespace",
        "jobs/bulkdel_jobs/delete_codes.py",
        "calls_of(ROLES, parameters)",
        "calls_of(ROLES, type(parameters)())",
        "campaigns/test_jobs.py::test_a_campaign[delete-roles-sent]",
    ),
    Mutant(
        "delete-resources takes the default namespace",
        "jobs/bulkdel_jobs/delete_codes.py",
        "calls_of(RESOURCES, parameters)",
        "calls_of(RESOURCES, type(parameters)())",
        "campaigns/test_jobs.py::test_a_campaign[delete-resources-sent]",
    ),
    Mutant(
        "what a refused request may have done is told as done before",
        "runner/bulkdel/core/chunk_state.py",
        '"already", sub_chunk, reached, reason="unproven" if unproven else None)',
        '"already", sub_chunk, reached, reason=None if unproven else "unproven")',
        "unit/test_answers_per_id.py::test_a_refused_chunk_without_an_account_left_to_send_may_have_been_applied",
    ),
    Mutant(
        "the digest of a plan ignores its guards",
        "runner/bulkdel/safety/run_plan.py",
        '                "guards": self.guards.to_json(),\n                "parameters"',
        '                "parameters"',
        "e2e/test_batch.py::test_the_digest_covers_what_is_confirmed",
    ),
    Mutant(
        "the digest of a plan ignores the exclude files",
        "runner/bulkdel/safety/run_plan.py",
        '"excluded": sorted(file.sha256 for file in self.excluded),',
        '"excluded": len(self.excluded),',
        "e2e/test_batch.py::test_the_digest_covers_what_is_confirmed",
    ),
    Mutant(
        "a process of a batch sends another plan than the confirmed one",
        "runner/bulkdel/safety/confirmation.py",
        "    if plan.digest != digest:\n",
        "    if not digest:\n",
        "e2e/test_batch.py::test_a_process_of_a_batch_sends_only_the_plan_that_was_confirmed",
    ),
    Mutant(
        "a run that was added to a batch is not confirmed anew",
        "runner/bulkdel/core/batch.py",
        "            if before is None:\n                found[run.name] = Due.NEW\n",
        "            if before is None and self.confirmed:\n                continue\n            if before is None:\n"
        "                found[run.name] = Due.NEW\n",
        "e2e/test_batch.py::test_different_endings_in_one_night",
    ),
    Mutant(
        "a run of a batch that has changed is not confirmed anew",
        "runner/bulkdel/core/batch.py",
        'elif before["digest"] != run.digest:',
        'elif before["ids"] != run.ids:',
        "unit/test_batch.py::test_what_has_to_be_confirmed",
    ),
    Mutant(
        "a run that fails stops the others of its batch",
        "runner/bulkdel/core/batch.py",
        "        if self.failures_max is not None and self.failures >= self.failures_max:\n",
        "        if self.failures >= (self.failures_max or 1):\n",
        "e2e/test_batch.py::test_different_endings_in_one_night",
    ),
    Mutant(
        "a process of a batch gets the whole environment",
        "runner/bulkdel/fleet/batch_file.py",
        "            if name in KEPT or name",
        "            if name in environ or name",
        "unit/test_batch.py::test_the_file",
    ),
    Mutant(
        "the runs of a batch have no rate over all",
        "runner/bulkdel/commands/batch.py",
        "keeping_rate({}, over_all=batch.rate_over_all, restarted=restarted)",
        "keeping_rate({}, restarted=restarted)",
        "e2e/test_batch.py::test_a_kill_a_drain_and_one_rate_over_all",
    ),
    Mutant(
        "the runs of a killed batch go on",
        "runner/bulkdel/engine/parent.py",
        "while os.getppid() == pid:",
        "while os.getppid() != -pid:",
        "e2e/test_batch.py::test_a_killed_batch_leaves_no_run_behind",
    ),
    Mutant(
        "Ctrl-C leaves the processes of a batch running",
        "runner/bulkdel/commands/batch.py",
        "replace(self._state, signal=signum)\n            self.children.send_signal(signum)\n",
        "replace(self._state, signal=signum)\n",
        "e2e/test_batch.py::test_a_kill_a_drain_and_one_rate_over_all",
    ),
    Mutant(
        "a complete run of a batch is started again",
        "runner/bulkdel/core/batch.py",
        '            and ended.facts.get("status") == "complete"\n',
        '            and ended.facts.get("status") == "done"\n',
        "e2e/test_batch.py::test_different_endings_in_one_night",
    ),
    Mutant(
        "a pause holds no request back",
        "runner/bulkdel/http/client.py",
        "            self._held_at = self.clock()\n            self.rate_limiter.hold()\n",
        "            self._held_at = self.clock()\n",
        "e2e/test_control.py::test_the_rate_and_a_pause_hold_at_the_server_by_the_socket",
    ),
    Mutant(
        "a pause does not hold sign-ins",
        "jobs/bulkdel_jobs/parts/tokens.py",
        "            await self.rate_limiter.acquire()\n            response",
        "            if not self._worked:\n                await self.rate_limiter.acquire()\n            response",
        "e2e/test_control_faults.py::test_a_pause_holds_sign_ins_and_look_ups_too",
    ),
    Mutant(
        "a request that waits in the bucket leaves in a hold",
        "runner/bulkdel/http/rate_limiter.py",
        "self._open_at <= self._clock() and self._held_at is None and not",
        "self._open_at <= self._clock() and not",
        "simulation/test_simulation.py::test_no_id_is_lost",
    ),
    Mutant(
        "a changed rate does not reach a request that waits",
        "runner/bulkdel/http/rate_limiter.py",
        "        self.set_rate(rate)\n        self._changes += 1\n",
        "        self.set_rate(rate)\n",
        "integration/test_rate_limiter.py::test_a_change_holds_at_once_also_for_a_request_that_waits",
    ),
    Mutant(
        "a change by a pause file is not logged",
        "runner/bulkdel/engine/control.py",
        "        self._log.enqueue(Change(at,",
        "        if by.user is not None:\n            self._log.enqueue(Change(at,",
        "e2e/test_control.py::test_a_file_pauses_from_the_first_request_on_and_only_its_removal_resumes",
    ),
    Mutant(
        "a change is answered before it is in the log",
        "runner/bulkdel/live/steering.py",
        "            text = obey(words, by)\n            await self._run.changes_durable()\n",
        "            text = obey(words, by)\n",
        "e2e/test_control_faults.py::test_a_change_that_cannot_be_logged_is_answered_so_and_the_run_stops",
    ),
    Mutant(
        "rate_max bounds no change to unlimited",
        "runner/bulkdel/safety/checks.py",
        "        if highest is not None and not 0 < rate <= highest:\n            asked",
        "        if highest is not None and not 0 <= rate <= highest:\n            asked",
        "e2e/test_control.py::test_a_wrong_command_changes_nothing_and_says_why",
    ),
    Mutant(
        "the socket serves another user",
        "runner/bulkdel/live/control_socket.py",
        "    if uid not in {0, own}:\n",
        "    if uid not in {0, own} and not uid:\n",
        "e2e/test_control.py::test_another_user_of_the_machine_is_refused",
    ),
    Mutant(
        "a link in the place of the socket is removed",
        "runner/bulkdel/live/control_socket.py",
        "    if is_socket_of(path, {uid}):\n        path.unlink()\n",
        "    if is_socket_of(path, {uid}) or path.is_symlink():\n        path.unlink()\n",
        "e2e/test_control.py::test_a_link_in_the_place_of_the_socket_is_not_followed",
    ),
    Mutant(
        "a pause counts as silence of the server",
        "runner/bulkdel/http/client.py",
        "        return max(0.0, (self.clock() if self._held_at is None else self._held_at) - self.answered_at)\n",
        "        return max(0.0, self.clock() - self.answered_at)\n",
        "e2e/test_control_faults.py::test_a_long_pause_outlives_patience_token_and_a_stopped_process_and_a_signal_ends_it",
    ),
    Mutant(
        "another ceiling undoes a slow-down",
        "runner/bulkdel/core/adaptive_rate.py",
        "        self._begin(ceiling, min(rate, ceiling or rate), now)\n",
        "        self._begin(ceiling, ceiling or rate, now)\n",
        "unit/test_adaptive_rate.py::test_another_ceiling_does_not_undo_what_trouble_has_lowered",
    ),
    Mutant(
        "what is asked for before the sending is forgotten",
        "runner/bulkdel/library.py",
        "                changes=self._changes,\n",
        "                changes=None,\n",
        "e2e/test_control.py::test_the_schedule_holds_from_the_first_request_on",
    ),
    Mutant(
        "a pause of over a day needs no confirmation",
        "runner/bulkdel/engine/control.py",
        "        if since is None or not id_type.reusable or self._plan.arguments.settings.sandbox:\n",
        "        if since is None or id_type.reusable or self._plan.arguments.settings.sandbox:\n",
        "e2e/test_long_pause.py::test_after_a_day_the_rest_is_confirmed_by_number_and_pool_and_then_holds_for_a_day",
    ),
    Mutant(
        "a long pause ends with any number",
        "runner/bulkdel/engine/control.py",
        "            if wish.confirmed != (wanted.ids, wanted.pool, wanted.host):\n",
        "            if wish.confirmed[1:] != (wanted.pool, wanted.host):\n",
        "e2e/test_long_pause.py::test_after_a_day_the_rest_is_confirmed_by_number_and_pool_and_then_holds_for_a_day",
    ),
    Mutant(
        "a pause file whose folder cannot be read has gone",
        "runner/bulkdel/live/watches.py",
        "        except OSError:\n            return\n        if there",
        "        except OSError:\n            there = False\n        if there",
        "e2e/test_long_pause.py::test_a_pause_file_that_goes_after_a_day_leaves_the_run_paused_for_a_person",
    ),
    Mutant(
        "keys are read behind a shell",
        "runner/bulkdel/live/keys.py",
        "            return os.tcgetpgrp(self._fd) == os.getpgrp()\n",
        "            return os.tcgetpgrp(self._fd) > 0\n",
        "e2e/test_terminal.py::test_a_shell_stops_the_run_and_lets_it_go_on_behind_it_and_in_front",
    ),
    Mutant(
        "the mode of a terminal is put back when its output has left",
        "runner/bulkdel/live/keys.py",
        "                termios.tcsetattr(self._fd, termios.TCSANOW, self._before)\n",
        "                termios.tcsetattr(self._fd, termios.TCSADRAIN, self._before)\n",
        "e2e/test_terminal.py::test_a_second_signal_ends_a_run_whose_terminal_takes_no_output",
    ),
)


CONFTEST = """
import subprocess
from hypothesis import Phase, settings

# That an example was found is all that a mutant needs; the smallest one may take minutes.
settings.register_profile("found", phases=[Phase.explicit, Phase.generate], derandomize=True, deadline=None)
settings.load_profile("found")

from tests.kills import Watch
from tests.loops import pytest_pyfunc_call

def pytest_configure(config):
    config.pluginmanager.register(Watch(config.rootpath))
"""


def copied(folder: Path) -> Path:
    """Copy the packages, their tests and the pages with examples, as they are.

    What Python compiled comes along: it is used where the source is unchanged (same size and time), which spares half
    a minute of compiling. The file with the substitution has another time.
    """
    for package in ("runner", "jobs", "tests", "docs"):
        shutil.copytree(ROOT / package, folder / package)
    shutil.copy(ROOT / "pyproject.toml", folder)
    (folder / "tests" / "conftest.py").write_text(CONFTEST)
    return folder


def mutated(folder: Path, mutant: Mutant) -> str:
    """The text of the file with the substitution."""
    text = (folder / mutant.file).read_text()
    assert text.count(mutant.old) == 1, f"{mutant.name}: not found exactly once in {mutant.file}: {mutant.old!r}"
    return text.replace(mutant.old, mutant.new)


def mutate(folder: Path, mutant: Mutant) -> None:
    """Break the copy."""
    (folder / mutant.file).write_text(mutated(folder, mutant))


def complaints(mutants: Sequence[Mutant], folder: Path) -> dict[str, str]:
    """What ruff and mypy say of the mutants, by name; nothing of one that passes.

    ruff is told the path of the file that was mutated, because some rules depend on it. mypy checks all of the files in
    one run, each as a module of its own beside the program: one run costs as much as one mutant would.
    """
    found: dict[str, str] = {}
    names: dict[str, str] = {}
    for number, mutant in enumerate(mutants):
        try:
            text = mutated(ROOT, mutant)
        except AssertionError as error:
            found[mutant.name] = str(error)
            continue
        file = folder / f"mutant_{number}.py"
        names[file.name] = mutant.name
        file.write_text(text)
        ruff = tool("ruff", "check", "--output-format=concise", "--stdin-filename", mutant.file, "-", text=text)
        if ruff.returncode:
            found[mutant.name] = ruff.stdout + ruff.stderr
    mypy = tool("mypy", "--no-error-summary", *(str(folder / name) for name in names))
    for line in mypy.stdout.splitlines():
        name = names.get(Path(line.partition(":")[0]).name)
        if name is not None:
            found[name] = f"{found.get(name, '')}{line}\n"
        else:  # not a complaint about a mutant: then there is no telling what was checked
            found.update(dict.fromkeys(names.values(), f"mypy cannot check the mutants: {line}\n"))
    if mypy.returncode not in (0, 1):
        found.update(dict.fromkeys(names.values(), f"mypy cannot check the mutants: {mypy.stderr}\n"))
    return found


def tool(name: str, *words: str, text: str = "") -> subprocess.CompletedProcess[str]:
    """Run a checker in the project, with the project's configuration."""
    return subprocess.run(
        [sys.executable, "-m", name, *words], cwd=ROOT, input=text, capture_output=True, text=True, check=False
    )


def pytest_on(folder: Path, tests: Sequence[str], *options: str) -> subprocess.CompletedProcess[str]:
    """Run tests with the copy in front of everything that is installed."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("COVERAGE_", "PYTEST_"))}
    path = os.pathsep.join(str(folder / root) for root in ("runner", "jobs", "."))
    return subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", *options),
            *("--basetemp", str(folder / "tmp"), *(f"tests/{test}" for test in tests)),
        ],
        cwd=folder,
        env={**kept, forked.OFF: "1", "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
