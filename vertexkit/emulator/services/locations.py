"""google.cloud.location.Locations: the regions of Vertex AI.

See https://cloud.google.com/vertex-ai/docs/reference/rpc/google.cloud.location
"""

from __future__ import annotations

import re

from vertexkit.emulator.messages import ListLocationsResponse, Location, Raw
from vertexkit.emulator.projects import project_number
from vertexkit.emulator.validation import canonical_location, invalid
from vertexkit.regions import REGIONS

_PROJECT_NAME = re.compile(r"projects/(?P<project>[^/@]+)")
_PAGE = 100


class LocationsService:
    """Answers the RPCs of ``google.cloud.location.Locations``.

    Every well-formed location is served, listed or not: regions open oftener than lists are renewed.
    """

    def GetLocation(self, request: Raw) -> Raw:
        """Get a location."""
        return _location(canonical_location(request.name))

    def ListLocations(self, request: Raw) -> Raw:
        """List the regions of Vertex AI."""
        match = _PROJECT_NAME.fullmatch(request.name)
        if match is None:
            raise invalid(f'Invalid name "{request.name}": expected projects/{{project}}.')
        if request.filter:
            raise invalid("Locations cannot be filtered.")
        size = request.page_size or _PAGE
        try:
            start = int(request.page_token or "0")
        except ValueError:
            start = -1
        if size < 0 or not 0 <= start <= len(REGIONS):
            raise invalid(f'Invalid page_size {request.page_size} or page_token "{request.page_token}".')
        project = project_number(match["project"])
        found = [
            _location(f"projects/{project}/locations/{region}") for region in REGIONS[start : start + size]
        ]
        more = start + size < len(REGIONS)
        return ListLocationsResponse(locations=found, next_page_token=str(start + size) if more else "")


def _location(name: str) -> Raw:
    location_id = name.rpartition("/")[2]
    location = Location(name=name, location_id=location_id, display_name=location_id)
    location.labels["cloud.googleapis.com/region"] = location_id
    return location
