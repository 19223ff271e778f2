"""Regions: what is refused, what is suggested, and where a bucket may be."""

from __future__ import annotations

import pytest

from vertexkit.regions import REGIONS, check_bucket_location, check_region


def test_the_regions_are_those_of_google_s_client() -> None:
    from google.cloud.aiplatform.constants.base import SUPPORTED_REGIONS

    assert set(REGIONS) == SUPPORTED_REGIONS - {"global"}


@pytest.mark.parametrize("region", REGIONS)
def test_every_region_is_taken(region: str) -> None:
    assert check_region(region) == []


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("us-central", "us-central1"),
        ("us-centrall", "us-central1"),
        ("US-Central1", "us-central1"),
        ("us_central1", "us-central1"),
        ("uscentral1", "us-central1"),
        ("europe-west-4", "europe-west4"),
        ("eu-west1", "europe-west1"),
        ("us-central1-a", "us-central1"),
        ("us-est1", "us-east1"),
    ],
)
def test_a_slip_of_the_finger_is_told_what_was_meant(typed: str, meant: str) -> None:
    (found,) = check_region(typed)
    assert meant in (found.remedy or "")


@pytest.mark.parametrize("newer", ["us-central7", "us-east9", "antarctica-south1"])
def test_a_region_newer_than_the_table_is_taken(newer: str) -> None:
    assert check_region(newer) == []


@pytest.mark.parametrize("wrong", ["mars", "", "1-2", "us", "global"])
def test_what_cannot_be_a_region_is_refused_with_an_example(wrong: str) -> None:
    (found,) = check_region(wrong)
    assert "us-central1" in (found.remedy or "")


@pytest.mark.parametrize(
    ("bucket", "region"), [("US-CENTRAL1", "us-central1"), ("europe-west4", "europe-west4")]
)
def test_a_bucket_in_the_same_region_will_do(bucket: str, region: str) -> None:
    assert check_bucket_location(bucket, region) == []


@pytest.mark.parametrize(
    ("bucket", "region"),
    [("US", "us-east4"), ("EU", "europe-west4"), ("NAM4", "us-central1"), ("ASIA1", "asia-northeast1")],
)
def test_a_bucket_that_spans_the_region_is_a_warning(bucket: str, region: str) -> None:
    (found,) = check_bucket_location(bucket, region)
    assert found.warning


@pytest.mark.parametrize(
    ("bucket", "region"),
    [("US", "europe-west4"), ("us-east1", "us-central1"), ("NAM4", "us-west1"), ("EU", "me-west1")],
)
def test_a_bucket_elsewhere_is_refused(bucket: str, region: str) -> None:
    (found,) = check_bucket_location(bucket, region)
    assert not found.warning
    assert region in (found.remedy or "")
