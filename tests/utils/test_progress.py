from __future__ import annotations

import threading

import pytest

from fastface.utils.progress import (
    advance,
    checkpoint,
    heard_by,
    is_heard,
    may_stop,
    part,
    raised_by_listener,
)


class Stop(BaseException):
    pass


def stop(_done: float) -> None:
    raise Stop


def test_where_nobody_listens_nothing_happens():
    assert not is_heard() and checkpoint() is None
    with part(0.0, 1.0):
        advance(0.5)
        may_stop()
    with heard_by(None):
        assert not is_heard()


def test_parts_are_shares_of_the_whole():
    heard: list[float] = []
    with heard_by(heard.append):
        with part(0.0, 0.5):
            advance(0.5)
            with part(0.5, 1.0):
                advance(0.5)
        with part(0.5, 1.0):
            pass
    assert heard == [0.25, 0.375, 0.5, 0.5, 1.0]


def test_it_never_falls_and_ends_at_all():
    heard: list[float] = []
    with heard_by(heard.append):
        for done in (0.5, 0.25, 2.0, 0.1):
            advance(done)
    assert heard == [0.5, 0.5, 1.0, 1.0]


def test_a_place_to_stop_says_nothing_new():
    heard: list[float] = []
    with heard_by(heard.append):
        may_stop()
        advance(0.5)
        with part(0.5, 1.0):
            may_stop()
    assert heard == [0.0, 0.5, 0.5, 1.0]


@pytest.mark.parametrize("mark", [may_stop, lambda: advance(0.3)])
def test_what_a_listener_raises_ends_the_work(mark):
    with pytest.raises(Stop), heard_by(stop), part(0.0, 0.5), part(0.5, 1.0):
        mark()
    assert not is_heard()


@pytest.mark.parametrize("error", [Stop(), ValueError("no more")])
def test_what_a_listener_raised_is_told_from_failures(error: BaseException):
    def end(_done: float) -> None:
        raise error

    assert not raised_by_listener(error)
    with heard_by(end):
        with pytest.raises(type(error)), part(0.0, 0.5):
            may_stop()
        assert raised_by_listener(error) and not raised_by_listener(ValueError("no more"))


def test_an_inner_listener_hides_the_outer_one():
    outer: list[float] = []
    inner: list[float] = []
    with heard_by(outer.append):
        with heard_by(inner.append):
            advance(0.5)
        advance(0.25)
    assert (outer, inner) == ([0.25], [0.5])


def test_other_threads_are_not_heard_but_may_ask():
    asked: list[object] = []
    heard: list[float] = []
    with heard_by(heard.append):
        advance(0.5)
        ask = checkpoint()
        assert ask is not None
        thread = threading.Thread(target=lambda: (asked.append(is_heard()), ask()))
        thread.start()
        thread.join()
    assert asked == [False] and heard == [0.5, 0.5]
