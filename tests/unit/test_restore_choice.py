"""Which account a text of `restore --only` means."""

from __future__ import annotations

import pytest

from bulkdel.core.restore_choice import Choice
from bulkdel_jobs.genauth.id_types import ID_TYPES
from tests.mutants import mutant
from tests.syntax import swap

ANNA, BEN = b"a" * 24, b"b" * 24
ACCOUNTS = {
    ANNA: {"user_id": ["a" * 24], "email": ["Anna@x.org"], "phone": ["+8613800000001"], "username": ["anna"]},
    BEN: {"user_id": ["b" * 24], "email": ["ben@x.org"], "phone": ["+4913800000001"], "username": ["13800000001"]},
}


@pytest.mark.parametrize(
    ("text", "means"),
    [
        ("a" * 24, [ANNA]),
        ("anna@X.org", [ANNA]),
        ("Anna", []),
        ("anna", [ANNA]),
        ("+8613800000001", [ANNA]),
        ("8613800000001", [ANNA]),
        ("13800000001", [BEN]),  # certainly a user name; the phone numbers only may be the same
        ("013800000001", [ANNA, BEN]),
        ("nobody", []),
        ("", []),
    ],
)
@mutant(
    "an account that only may be meant is restored beside the one that is",
    "Choice.accounts_of",
    swap(
        "self._certain.get(text) or self._perhaps.get(text) or ()",
        "self._certain.get(text, {}) | self._perhaps.get(text, {})",
    ),
    case="13800000001-means6",
)
def test_a_text_means_what_is_certainly_the_same(text: str, means: list[bytes]) -> None:
    choice = Choice([text, text], ID_TYPES)
    for account, ids in ACCOUNTS.items():
        choice.see(ids, account)
    assert choice.texts == (text,)
    assert list(choice.accounts_of(text)) == means


def test_a_text_that_may_mean_two_accounts() -> None:
    choice = Choice(["13800000001"], {"phone": ID_TYPES["phone"]})
    for account, ids in ACCOUNTS.items():
        choice.see({"phone": ids["phone"]}, account)
    assert choice.accounts_of("13800000001") == (ANNA, BEN)
