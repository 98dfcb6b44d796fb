"""The limits at which a run halts, and how near the run is to each, as the page shows them."""

from __future__ import annotations

from typing import NamedTuple

from bulkdel.core.halt_limits import number_or_share, sample_suffices, too_many_refused
from bulkdel.engine.snapshot import Snapshot
from bulkdel.format import span
from bulkdel.safety.run_plan import RunPlan


class Threshold(NamedTuple):
    """One limit. now: how near the run is to it, in words. holds: whether the run may go on."""

    name: str
    now: str
    holds: bool


def thresholds(plan: RunPlan, moment: Snapshot | None) -> list[Threshold]:
    """The limits of this run. Before the sending there is only that of the sample."""
    found, asked = len(plan.server.found), plan.server.asked
    limits = []
    if asked and not plan.arguments.job.target_state.created:
        suffices = plan.arguments.settings.allow_absent or sample_suffices(asked, found)
        least = "any number may" if plan.arguments.settings.allow_absent else "at least half must"
        limits.append(Threshold("sampled ids that exist", f"{found:,} of {asked:,}; {least}", suffices))
    if moment is not None:
        limits += [_refused(plan, moment), _silence(plan, moment)]
    return limits


def _refused(plan: RunPlan, moment: Snapshot) -> Threshold:
    """--max-refused: of the ids that this session has settled."""
    most, refused = number_or_share(plan.arguments.settings.max_refused), sum(moment.refused.values())
    settled = plan.remaining - (moment.rows - moment.settled)
    if isinstance(most, int):
        now, limit = f"{refused:,}", f"{most:,}"
    else:
        now, limit = f"{100 * refused / max(settled, 1):.1f} %", f"{float(100 * most):g} %"
    return Threshold("refused ids", f"{now} of at most {limit}", not too_many_refused(most, refused, settled))


def _silence(plan: RunPlan, moment: Snapshot) -> Threshold:
    """--patience: without a useful answer of the server. A second without one is nothing."""
    patience_s = plan.arguments.settings.patience
    now = "none" if moment.silent_s < 1 else span(moment.silent_s)
    return Threshold("silence of the server", f"{now} of at most {span(patience_s)}", moment.silent_s < patience_s)
