import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechkit.runtime import ahead


@given(st.lists(st.integers()), st.integers(1, 4))
def test_items_come_in_order_and_none_is_lost(items, depth):
    assert list(ahead(items, depth)) == items


def test_no_more_than_depth_items_are_made_early():
    made = []
    entered = threading.Event()

    def source():
        for number in range(10):
            made.append(number)
            if len(made) == 3:
                entered.set()
            yield number

    taking = ahead(source(), 2)
    assert next(taking) == 0
    assert entered.wait(5)
    assert len(made) == 3  # the one taken and two more
    taking.close()


def test_an_error_comes_where_its_item_would_have_come():
    def source():
        yield 1
        raise OSError("gone")

    taking = ahead(source())
    assert next(taking) == 1
    with pytest.raises(OSError, match="gone"):
        next(taking)


def test_leaving_early_closes_the_source_and_ends_the_thread():
    closed = []

    def source():
        try:
            while True:
                yield 0
        finally:
            closed.append(True)

    taking = ahead(source())
    next(taking)
    taking.close()
    assert closed == [True]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ahead")]


def test_a_depth_of_zero_is_refused():
    with pytest.raises(ValueError, match="depth"):
        ahead([1], 0)
