"""Regions of Vertex AI, and what a mistyped one was probably meant to be.

Source: ``google.cloud.aiplatform.constants.base`` in google-cloud-aiplatform 2.7.0 and
https://cloud.google.com/vertex-ai/docs/general/locations, as they stood on :data:`TABLE_DATE`.

Google opens regions oftener than this table is renewed, so a region that is merely not in it is not
refused: only one that no region could be called (``us-central``, ``US-CENTRAL1``), one that is a zone
(``us-central1-a``), and one that differs from a known region by a slip of the finger.
"""

from __future__ import annotations

import difflib
import re
from typing import Final

from vertexkit.errors import Finding

__all__ = ["REGIONS", "TABLE_DATE", "check_bucket_location", "check_region"]

TABLE_DATE: Final = "2026-11-22"
DOCUMENTATION: Final = "https://cloud.google.com/vertex-ai/docs/general/locations"

_BY_GEOGRAPHY: Final = {
    "africa": "south1",
    "asia": "east1 east2 northeast1 northeast2 northeast3 south1 south2 southeast1 southeast2",
    "australia": "southeast1 southeast2",
    "europe": "central2 north1 north2 southwest1 west1 west2 west3 west4 west6 west8 west9 west12",
    "me": "central1 central2 west1",
    "northamerica": "northeast1 northeast2",
    "southamerica": "east1 west1",
    "us": "central1 east1 east4 east5 east7 south1 west1 west2 west3 west4 west8",
}
REGIONS: Final = tuple(
    f"{geography}-{place}" for geography, places in _BY_GEOGRAPHY.items() for place in places.split()
)
"""Every region that Vertex AI was in on :data:`TABLE_DATE`."""

_WELL_FORMED = re.compile(
    r"[a-z]+-(?:north|south|east|west|central|northeast|northwest|southeast|southwest)\d+"
)
_ZONE = re.compile(r"(?P<region>[a-z]+-[a-z]+\d+)-[a-z]")
# Locations of buckets that span regions, and the regions in them.
# Source: https://cloud.google.com/storage/docs/locations
_BUCKET_SPANS: Final = {
    "us": ("us-",),
    "eu": ("europe-",),
    "asia": ("asia-",),
    "nam4": ("us-central1", "us-east1"),
    "eur4": ("europe-north1", "europe-west4"),
    "eur5": ("europe-west1", "europe-west2"),
    "eur7": ("europe-west2", "europe-west3"),
    "eur8": ("europe-west3", "europe-west6"),
    "asia1": ("asia-northeast1", "asia-northeast2"),
}
_MULTI_REGION: Final = ("us", "eu", "asia", "global")


def check_region(location: object, argument: str = "location") -> list[Finding]:
    """Whether ``location`` can be a region of Vertex AI.

    Args:
        location: A region, such as ``us-central1``.
        argument: What the caller calls it.

    Returns:
        What is wrong and what would do; nothing when nothing is wrong.
    """
    if not isinstance(location, str):
        return [Finding(argument, location, "is not text")]
    return [] if location in REGIONS else _check_unknown(location, argument)


def _check_unknown(location: str, argument: str) -> list[Finding]:
    if location in _MULTI_REGION:
        return [
            Finding(
                argument,
                location,
                "is a multi-region, and models and endpoints live in one region",
                "use a region, such as us-central1 or europe-west4",
            )
        ]
    zone = _ZONE.fullmatch(location)
    if zone is not None:
        return [Finding(argument, location, "is a zone, not a region", f"use its region, {zone['region']}")]
    near = _near_misses(location)
    if near:
        return [Finding(argument, location, "is not a region of Vertex AI", f"use {' or '.join(near)}")]
    if _WELL_FORMED.fullmatch(location):
        return []
    return [
        Finding(
            argument,
            location,
            "is not the name of a region",
            f"give one like us-central1; all of them: {DOCUMENTATION}",
        )
    ]


def check_bucket_location(
    bucket_location: str, location: str, argument: str = "bucket", given: str | None = None
) -> list[Finding]:
    """Whether a bucket is where Vertex AI can use it.

    The service answers FAILED_PRECONDITION for a bucket elsewhere ("It must be in the same regional
    location as the service location"). It has done so for multi-regions too, though not always, so a
    multi-region that holds the region is a warning.

    Args:
        bucket_location: Location of the bucket as Cloud Storage gives it, in either case.
        location: Region of the model or endpoint.
        argument: What the caller calls the bucket.
        given: What the caller gave, ``gs://bucket/folder``; by default the bucket's location is shown.

    Returns:
        What is wrong and what would do; nothing when nothing is wrong.
    """
    where = bucket_location.lower()
    if where == location:
        return []
    value, its = (bucket_location, "") if given is None else (given, f"is in {where}, which ")
    spans = _BUCKET_SPANS.get(where, ())
    if location.startswith(spans):
        return [
            Finding(
                argument,
                value,
                f"{its}spans several regions, and Vertex AI may insist on a bucket in {location}",
                f"create the bucket with location={location!r}",
                warning=True,
            )
        ]
    return [
        Finding(
            argument,
            value,
            f"{its}is not in the region of the service, {location}",
            f"use a bucket in {location}, or connect(location={where!r})"
            if where in REGIONS
            else f"use a bucket in {location}",
        )
    ]


def _near_misses(location: str) -> list[str]:
    """Known regions that ``location`` looks like a slip of."""
    simple = re.sub(r"[\s_]+", "-", location.strip().lower())
    # "eu-west1" is how another cloud writes it.
    simple = re.sub(r"^eu-", "europe-", simple)
    joined = simple.replace("-", "")
    same_letters = [region for region in REGIONS if region.replace("-", "") == joined]
    if same_letters:
        return same_letters
    if _WELL_FORMED.fullmatch(simple):
        # Another number after a known direction may well be a region newer than the table, but
        # letters that nearly spell a known direction are not.
        stem = simple.rstrip("0123456789")
        if stem in {region.rstrip("0123456789") for region in REGIONS} and simple == location:
            return []
    without_digit = [region for region in REGIONS if region.rstrip("0123456789") == simple]
    return without_digit or difflib.get_close_matches(simple, REGIONS, n=2, cutoff=0.85)
