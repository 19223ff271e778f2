"""How what a trial has written becomes a model that can be deployed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from vertexkit._core.names import parse_gcs_uri
from vertexkit.errors import NotFound
from vertexkit.trials import Trial, TrialState, facts

if TYPE_CHECKING:
    from vertexkit._core.context import Context
    from vertexkit.model import Model

__all__ = ["upload_trial"]

_LONGEST_NAME = 128
_ANOTHER = "take a trial that ran to its end"


def upload_trial(
    context: Context,
    trial: Trial,
    name: str | None,
    *,
    search: str,
    image: object,
    serving_image: str | None = None,
    description: str | None = None,
    labels: Mapping[str, str] | None = None,
) -> Model:
    """Upload the SavedModel of a trial; see `Trial.model`.

    Args:
        context: The session's parts.
        trial: The trial.
        name: Display name of the model; None for one of the search and the trial.
        search: Display name of the search.
        image: URI of the container in which the trial has run.
        serving_image: URI of the container that is to serve it; None for the one of that version.
        description: None for the trial's parameters and metrics.
        labels: Labels, beside those of the session.
    """
    from vertexkit.models import Models
    from vertexkit.storage import Bucket
    from vertexkit.training_images import serving_image_for

    uri = None if trial.model_dir is None else parse_gcs_uri(trial.model_dir)
    if uri is None or not any(True for _ in Bucket(context, uri.bucket).list(f"{uri.name}/")):
        raise _no_model(trial)
    if serving_image is None:
        serving_image = serving_image_for(image, framework="tensorflow", location=context.target.location)
    suffix = f"-trial-{trial.id}"
    return Models(context).upload(
        f"{search[: _LONGEST_NAME - len(suffix)]}{suffix}" if name is None else name,
        str(trial.model_dir),
        serving_image=serving_image,
        description=facts({**trial.parameters, **trial.metrics}) if description is None else description,
        labels=labels,
    )


def _no_model(trial: Trial) -> NotFound:
    place = "" if trial.model_dir is None else f" to AIP_MODEL_DIR ({trial.model_dir}/)"
    if not trial.state.ended:
        problem = (
            f"the trial was {trial.state.lower()} when it was last read, and has written no model{place}"
        )
        remedy = "wait() for the search to end, and take the trial from it again"
    elif trial.stopped_early:
        problem, remedy = f"the trial was stopped early, and has written no model{place}", _ANOTHER
    elif trial.state is TrialState.INFEASIBLE:
        problem = f"the trial came to nothing ({trial.infeasible_reason}), and has written no model{place}"
        remedy = _ANOTHER
    else:
        problem = f"the trial has written no model{place}"
        remedy = "let the program write a SavedModel there, and search again"
    return NotFound(problem, resource=f"trial {trial.id}", remedy=remedy)
