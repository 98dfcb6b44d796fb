from bulkdel.core.shards import LimitPortions


def test_portions_are_taken_in_order_and_given_back() -> None:
    limit = LimitPortions(100)
    assert [limit.take(60), limit.take(60), limit.take(60)] == [60, 40, 0]
    limit.give_back(10)
    assert (limit.take(60), limit.left) == (10, 0)


def test_without_a_limit_every_portion_is_the_whole() -> None:
    limit = LimitPortions(None)
    limit.give_back(10)
    assert (limit.take(60), limit.left) == (None, None)
