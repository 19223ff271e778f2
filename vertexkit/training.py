"""The training jobs of a project and location: run, checked, found, listed.

API: https://cloud.google.com/vertex-ai/docs/training/overview
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Literal

from vertexkit._core.resource import Manager
from vertexkit.errors import Finding
from vertexkit.job_wait import Stream, check_wait, stream_of
from vertexkit.preflight import require
from vertexkit.training_job import CustomTrainingJob
from vertexkit.training_lookup import find_training_job, list_training_jobs
from vertexkit.training_packages import Packages
from vertexkit.training_plan import plan_training
from vertexkit.training_request import TrainingRequest
from vertexkit.training_submission import submit
from vertexkit.types import Machine

if TYPE_CHECKING:
    from vertexkit._core.context import Context

__all__ = ["CustomTrainingJob", "Training"]

_log = logging.getLogger("vertexkit")


class Training(Manager):
    """The training jobs of a session's project and location."""

    def __init__(self, context: Context) -> None:
        """Use ``session.training``."""
        super().__init__(context)
        self._packages = Packages(context)

    def run(
        self,
        program: str | os.PathLike[str] | None = None,
        *,
        name: str | None = None,
        module: str | None = None,
        args: Mapping[str, object] | Sequence[str] | None = None,
        env: Mapping[str, str] | None = None,
        requirements: Sequence[str] | str | os.PathLike[str] | None = None,
        machine: Machine | str = "n1-standard-4",
        workers: int = 0,
        parameter_servers: int = 0,
        evaluators: int = 0,
        worker_machine: Machine | str | None = None,
        parameter_server_machine: Machine | str | None = None,
        evaluator_machine: Machine | str | None = None,
        image: str | None = None,
        command: Sequence[str] | None = None,
        framework: str = "tensorflow",
        framework_version: str | None = None,
        service_account: str | None = None,
        timeout: float | timedelta | None = None,
        base_output_dir: str | None = None,
        tensorboard: str | None = None,
        dataset: str | None = None,
        restart_on_worker_restart: bool = False,
        spot: bool = False,
        network: str | None = None,
        model: str | Literal[False] | None = None,
        serving_image: str | None = None,
        labels: Mapping[str, str] | None = None,
        wait: bool = True,
        logs: bool | Stream = True,
    ) -> CustomTrainingJob:
        """Train: run a program on machines of Vertex AI, and make a model of what it writes.

        The program finds where to write in ``AIP_MODEL_DIR``, ``AIP_CHECKPOINT_DIR`` and
        ``AIP_TENSORBOARD_LOG_DIR``; what it writes to the first becomes the model. One that writes nothing
        there succeeds all the same, and the job's ``model`` is None. The package ``trainer_scripts`` travels
        with every program of this machine.

        Everything is checked before anything is sent. When the job cannot be created, what was sent is
        deleted again.

        Args:
            program: A script, with the modules beside it that it imports; ``"trainer_scripts.NAME"``; the
                folder of a package; a source folder, wheel or source distribution, local or ``gs://``. None
                for what a container image of one's own has in it.
            name: Display name of the job; by default the script's, with the time.
            module: What of a package ``python -m`` is to run.
            args: Arguments of the program: a list as it is; or values by name, written without dashes:
                ``{"epochs": 10}`` becomes ``--epochs=10``, a list repeats the argument, True becomes
                ``--name`` alone (what ``action="store_true"`` expects), False and None leave it out.
            env: Environment variables.
            requirements: What pip installs beside the program: a list, or the path of a
                ``requirements.txt``.
            machine: Machine of the chief, and of the others that are given none of their own.
            workers: Replicas beside the chief: ``workers=1`` trains on two machines.
            parameter_servers: Replicas that hold the variables.
            evaluators: Replicas that evaluate checkpoints.
            worker_machine: Machine of the workers.
            parameter_server_machine: Machine of the parameter servers.
            evaluator_machine: Machine of the evaluators.
            image: URI of the container to run in, in place of a prebuilt one.
            command: Command of a container of one's own, in place of its entry point.
            framework: Whose prebuilt container to run in: ``"tensorflow"``, ``"pytorch"``, ``"sklearn"`` or
                ``"xgboost"``; the one for GPUs where a machine has some.
            framework_version: Version of the framework, ``"2.12"``; the newest published by default.
            service_account: E-mail address of the account to run as.
            timeout: How long it may run, in seconds or as a timedelta; a week by default.
            base_output_dir: ``gs://bucket/folder`` for what it writes; by default a place of its own in the
                session's bucket.
            tensorboard: Resource name or id of a Vertex AI TensorBoard to upload the logs to; needs
                ``service_account``.
            dataset: Resource name or id of a managed dataset, which the program finds in
                ``AIP_TRAINING_DATA_URI`` and its like.
            restart_on_worker_restart: Whether the whole job starts anew when one of its replicas does.
            spot: Whether to run on spot machines, which are cheaper and may be taken away.
            network: ``projects/NUMBER/global/networks/NAME`` to be peered with.
            model: Display name of the model; ``name`` by default, or the script's name. False for a job
                without a model.
            serving_image: URI of the container that is to serve the model; by default the prebuilt one of the
                same version.
            labels: Labels for the job and its model, beside those of the session.
            wait: Whether to wait until it is over. On a terminal, Ctrl-C asks then whether to leave it
                running or to cancel it; elsewhere it cancels.
            logs: Whether to print the log while waiting; see `CustomTrainingJob.wait`.

        Returns:
            The job.

        Raises:
            InvalidArgument: Arguments or the program are wrong; it tells all that is. Nothing was sent.
            TrainingFailed: The job failed. It names the replica, its last lines and, for well-known causes,
                what would do.
            Cancelled: Somebody has cancelled it.
            VertexkitError: The service refused the job.
        """
        check_wait(wait)
        stream_of(logs)
        plan = plan_training(
            self._context,
            TrainingRequest(
                program=program,
                name=name,
                module=module,
                args=args,
                env=env,
                requirements=requirements,
                machine=machine,
                workers=workers,
                parameter_servers=parameter_servers,
                evaluators=evaluators,
                worker_machine=worker_machine,
                parameter_server_machine=parameter_server_machine,
                evaluator_machine=evaluator_machine,
                image=image,
                command=command,
                framework=framework,
                framework_version=framework_version,
                service_account=service_account,
                timeout=timeout,
                base_output_dir=base_output_dir,
                tensorboard=tensorboard,
                dataset=dataset,
                restart_on_worker_restart=restart_on_worker_restart,
                spot=spot,
                network=network,
                model=model,
                serving_image=serving_image,
                labels=labels,
            ),
        )
        require(plan.findings)
        job = submit(self._context, self._packages, plan)
        _log.info("created %s: %s", job.resource_name, plan.program and plan.program.description)
        return job.wait(logs=logs) if wait else job

    def check(
        self,
        program: str | os.PathLike[str] | None = None,
        *,
        name: str | None = None,
        module: str | None = None,
        args: Mapping[str, object] | Sequence[str] | None = None,
        env: Mapping[str, str] | None = None,
        requirements: Sequence[str] | str | os.PathLike[str] | None = None,
        machine: Machine | str = "n1-standard-4",
        workers: int = 0,
        parameter_servers: int = 0,
        evaluators: int = 0,
        worker_machine: Machine | str | None = None,
        parameter_server_machine: Machine | str | None = None,
        evaluator_machine: Machine | str | None = None,
        image: str | None = None,
        command: Sequence[str] | None = None,
        framework: str = "tensorflow",
        framework_version: str | None = None,
        service_account: str | None = None,
        timeout: float | timedelta | None = None,
        base_output_dir: str | None = None,
        tensorboard: str | None = None,
        dataset: str | None = None,
        restart_on_worker_restart: bool = False,
        spot: bool = False,
        network: str | None = None,
        model: str | Literal[False] | None = None,
        serving_image: str | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> list[Finding]:
        """Check what `run` would be refused for, or would fail of at once, without doing anything.

        Args:
            program: See `run`, as for all that follow.
            name: Display name of the job.
            module: Module to run.
            args: Arguments of the program.
            env: Environment variables.
            requirements: What pip installs.
            machine: Machine of the chief.
            workers: Replicas beside the chief.
            parameter_servers: Replicas that hold the variables.
            evaluators: Replicas that evaluate.
            worker_machine: Machine of the workers.
            parameter_server_machine: Machine of the parameter servers.
            evaluator_machine: Machine of the evaluators.
            image: Container to run in.
            command: Command of the container.
            framework: Framework of the prebuilt container.
            framework_version: Its version.
            service_account: Account to run as.
            timeout: How long it may run.
            base_output_dir: Where it writes.
            tensorboard: Vertex AI TensorBoard.
            dataset: Managed dataset.
            restart_on_worker_restart: Whether it starts anew with a replica.
            spot: Whether to run on spot machines.
            network: Network to be peered with.
            model: Display name of the model.
            serving_image: Container that serves the model.
            labels: Labels.

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
            parameter_servers=parameter_servers,
            evaluators=evaluators,
            worker_machine=worker_machine,
            parameter_server_machine=parameter_server_machine,
            evaluator_machine=evaluator_machine,
            image=image,
            command=command,
            framework=framework,
            framework_version=framework_version,
            service_account=service_account,
            timeout=timeout,
            base_output_dir=base_output_dir,
            tensorboard=tensorboard,
            dataset=dataset,
            restart_on_worker_restart=restart_on_worker_restart,
            spot=spot,
            network=network,
            model=model,
            serving_image=serving_image,
            labels=labels,
        )
        return list(plan_training(self._context, request).findings)

    def get(self, name: str) -> CustomTrainingJob:
        """Find a job, whoever started it: running or over.

        Args:
            name: Resource name, id or display name of a training pipeline or a custom job.

        Raises:
            InvalidArgument: Several jobs have this display name; the message lists them.
            NotFound: There is none.
        """
        return CustomTrainingJob(self._context, find_training_job(self._context, name))

    def list(self, *, filter: str | None = None, order_by: str | None = None) -> list[CustomTrainingJob]:
        """List the jobs.

        Args:
            filter: Such as ``'display_name="mnist"'``, ``'labels.team="vision"'`` or
                ``'state="RUNNING"'``; see https://google.aip.dev/160
            order_by: ``"create_time desc"``, the default, or another field: ``start_time``, ``end_time``,
                ``update_time``, ``display_name``.
        """
        found = list_training_jobs(self._context, filter=filter, order_by=order_by)
        return [CustomTrainingJob(self._context, data) for data in found]
