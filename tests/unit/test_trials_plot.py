"""What is drawn of a search: what a legend may cover, and what is said where there is nothing to draw."""

from __future__ import annotations

import io

import pytest

from vertexkit.errors import InvalidArgument
from vertexkit.trials import Objective, Trial, Trials, TrialState


def trial(name: int, state: TrialState = TrialState.SUCCEEDED, **metrics: float) -> Trial:
    return Trial(str(name), state, {"lr": 0.1 * name, "optimizer": "ab"[name % 2]}, metrics)


@pytest.mark.parametrize("maximize", [True, False])
@pytest.mark.parametrize("values", [[0.5], [0.5, 0.4], [0.4, 0.5], [0.4, 0.9, 0.1], [1.0] * 30])
def test_a_legend_covers_no_point(values: list[float], maximize: bool) -> None:
    pytest.importorskip("matplotlib")
    trials = [trial(place, score=value) for place, value in enumerate(values, start=1)]
    figure = Trials(trials, [Objective("score", maximize)]).plot()
    figure.savefig(io.BytesIO(), format="png")
    legend = figure.axes[0].get_legend()
    assert legend is not None
    box = legend.get_window_extent()
    assert not any(box.overlaps(axes.get_window_extent()) for axes in figure.axes)
    assert figure.bbox.y1 >= box.y1 and figure.bbox.x0 <= box.x0


def test_a_single_trial_has_a_whole_number() -> None:
    pytest.importorskip("matplotlib")
    history = Trials([trial(1, score=0.5)], [Objective("score")]).plot().axes[0]
    low, high = history.get_xlim()
    assert [place for place in history.get_xticks() if low <= place <= high] == [1]


@pytest.mark.parametrize(
    ("trials", "words"),
    [
        ([], "none has begun\n  Remedy: wait"),
        ([trial(1, TrialState.ACTIVE), trial(2, TrialState.ACTIVE)], "none of 2 has ended\n  Remedy: wait"),
        (
            [trial(1, TrialState.INFEASIBLE), trial(2, TrialState.ACTIVE)],
            "1 of 2 has ended, without it\n  Remedy: wait",
        ),
        ([trial(1, TrialState.INFEASIBLE)], "1 of 1 has ended, without it\n  Remedy: see infeasible_reason"),
    ],
)
def test_what_is_not_there_to_be_drawn_is_said_with_how_far_the_search_is(
    trials: list[Trial], words: str
) -> None:
    pytest.importorskip("matplotlib")
    with pytest.raises(InvalidArgument, match=r"^metric='score': is of no trial so far: ") as raised:
        Trials(trials, [Objective("score")]).plot()
    assert words in str(raised.value)
