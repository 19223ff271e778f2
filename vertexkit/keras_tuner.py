"""The searches by Keras Tuner of a project and location: run, checked, found, listed."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, Literal

from vertexkit._core.resource import Manager
from vertexkit.errors import Finding, InvalidArgument
from vertexkit.image_packages import provided
from vertexkit.job_wait import Stream, check_wait, stream_of
from vertexkit.keras_tuner_checks import check_directories, check_joins
from vertexkit.keras_tuner_job import KERAS_TUNER, SEARCH_LABEL, KerasTunerJob, is_search
from vertexkit.preflight import require
from vertexkit.requirements import read_requirements
from vertexkit.training_body import training_body
from vertexkit.training_images import parse_training_image
from vertexkit.training_lookup import find_training_job, list_training_jobs
from vertexkit.training_packages import Packages
from vertexkit.training_plan import TrainingPlan, plan_training
from vertexkit.training_request import TrainingRequest
from vertexkit.training_submission import submit_job
from vertexkit.types import Machine

if TYPE_CHECKING:
    from vertexkit._core.context import Context

__all__ = ["KerasTuner", "KerasTunerJob"]

_log = logging.getLogger("vertexkit")

_PACKAGE: Final = "keras-tuner"
# The first that works with the protobuf of today's TensorFlow.
_REQUIREMENT: Final = "keras-tuner>=1.4.8"


class KerasTuner(Manager):
    """The searches by Keras Tuner of a session's project and location."""

    def __init__(self, context: Context) -> None:
        """Use ``session.keras_tuner``."""
        super().__init__(context)
        self._packages = Packages(context)

    def run(
        self,
        program: str | os.PathLike[str],
        *,
        workers: int = 0,
        name: str | None = None,
        module: str | None = None,
        args: Mapping[str, object] | Sequence[str] | None = None,
        env: Mapping[str, str] | None = None,
        requirements: Sequence[str] | str | os.PathLike[str] | None = None,
        machine: Machine | str = "n1-standard-4",
        worker_machine: Machine | str | None = None,
        image: str | None = None,
        framework: str = "tensorflow",
        framework_version: str | None = None,
        service_account: str | None = None,
        timeout: float | timedelta | None = None,
        base_output_dir: str | None = None,
        tensorboard: str | None = None,
        restart_on_worker_restart: bool = False,
        spot: bool = False,
        network: str | None = None,
        model: str | Literal[False] | None = None,
        serving_image: str | None = None,
        labels: Mapping[str, str] | None = None,
        wait: bool = True,
        logs: bool | Stream = False,
    ) -> KerasTunerJob:
        """Search with a program that uses Keras Tuner, on one machine or many.

        The program calls ``trainer_scripts.keras_tuner_cluster.join()`` before it imports ``keras_tuner``;
        its tuner is then the chief's, which hands out trials, or a worker's, which runs them. Processes that
        die are started again, and their trials are run again. ``"trainer_scripts.keras_tuner_search"`` is
        such a program. One that is seen not to join is refused.

        Everything is checked before anything is sent, as by `Training.run`, which describes the arguments
        that are not described here.

        Args:
            program: A script, ``"trainer_scripts.NAME"``, or a package.
            workers: Machines beside the chief, which runs no trials then unless its program asks for a spare
                worker; none for a search on one machine.
            name: Display name of the job; by default the program's, with the time.
            module: What of a package ``python -m`` is to run.
            args: Arguments of the program. A ``directory`` on Cloud Storage is where the trials are looked
                for; else they are below the job's folder for checkpoints.
            env: Environment variables.
            requirements: What pip installs beside the program; ``keras-tuner`` comes with it.
            machine: Machine of the chief, and of the workers if they are given none of their own.
            worker_machine: Machine of the workers.
            image: URI of the container to run in, in place of a prebuilt one.
            framework: Whose prebuilt container to run in.
            framework_version: Version of the framework; the newest published by default.
            service_account: E-mail address of the account to run as.
            timeout: How long it may run, in seconds or as a timedelta; a week by default.
            base_output_dir: ``gs://bucket/folder`` for what it writes. A search whose folder is there already
                goes on where it was.
            tensorboard: Resource name or id of a Vertex AI TensorBoard; needs ``service_account``.
            restart_on_worker_restart: Whether the whole job starts anew when one of its machines does; the
                search then goes on.
            spot: Whether to run on spot machines.
            network: ``projects/NUMBER/global/networks/NAME`` to be peered with.
            model: Display name of the model that the program saves; False for none.
            serving_image: URI of the container that is to serve the model.
            labels: Labels for the job and its model, beside those of the session.
            wait: Whether to wait until it is over, with a table of the trials on a terminal or in a notebook,
                and a line for each trial elsewhere. On a terminal, Ctrl-C asks then whether to leave it
                running or to cancel it; elsewhere it cancels.
            logs: Whether to print its log while waiting, too.

        Returns:
            The job.

        Raises:
            PreflightFailed: Arguments or the program are wrong; it tells all that is. Nothing was sent.
            TrainingFailed: The job failed.
            Cancelled: Somebody has cancelled it.
            VertexkitError: The service refused the job.
        """
        stream_of(logs)
        check_wait(wait)
        request = TrainingRequest(
            program=program,
            name=name,
            module=module,
            args=args,
            env=env,
            requirements=requirements,
            machine=machine,
            workers=workers,
            worker_machine=worker_machine,
            image=image,
            framework=framework,
            framework_version=framework_version,
            service_account=service_account,
            timeout=timeout,
            base_output_dir=base_output_dir,
            tensorboard=tensorboard,
            restart_on_worker_restart=restart_on_worker_restart,
            spot=spot,
            network=network,
            model=model,
            serving_image=serving_image,
            labels=labels,
        )
        plan = self._plan(request)
        require(plan.findings)

        def body(uris: Sequence[str], output: str, labels: Mapping[str, str]) -> tuple[str, dict[str, Any]]:
            return training_body(
                plan, packages=uris, output=output, labels={**labels, SEARCH_LABEL: KERAS_TUNER}
            )

        job = submit_job(self._context, self._packages, plan, body, KerasTunerJob, what="keras-tuner")
        _log.info("created %s: %s", job.resource_name, plan.program and plan.program.description)
        return job.wait(logs=logs) if wait else job

    def check(
        self,
        program: str | os.PathLike[str],
        *,
        workers: int = 0,
        name: str | None = None,
        module: str | None = None,
        args: Mapping[str, object] | Sequence[str] | None = None,
        env: Mapping[str, str] | None = None,
        requirements: Sequence[str] | str | os.PathLike[str] | None = None,
        machine: Machine | str = "n1-standard-4",
        worker_machine: Machine | str | None = None,
        image: str | None = None,
        framework: str = "tensorflow",
        framework_version: str | None = None,
        service_account: str | None = None,
        timeout: float | timedelta | None = None,
        base_output_dir: str | None = None,
        tensorboard: str | None = None,
        restart_on_worker_restart: bool = False,
        spot: bool = False,
        network: str | None = None,
        model: str | Literal[False] | None = None,
        serving_image: str | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> list[Finding]:
        """Check what `run` would be refused for, without doing anything.

        Args:
            program: See `run`, as for all that follow.
            workers: Machines beside the chief.
            name: Display name of the job.
            module: What of a package ``python -m`` is to run.
            args: Arguments of the program.
            env: Environment variables.
            requirements: What pip installs beside the program.
            machine: Machine of the chief.
            worker_machine: Machine of the workers.
            image: URI of the container to run in.
            framework: Whose prebuilt container to run in.
            framework_version: Version of the framework.
            service_account: E-mail address of the account to run as.
            timeout: How long it may run.
            base_output_dir: Where it writes.
            tensorboard: Resource name or id of a Vertex AI TensorBoard.
            restart_on_worker_restart: Whether the whole job starts anew when one of its machines does.
            spot: Whether to run on spot machines.
            network: ``projects/NUMBER/global/networks/NAME`` to be peered with.
            model: Display name of the model that the program saves; False for none.
            serving_image: URI of the container that is to serve the model.
            labels: Labels for the job and its model.

        Returns:
            What is wrong, and what would do. Empty when nothing was found.
        """
        request = TrainingRequest(
            program=program,
            name=name,
            module=module,
            args=args,
            env=env,
            requirements=requirements,
            machine=machine,
            workers=workers,
            worker_machine=worker_machine,
            image=image,
            framework=framework,
            framework_version=framework_version,
            service_account=service_account,
            timeout=timeout,
            base_output_dir=base_output_dir,
            tensorboard=tensorboard,
            restart_on_worker_restart=restart_on_worker_restart,
            spot=spot,
            network=network,
            model=model,
            serving_image=serving_image,
            labels=labels,
        )
        return list(self._plan(request).findings)

    def get(self, name: str) -> KerasTunerJob:
        """Find a search, also one of another process.

        Args:
            name: Its resource name, id or display name.

        Raises:
            InvalidArgument: Several jobs have this display name, or it is no search by Keras Tuner.
            NotFound: There is none.
        """
        data = find_training_job(self._context, name, manager="keras_tuner")
        if not is_search(data.get("labels", {})):
            raise InvalidArgument(
                "name",
                name,
                "is a training job that does not search",
                remedy="find it with session.training.get",
            )
        return KerasTunerJob(self._context, data)

    def list(self, *, filter: str | None = None, order_by: str | None = None) -> list[KerasTunerJob]:
        """List the searches, the youngest first.

        Args:
            filter: Such as ``'state="RUNNING"'``; see https://google.aip.dev/160
            order_by: Such as ``"create_time desc"``.
        """
        found = list_training_jobs(self._context, filter=filter, order_by=order_by)
        return [KerasTunerJob(self._context, data) for data in found if is_search(data.get("labels", {}))]

    def _plan(self, request: TrainingRequest) -> TrainingPlan:
        asked = read_requirements(request.requirements)
        # What is wrong with them, the plan finds again.
        if not asked.findings and _PACKAGE not in asked.names:
            request = replace(request, requirements=[*asked.texts, _REQUIREMENT])
        plan = plan_training(self._context, request)
        plan = replace(plan, findings=(*plan.findings, *check_directories(plan.args)))
        if plan.program is None:
            return plan
        image = parse_training_image(plan.image) if isinstance(plan.image, str) else None
        alone = check_joins(
            plan.program, request.workers, plan.args, None if image is None else provided(image)
        )
        return replace(plan, findings=(*plan.findings, *alone))
