"""The arithmetic of traffic splits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vertexkit.errors import InvalidArgument
from vertexkit.split_history import SplitHistory, without_history
from vertexkit.traffic import TrafficSplit


@st.composite
def splits(draw: st.DrawFn, least: int = 1) -> TrafficSplit:
    """Splits of any number of models, of any shares."""
    ids = draw(
        st.lists(st.from_regex(r"[1-9][0-9]{0,9}", fullmatch=True), min_size=least, max_size=8, unique=True)
    )
    cuts = sorted(draw(st.lists(st.integers(0, 100), min_size=len(ids) - 1, max_size=len(ids) - 1)))
    shares = [after - before for before, after in zip([0, *cuts], [*cuts, 100], strict=True)]
    return TrafficSplit(dict(zip(ids, shares, strict=True)))


@given(splits(), st.text("0123456789", min_size=1, max_size=10), st.integers(0, 100))
def test_shifting_gives_one_model_its_share_and_always_sums_to_100(
    split: TrafficSplit, to: str, percent: int
) -> None:
    if percent < 100 and set(split) <= {to}:
        with pytest.raises(InvalidArgument):
            split.shift(to, percent)
        return
    after = split.shift(to, percent)
    assert sum(after.values()) == 100
    assert after.percent(to) == percent
    assert set(after) <= {*split, to}


@given(splits(least=2), st.integers(0, 100))
def test_the_others_keep_their_proportions_to_within_one_percent(split: TrafficSplit, percent: int) -> None:
    after = split.shift("new", percent)
    for key, share in split.items():
        assert abs(after.percent(key) - share * (100 - percent) / 100) < 1


@given(splits(), st.data())
def test_taking_a_model_away_leaves_100_or_nothing(split: TrafficSplit, data: st.DataObject) -> None:
    gone = data.draw(st.sampled_from(sorted(split)))
    after = split.without(gone)
    assert gone not in after
    assert sum(after.values()) == (100 if len(split) > 1 else 0)


@given(st.none() | splits(), st.none() | splits())
def test_a_history_survives_being_kept_in_labels_beside_others(
    previous: TrafficSplit | None, pending: TrafficSplit | None
) -> None:
    history = SplitHistory(previous, None if pending is None else "7", pending)
    labels = history.labels({"team": "vision", "vertexkit_previous_old": "100"})
    assert SplitHistory.written(labels) == history
    assert without_history(labels) == {"team": "vision"}
    assert all(len(key) <= 63 for key in labels)


def test_a_split_that_waits_for_a_model_counts_once_that_is_there() -> None:
    first, second = TrafficSplit({"1": 100}), TrafficSplit({"2": 100})
    labels = SplitHistory(first).announcing("3", second).labels({})
    assert SplitHistory.of({"labels": labels}).previous == first
    assert SplitHistory.of({"labels": labels, "deployedModels": [{"id": "2"}]}).previous == first
    assert SplitHistory.of({"labels": labels, "deployedModels": [{"id": "3"}]}) == SplitHistory(second)


@given(splits())
def test_equal_splits_are_equal_as_mappings_and_as_keys(split: TrafficSplit) -> None:
    again = TrafficSplit({**dict(reversed(list(split.items()))), "0": 0})
    assert again == split == dict(split)
    assert hash(again) == hash(split)
    assert eval(repr(split), {"TrafficSplit": TrafficSplit}) == split


def test_a_model_without_a_share_is_not_in_the_split() -> None:
    split = TrafficSplit({"1": 100, "2": 0})
    assert list(split) == ["1"]
    assert split.percent("2") == 0


@pytest.mark.parametrize(
    "shares",
    [
        {"1": 99},
        {"1": 101},
        {"1": 60, "2": 60},
        {"1": 0},
        {"1": -10, "2": 110},
        {"1": 50.0, "2": 50.0},
        {"1": True, "2": 99},
        {"": 100},
        {1: 100},
    ],
)
def test_what_does_not_sum_to_100_in_whole_percentages_is_refused(shares: dict[str, int]) -> None:
    with pytest.raises(InvalidArgument):
        TrafficSplit(shares)


def test_the_empty_split_is_the_one_of_an_endpoint_without_models() -> None:
    assert dict(TrafficSplit()) == {}
    assert TrafficSplit({"1": 100}).without("1") == TrafficSplit()
    assert TrafficSplit().shift("1", 100) == {"1": 100}
    assert str(TrafficSplit()) == "no traffic"


def test_a_small_share_shifted_away_goes_to_the_largest_remainders() -> None:
    assert TrafficSplit({"1": 34, "2": 33, "3": 33}).without("1") == {"2": 50, "3": 50}
    assert TrafficSplit({"1": 50, "2": 50}).shift("3", 1) == {"1": 50, "2": 49, "3": 1}


@pytest.mark.parametrize(
    "labels", [{}, {"team": "x"}, {"vertexkit_previous_1": "x"}, {"vertexkit_previous_1": "60"}]
)
def test_labels_that_keep_no_split_give_none(labels: dict[str, str]) -> None:
    assert SplitHistory.written(labels) == SplitHistory()
