"""What Vertex AI checks of a HyperparameterTuningJob, in its words, and what each of its trials runs.

Source: https://cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.hyperparameterTuningJobs
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from vertexkit.emulator.errors import ApiError, Code
from vertexkit.emulator.messages import CustomJob, Raw
from vertexkit.emulator.services.parameter_spec import active, every
from vertexkit.emulator.services.study_spec import study_config
from vertexkit.emulator.tuning.types import Kind, ParameterValue, StudyConfig
from vertexkit.emulator.validation import check_display_name, check_labels, invalid_fields

FIELD: Final = "hyperparameter_tuning_job"
TRIAL_SPEC: Final = f"{FIELD}.trial_job_spec"
_STUDY_SPEC: Final = f"{FIELD}.study_spec"
_MOST_CHARACTERS: Final = 128
"""Of a display name."""


def check_tuning_job(asked: Raw) -> StudyConfig:
    """Refuse a job that Vertex AI refuses, or that asks for what the local one does not do.

    Its ``trial_job_spec`` is left to whoever creates the trials.

    Returns:
        What is searched for.

    Raises:
        ApiError: INVALID_ARGUMENT, naming every wrong field; UNIMPLEMENTED, naming one.
    """
    check_display_name(asked.display_name, f"{FIELD}.display_name")
    check_labels(asked.labels, f"{FIELD}.labels")
    if asked.HasField("encryption_spec"):
        raise ApiError(Code.UNIMPLEMENTED, f"The local Vertex AI does not support {FIELD}.encryption_spec.")
    problems = _count_problems(asked)
    for field in ("study_spec", "trial_job_spec"):
        if not asked.HasField(field):
            problems.append((f"{FIELD}.{field}", "Required field is not set."))
    if asked.study_spec.observation_noise:
        problems.append((f"{_STUDY_SPEC}.observation_noise", _ONLY_VIZIER))
    if problems:
        raise invalid_fields(problems)
    config = study_config(asked.study_spec, _STUDY_SPEC)
    for parameter in every(config.parameters):
        if parameter.default is not None:
            where = f'default_value of the parameter "{parameter.name}"'
            problems.append((f"{_STUDY_SPEC}.parameters", f"{where}: {_ONLY_VIZIER}"))
    if problems:
        raise invalid_fields(problems)
    return config


def trial_job(job: Raw, trial_id: str, config: StudyConfig, values: Mapping[str, ParameterValue]) -> Raw:
    """The CustomJob of a trial: that of the job, with the parameters as further arguments.

    Args:
        job: The HyperparameterTuningJob.
        trial_id: The trial.
        config: The job's study.
        values: The trial's parameters.
    """
    suffix = f"-trial-{trial_id}"
    trial = CustomJob(display_name=job.display_name[: _MOST_CHARACTERS - len(suffix)] + suffix)
    trial.job_spec.CopyFrom(job.trial_job_spec)
    trial.labels.update(job.labels)
    arguments = [f"--{name}={text}" for name, text in argument_texts(config, values).items()]
    for pool in trial.job_spec.worker_pool_specs:
        task = pool.WhichOneof("task")
        if task is not None:
            getattr(pool, task).args.extend(arguments)
    return trial


def argument_texts(config: StudyConfig, values: Mapping[str, ParameterValue]) -> dict[str, str]:
    """The parameters as a program gets them: ``64`` for a whole number of an INTEGER or a DISCRETE parameter.

    Google's own examples take numbers such as a DISCRETE batch size by ``type=int``.
    """
    kinds = {parameter.name: parameter.kind for parameter in active(config.parameters, values)}
    return {
        name: str(int(value))
        if isinstance(value, float) and value.is_integer() and kinds.get(name) is not Kind.DOUBLE
        else str(value)
        for name, value in values.items()
    }


def _count_problems(asked: Raw) -> list[tuple[str, str]]:
    problems = []
    most, parallel, failed = asked.max_trial_count, asked.parallel_trial_count, asked.max_failed_trial_count
    if most < 1:
        problems.append((f"{FIELD}.max_trial_count", f"It is {most}, and has to be 1 or more."))
    if parallel < 1:
        problems.append((f"{FIELD}.parallel_trial_count", f"It is {parallel}, and has to be 1 or more."))
    elif parallel > most > 0:
        problems.append(
            (
                f"{FIELD}.parallel_trial_count",
                f"It is {parallel}, and cannot be more than max_trial_count, which is {most}.",
            )
        )
    if failed < 0:
        problems.append((f"{FIELD}.max_failed_trial_count", f"It is {failed}, and must not be negative."))
    return problems


_ONLY_VIZIER: Final = "It is supported by Vertex AI Vizier only, not by a HyperparameterTuningJob."
