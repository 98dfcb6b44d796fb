"""Random campaigns of every job against the server's own count of effects, per id and kind.

`make test` plays two, `make soak` two of each job and 30 larger ones of each; CAMPAIGNS=N plays N.
CAMPAIGN_SEED=… repeats one of the soak.
"""

from __future__ import annotations

import os
import random
from itertools import count
from pathlib import Path

import pytest

from tests.campaigns.jobs_drawing import draw
from tests.campaigns.jobs_playing import play
from tests.jobs import JOBS, RESTORING, JobCase
from tests.mutants import mutant
from tests.syntax import swap

SEED = int(os.environ.get("CAMPAIGN_SEED", "0"), 16)
BASE = 0x5EED0000
"""Campaigns of `make test` are always the same: the first seeds from here on that have most of what can be drawn."""

MANY = int(os.environ.get("CAMPAIGNS", "30"))

CASES = {**{job.name: job for job in JOBS}, "enable-users-from-backup": RESTORING}
ALL = [pytest.param(job, id=name) for name, job in CASES.items()]

QUICK = {("kick-users", False), ("remove-group-members", True)}
"""Campaigns of `make test`: a job, and whether every id is looked up first. `make soak` plays the others."""

EACH = [
    pytest.param(
        job,
        look_first,
        id=f"{name}-{'looked up' if look_first else 'sent'}",
        marks=[] if (name, look_first) in QUICK else [pytest.mark.soak],
    )
    for name, job in CASES.items()
    for look_first in (False, True)
]


@mutant(
    "delete-users leaves out the last id of a chunk",
    "BatchCall.calls",
    swap("checked_ids(self._path, records)", "checked_ids(self._path, records)[:-1]"),
    case="delete-users-sent",
)
@mutant(
    "resign-users deletes",
    "RESIGN_PATH",
    swap('"/api/v3/resign-user-batch"', '"/api/v3/delete-users-batch"'),
    case="resign-users-sent",
)
@mutant(
    "disable-users sends a gender too",
    "UpdateStatus.calls",
    swap(
        '[{"userId": id_, "status": status} for id_, status in statuses.items()]',
        '[{"userId": i, "status": s, "gender": "U"} for i, s in statuses.items()]',
    ),
    case="disable-users-sent",
)
@mutant(
    "enable-users ignores the backup",
    "Enabling.wanted.wanted",
    swap("backed.get(id_, self.status)", "self.status or backed.get(id_)"),
    case="enable-users-from-backup-sent",
)
@mutant(
    "enable-users gives the wrong status",
    "Enabling.wanted",
    swap("lambda _id: self.status", 'lambda _id: self.status and "Archived"'),
    case="enable-users-sent",
)
@mutant(
    "kick-users leaves out the second 50 applications",
    "kick_user.bodies",
    swap("len(apps)", "len(apps[:APPS_MAX])"),
    case="kick-users-sent",
)
@mutant(
    "revoke-roles takes roles of the default namespace",
    "Roles.bodies",
    swap("self.namespace", "DEFAULT_NAMESPACE"),
    case="revoke-roles-sent",
)
@mutant(
    "the state of remove-group-members ignores the group",
    "read_has_none",
    swap("not listed", "not listed or bool(things)"),
    case="remove-group-members-looked up",
)
@mutant(
    "delete-public-accounts deletes users",
    "PUBLIC_ACCOUNTS",
    swap('"/api/v3/delete-public-accounts-batch"', '"/api/v3/delete-users-batch"'),
    case="delete-public-accounts-sent",
)
@mutant(
    "delete-groups cuts a code at its slash",
    "DeleteCoded.calls",
    swap(
        '{"codeList": codes, **dict(things.within)}',
        '{"codeList": [code.partition("/")[0] for code in codes], **dict(things.within)}',
    ),
    case="delete-groups-sent",
)
@mutant(
    "delete-roles takes the default namespace",
    "DeleteCoded.calls",
    swap("parameters.namespace", "DEFAULT_NAMESPACE"),
    case="delete-roles-sent",
)
@mutant(
    "delete-resources takes the default namespace",
    "DeleteCoded.calls",
    swap("parameters.namespace", "DEFAULT_NAMESPACE"),
    case="delete-resources-sent",
)
@pytest.mark.parametrize(("job", "look_first"), EACH)
def test_a_campaign(job: JobCase, look_first: bool, tmp_path: Path) -> None:
    drawn = (draw(job, seed, small=True) for seed in count(BASE))
    print(play(next(one for one in drawn if one.telling and one.look_first is look_first), tmp_path))  # noqa: T201


@pytest.mark.soak
@pytest.mark.parametrize("number", range(MANY))
@pytest.mark.parametrize("job", ALL)
def test_many_campaigns(job: JobCase, number: int, tmp_path: Path) -> None:
    seed = SEED or random.SystemRandom().getrandbits(32)
    print(play(draw(job, seed), tmp_path))  # noqa: T201
