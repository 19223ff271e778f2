"""LocationsService."""

from __future__ import annotations

import pytest
from google.cloud.location import locations_pb2

from vertexkit.emulator.errors import ApiError
from vertexkit.emulator.projects import project_number
from vertexkit.emulator.services.locations import LocationsService
from vertexkit.regions import REGIONS


def test_every_region_is_listed_once_over_all_pages() -> None:
    service, found, token = LocationsService(), [], ""
    while True:
        request = locations_pb2.ListLocationsRequest(name="projects/p", page_size=7, page_token=token)
        page = service.ListLocations(request)
        found += [location.location_id for location in page.locations]
        token = page.next_page_token
        if not token:
            break
    assert found == list(REGIONS)


def test_any_well_formed_location_is_one() -> None:
    request = locations_pb2.GetLocationRequest(name="projects/p/locations/mars-north1")
    location = LocationsService().GetLocation(request)
    assert location.name == f"projects/{project_number('p')}/locations/mars-north1"
    assert location.location_id == "mars-north1"


@pytest.mark.parametrize("name", ["", "projects/p", "projects/p/locations/", "projects/p/locations/US"])
def test_what_is_no_location_is_refused(name: str) -> None:
    with pytest.raises(ApiError):
        LocationsService().GetLocation(locations_pb2.GetLocationRequest(name=name))


@pytest.mark.parametrize("token", ["x", "-1", "1000"])
def test_a_made_up_token_is_refused(token: str) -> None:
    request = locations_pb2.ListLocationsRequest(name="projects/p", page_token=token)
    with pytest.raises(ApiError):
        LocationsService().ListLocations(request)
