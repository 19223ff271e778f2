"""Looks for what would make a program fail in a job: imports of what is not there, and the like."""

from __future__ import annotations

import ast

from vertexkit.errors import Finding
from vertexkit.program_files import ProgramFiles
from vertexkit.requirements import Requirements

__all__ = ["check_files", "mentions_model"]


def check_files(found: ProgramFiles, asked: Requirements, provided: frozenset[str] | None) -> list[Finding]:
    """What the program imports that neither Python, nor the image, nor a requirement has."""
    del found, asked, provided
    return []


def mentions_model(found: ProgramFiles) -> bool:
    """Whether a program says where a job's model belongs: ``AIP_MODEL_DIR``, ``model_dir``."""
    for source in found.sources:
        for node in ast.walk(source.tree):
            if isinstance(node, ast.Constant) and node.value == "AIP_MODEL_DIR":
                return True
            if isinstance(node, ast.Attribute | ast.Name):
                name = node.attr if isinstance(node, ast.Attribute) else node.id
                if name == "model_dir":
                    return True
    return False
