"""List filters and orders."""

from __future__ import annotations

import pytest
from google.cloud.aiplatform_v1 import types
from hypothesis import example, given, settings
from hypothesis import strategies as st

from vertexkit.emulator.errors import ApiError, Code
from vertexkit.emulator.filters import Filterable, parse_filter, parse_order_by

MODEL = types.Model.pb()
OVER = Filterable(
    MODEL,
    {
        "create_time",
        "display_name",
        "labels",
        "metadata",
        "model_source_info",
        "satisfies_pzs",
        "data_stats",
        "version_aliases",
        "supported_export_formats",
    },
    {"model": lambda model: model.name.rpartition("/")[2]},
)
SAMPLE = types.Model.pb(
    types.Model(
        name="projects/1/locations/us-central1/models/17",
        display_name="mnist digits",
        labels={"stage": "prod", "a b": "c", "team": "vision.eu"},
        version_aliases=["default", "golden"],
        create_time="2026-03-04T05:06:07Z",
        model_source_info={"source_type": "CUSTOM"},
        satisfies_pzs=True,
        data_stats={"training_data_items_count": 60_000},
    )
)


def passes(text: str) -> bool:
    test = parse_filter(text, OVER)
    return test is None or test(SAMPLE)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "   ",
        'display_name="mnist digits"',
        "displayName='mnist digits'",
        'display_name != "other"',
        'display_name:"mnist*"',
        'display_name:"*dig*"',
        "display_name:*",
        "model=17",
        "model!=18",
        "labels.stage=prod",
        'labels.stage = "prod"',
        "labels.stage:prod",
        "labels.stage:*",
        "labels:stage",
        "labels:*",
        'labels."a b"=c',
        "labels.team=vision.eu",
        "labels.stage!=test",
        "labels.missing!=anything",
        "NOT labels:missing",
        "-labels:missing",
        "- labels:missing",
        "labels:stage AND model=17",
        "labels:stage model=17",
        "labels:missing OR model=17",
        # OR binds tighter than AND.
        "model=17 OR labels:missing AND labels:stage",
        "NOT (labels:missing OR model=18)",
        "((model=17))",
        "NOT model=18",
        "version_aliases:golden",
        "version_aliases:*",
        'create_time>"2026-01-01T00:00:00Z"',
        'create_time<="2026-03-04T05:06:07Z"',
        'create_time="2026-03-04T07:06:07+02:00"',
        'create_time<"2026-12-31"',
        "model_source_info.source_type=CUSTOM",
        "model_source_info.source_type!=AUTOML",
        "satisfies_pzs=true",
        "satisfies_pzs!=false",
        "data_stats.training_data_items_count>=60000",
        "dataStats.trainingDataItemsCount=60000",
        r'display_name!="a\"b"',
    ],
)
def test_a_filter_that_matches(text: str) -> None:
    assert passes(text)


@pytest.mark.parametrize(
    "text",
    [
        'display_name="mnist"',
        'display_name="MNIST DIGITS"',
        'display_name:"digits*"',
        "model=1",
        "model!=17",
        "labels.stage=test",
        "labels:missing",
        "labels.missing=None",
        "labels.stage!=prod",
        "NOT labels:stage",
        "-model=17",
        "model=17 AND labels:missing",
        "model=17 labels:missing",
        # By a grammar in which AND binds tighter, this would match.
        "model=17 OR model=18 AND labels:missing",
        "version_aliases:silver",
        'create_time>"2026-03-04T05:06:07Z"',
        "model_source_info.source_type=AUTOML",
        "satisfies_pzs=false",
        "data_stats.training_data_items_count<60000",
    ],
)
def test_a_filter_that_does_not_match(text: str) -> None:
    assert not passes(text)


@pytest.mark.parametrize(
    "text",
    [
        "mnist",
        "display_name",
        "display_name=",
        "display_name==a",
        "=a",
        "(model=17",
        "model=17)",
        "()",
        "model=17 AND",
        "model=17 OR",
        "NOT",
        "-",
        "AND",
        'display_name="unterminated',
        'display_name=!"old"',
        "display_name<b",
        "nosuch=1",
        "labels",
        "labels=stage",
        "labels.stage>prod",
        "metadata=1",
        "display_name.deeper=1",
        "model.deeper=1",
        "labels.=1",
        ".labels=1",
        "version_aliases=golden",
        "supported_export_formats:x",
        'create_time>"yesterday"',
        "create_time>",
        'create_time>""',
        "model_source_info.source_type=NOSUCH",
        "satisfies_pzs=maybe",
        "data_stats.training_data_items_count>many",
        "contains(display_name, 1)",
        "x" * 20_000,
        "(" * 5_000 + "model=1" + ")" * 5_000,
    ],
)
def test_what_is_no_filter_is_an_invalid_argument(text: str) -> None:
    with pytest.raises(ApiError) as error:
        parse_filter(text, OVER)
    assert error.value.code is Code.INVALID_ARGUMENT


_PIECES = st.sampled_from(
    [
        *"()-=:<.\"'\\* \x00é\ud800",
        *("AND", "OR", "NOT", "!=", ">=", "model", "labels", "stage", "display_name", "create_time"),
        *("metadata", "data_stats", "version_aliases", "model_source_info", "source_type", "version_id"),
        *("true", '"2026-01-01"', "17", "1e9"),
    ]
)


@given(st.one_of(st.text(), st.lists(_PIECES, max_size=30).map("".join), st.lists(_PIECES).map(" ".join)))
@example("create_time>9999-12-31")
@example("data_stats.training_data_items_count>" + "9" * 5000)
@settings(max_examples=500, deadline=None)
def test_whatever_is_asked_is_answered_or_an_invalid_argument(text: str) -> None:
    try:
        test = parse_filter(text, OVER)
    except ApiError as error:
        assert error.code is Code.INVALID_ARGUMENT
    else:
        assert test is None or test(SAMPLE) in {True, False}


def test_a_filter_full_of_stars_takes_no_time() -> None:
    test = parse_filter('display_name:"' + "*a" * 60 + '*b"', OVER)
    assert test is not None
    assert not test(types.Model.pb(types.Model(display_name="a" * 128)))
    assert test(types.Model.pb(types.Model(display_name="a" * 127 + "b")))


@given(st.dictionaries(st.text(min_size=1), st.text(), max_size=3), st.text(min_size=1), st.text())
@settings(deadline=None)
def test_any_label_can_be_asked_for_quoted(labels: dict[str, str], key: str, value: str) -> None:
    def quoted(text: str) -> str:
        return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'

    model = types.Model.pb(types.Model(labels={**labels, key: value}))
    for text, expected in [
        (f"labels.{quoted(key)}={quoted(value)}", True),
        (f"labels.{quoted(key)}!={quoted(value)}", False),
        (f"labels.{quoted(key)}={quoted(value + '!')}", False),
    ]:
        test = parse_filter(text, OVER)
        assert test is not None
        assert test(model) is expected


def test_an_order_names_fields_and_directions() -> None:
    allowed = ("display_name", "create_time")
    assert parse_order_by("", allowed) == []
    assert parse_order_by("display_name, create_time desc", allowed) == [
        ("display_name", False),
        ("create_time", True),
    ]
    assert parse_order_by("createTime asc", allowed) == [("create_time", False)]


@pytest.mark.parametrize(
    "text",
    ["labels", "create_time down", "create_time,", ",", "create_time desc asc", "create_time,create_time"],
)
def test_what_is_no_order_is_an_invalid_argument(text: str) -> None:
    with pytest.raises(ApiError) as error:
        parse_order_by(text, ("display_name", "create_time"))
    assert error.value.code is Code.INVALID_ARGUMENT
