"""The figures of docs/scale.md are those of the reckoning."""

from __future__ import annotations

from pathlib import Path

from tests.bench import scale

PAGE = Path(__file__).parents[2] / "docs" / "scale.md"


def test_the_page_has_the_figures_of_the_reckoning() -> None:
    page = PAGE.read_text()
    assert scale.table() in page
    assert scale.summary() in page


def test_more_nodes_never_take_longer_and_one_pool_is_the_least() -> None:
    for log in ("file", "store"):
        nights = [scale.night(nodes, log) for nodes in (1, 2, 5, 10, 100)]
        assert sorted((one.seconds for one in nights), reverse=True) == [one.seconds for one in nights]
        assert nights[-1].seconds > scale.pool_s()
        assert all(one.memory_gb < scale.MEMORY_GB for one in nights)
