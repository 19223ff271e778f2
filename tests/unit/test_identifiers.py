"""Names, aliases, labels and accounts: what the service allows, and nothing else."""

from __future__ import annotations

import re

import pytest

from vertexkit.identifiers import check_alias, check_display_name, check_labels, check_service_account


@pytest.mark.parametrize("name", ["mnist", "Kundenmodell Zürich", "数字", "x" * 128, "a/b: c"])
def test_a_display_name_can_be_almost_anything(name: str) -> None:
    assert check_display_name(name) == []


@pytest.mark.parametrize("name", ["", "   ", "x" * 129, 7, None])
def test_a_display_name_is_text_of_1_to_128_characters(name: object) -> None:
    (found,) = check_display_name(name)
    assert found.argument == "name"


def test_the_remedy_for_a_long_display_name_is_a_name_that_would_do() -> None:
    (found,) = check_display_name("n" * 200)
    suggestion = re.search(r"'(n+)'", found.remedy or "")
    assert suggestion is not None
    assert check_display_name(suggestion[1]) == []


@pytest.mark.parametrize("alias", ["default", "prod", "v1", "releaseCandidate-1"])
def test_an_alias_may_be(alias: str) -> None:
    assert check_alias(alias) == []


@pytest.mark.parametrize("alias", ["", "1", "12", "Prod", "p", "prod-", "a b", "x" * 129])
def test_an_alias_may_not_be(alias: str) -> None:
    assert len(check_alias(alias)) == 1


def test_labels_of_lower_case_letters_digits_and_dashes_are_taken() -> None:
    assert check_labels({"team": "ml-2", "vertexkit_session": "", "straße": "münchen"}) == []


@pytest.mark.parametrize(
    "labels",
    [
        {"Team": "ml"},
        {"team": "ML"},
        {"": "x"},
        {"1st": "x"},
        {"a" * 64: "x"},
        {"a": "x" * 64},
        {"a": "b c"},
        {"a": 1},
    ],
)
def test_a_label_that_breaks_a_rule_is_named(labels: dict[str, str]) -> None:
    (found,) = check_labels(labels)
    assert found.argument == f"labels[{next(iter(labels))!r}]"


def test_more_than_64_labels_are_refused() -> None:
    assert check_labels({f"l{n}": "" for n in range(64)}) == []
    assert len(check_labels({f"l{n}": "" for n in range(65)})) == 1


@pytest.mark.parametrize(
    "account", ["me@p.iam.gserviceaccount.com", "1-compute@developer.gserviceaccount.com"]
)
def test_a_service_account_is_an_address(account: str) -> None:
    assert check_service_account(account) == []


@pytest.mark.parametrize(
    "account",
    ["", "me", "me@localhost", "a b@c.d", "projects/p/serviceAccounts/me@p.iam.gserviceaccount.com", 5],
)
def test_what_is_no_address_is_no_service_account(account: object) -> None:
    (found,) = check_service_account(account)
    assert found.argument == "service_account"
