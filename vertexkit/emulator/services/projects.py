"""google.cloud.resourcemanager.v3.Projects: every project exists.

See https://cloud.google.com/resource-manager/reference/rest/v3/projects
"""

from __future__ import annotations

import re

from vertexkit.emulator.messages import Project, Raw
from vertexkit.emulator.projects import project_id, project_number
from vertexkit.emulator.validation import invalid

_NAME = re.compile(r"projects/(?P<project>[^/@]+)")


class ProjectsService:
    """Answers ``google.cloud.resourcemanager.v3.Projects``."""

    def GetProject(self, request: Raw) -> Raw:
        """Get a project, by its id or its number."""
        match = _NAME.fullmatch(request.name)
        if match is None:
            raise invalid(f'Invalid name "{request.name}": expected projects/{{project}}.')
        found = project_id(match["project"])
        return Project(
            name=f"projects/{project_number(found)}",
            project_id=found,
            display_name=found,
            state=Project.State.ACTIVE,
        )
