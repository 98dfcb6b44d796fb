"""The list of mutants keeps up with the code. `make mutants` and `make soak` try them."""

from __future__ import annotations

from tests.mutants import MUTANTS, ROOT


def test_the_text_of_every_mutant_is_found_once() -> None:
    lost = {one.name: one.file for one in MUTANTS if (ROOT / one.file).read_text(encoding="utf-8").count(one.old) != 1}
    assert lost == {}


def test_every_mutant_has_a_name_of_its_own() -> None:
    assert len({one.name for one in MUTANTS}) == len(MUTANTS)
