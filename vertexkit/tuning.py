"""The hyperparameter tuning jobs of a project and location: run, checked, found, listed.

API: https://cloud.google.com/vertex-ai/docs/training/hyperparameter-tuning-overview
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from vertexkit._core.lookup import find, listed, parent
from vertexkit._core.resource import Manager
from vertexkit.early_stopping import EarlyStopping
from vertexkit.errors import Finding
from vertexkit.job_state import naming_states
from vertexkit.job_wait import Stream, check_wait, stream_of
from vertexkit.preflight import require
from vertexkit.spaces import Space
from vertexkit.training_lookup import in_order
from vertexkit.training_packages import Packages
from vertexkit.training_request import TrainingRequest
from vertexkit.training_submission import submit_job
from vertexkit.tuning_body import TUNING_JOBS, tuning_body
from vertexkit.tuning_job import HyperparameterTuningJob
from vertexkit.tuning_plan import plan_tuning
from vertexkit.tuning_request import Algorithm, Goal, Selection, TuningRequest
from vertexkit.types import Machine

if TYPE_CHECKING:
    from vertexkit._core.context import Context

__all__ = ["HyperparameterTuningJob", "Tuning"]

_log = logging.getLogger("vertexkit")


class Tuning(Manager):
    """The hyperparameter tuning jobs of a session's project and location."""

    def __init__(self, context: Context) -> None:
        """Use ``session.tuning``."""
        super().__init__(context)
        self._packages = Packages(context)

    def run(
        self,
        program: str | os.PathLike[str] | None = None,
        *,
        metric: str | Mapping[str, Goal],
        space: Space,
        trials: int,
        maximize: bool = True,
        parallel: int | None = None,
        max_failed: int | None = None,
        algorithm: Algorithm | None = None,
        early_stopping: EarlyStopping | None = None,
        measurement_selection: Selection = "last",
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
        restart_on_worker_restart: bool = False,
        spot: bool = False,
        network: str | None = None,
        labels: Mapping[str, str] | None = None,
        wait: bool = True,
        logs: bool | Stream = False,
    ) -> HyperparameterTuningJob:
        """Search for the hyperparameters with which a program does best.

        Every trial runs the program with other values of the space, as arguments: ``--learning_rate=0.01``.
        It reports how good they are with ``hypertune.HyperTune().report_hyperparameter_tuning_metric(...)``
        (``pip install cloudml-hypertune``); a trial that writes a SavedModel to ``AIP_MODEL_DIR`` can be made
        a model with `Trial.model`.

        Everything is checked before anything is sent: the space, and, where the program's source can be
        read, whether it takes the arguments and reports the metric. When the job cannot be created, what was
        sent is deleted again.

        Args:
            program: A script, ``"trainer_scripts.NAME"``, a package or a container's own; see `Training.run`.
            metric: What the program reports by cloudml-hypertune: ``"accuracy"``, or several with their
                goals: ``{"accuracy": "maximize", "latency": "minimize"}``.
            space: What to search through: `Double`, `Integer`, `Categorical` and `Discrete` by the name of
                the program's argument.
            trials: How many trials to run, at most.
            maximize: Whether more of the one metric is better.
            parallel: How many run at a time; 2 by default. The fewer, the more each can learn from those
                before it.
            max_failed: How many trials may come to nothing before the job fails; by default Vertex AI
                decides.
            algorithm: ``"random"`` or ``"grid"``; by default Vertex AI's own, which learns from the trials.
            early_stopping: ``"median"``, ``"decay_curve"``, ``"convex"`` or a `MedianStopping`,
                `DecayCurveStopping` or `ConvexStopping`: by which rule to stop trials that will come to
                nothing. The program must report its metric while it trains.
            measurement_selection: Which report is the metric of a trial: its ``"last"``, which is that of the
                model it has written, or its ``"best"``.
            name: Display name of the job; by default the script's, with the time.
            module: What of a package ``python -m`` is to run.
            args: Arguments that are the same for every trial; see `Training.run`.
            env: Environment variables.
            requirements: What pip installs beside the program: a list, or the path of a
                ``requirements.txt``.
            machine: Machine of each trial's chief, and of its others that are given none of their own.
            workers: Replicas of a trial beside its chief.
            parameter_servers: Replicas of a trial that hold the variables.
            evaluators: Replicas of a trial that evaluate checkpoints.
            worker_machine: Machine of the workers.
            parameter_server_machine: Machine of the parameter servers.
            evaluator_machine: Machine of the evaluators.
            image: URI of the container to run in, in place of a prebuilt one.
            command: Command of a container of one's own, in place of its entry point.
            framework: Whose prebuilt container to run in; see `Training.run`.
            framework_version: Version of the framework; the newest published by default.
            service_account: E-mail address of the account to run as.
            timeout: How long each trial may run, in seconds or as a timedelta.
            base_output_dir: ``gs://bucket/folder`` for what the trials write, each below its id; by default a
                place of the job's own in the session's bucket.
            tensorboard: Resource name or id of a Vertex AI TensorBoard; needs ``service_account``.
            restart_on_worker_restart: Whether a whole trial starts anew when one of its replicas does.
            spot: Whether to run on spot machines, which are cheaper and may be taken away.
            network: ``projects/NUMBER/global/networks/NAME`` to be peered with.
            labels: Labels for the job, beside those of the session.
            wait: Whether to wait until it is over, with a table of the trials on a terminal or in a notebook,
                and a line for each trial elsewhere. On a terminal, Ctrl-C asks then whether to leave it
                running or to cancel it; elsewhere it cancels.
            logs: Whether to print what the trials print, while waiting; see `HyperparameterTuningJob.wait`.

        Returns:
            The job.

        Raises:
            PreflightFailed: Arguments, the space or the program are wrong; it tells all that is. Nothing was
                sent.
            TuningFailed: The job failed. It names trials that came to nothing and why, and the last lines of
                the first of them.
            Cancelled: Somebody has cancelled it.
            VertexkitError: The service refused the job.
        """
        request = TuningRequest(
            trial=TrainingRequest(
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
                restart_on_worker_restart=restart_on_worker_restart,
                spot=spot,
                network=network,
                labels=labels,
                model=False,
            ),
            metric=metric,
            space=space,
            trials=trials,
            maximize=maximize,
            parallel=parallel,
            max_failed=max_failed,
            algorithm=algorithm,
            early_stopping=early_stopping,
            measurement_selection=measurement_selection,
        )
        check_wait(wait)
        stream_of(logs)
        plan = plan_tuning(self._context, request)
        require(plan.findings)

        def body(uris: Sequence[str], output: str, labels: Mapping[str, str]) -> tuple[str, dict[str, Any]]:
            return tuning_body(plan, packages=uris, output=output, labels=labels)

        job = submit_job(
            self._context, self._packages, plan.trial, body, HyperparameterTuningJob, what="tuning"
        )
        _log.info("created %s: %s", job.resource_name, plan.trial.program and plan.trial.program.description)
        return job.wait(logs=logs) if wait else job

    def check(
        self,
        program: str | os.PathLike[str] | None = None,
        *,
        metric: str | Mapping[str, Goal],
        space: Space,
        trials: int,
        maximize: bool = True,
        parallel: int | None = None,
        max_failed: int | None = None,
        algorithm: Algorithm | None = None,
        early_stopping: EarlyStopping | None = None,
        measurement_selection: Selection = "last",
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
        restart_on_worker_restart: bool = False,
        spot: bool = False,
        network: str | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> list[Finding]:
        """Check what `run` would be refused for, or would fail of at once, without doing anything.

        Args:
            program: See `run`, as for all that follow.
            metric: What the program reports.
            space: What to search through.
            trials: How many trials to run.
            maximize: Whether more of the one metric is better.
            parallel: How many run at a time.
            max_failed: How many trials may come to nothing before the job fails.
            algorithm: How the points of the space are chosen.
            early_stopping: By which rule to stop trials that will come to nothing.
            measurement_selection: Which report is the metric of a trial.
            name: Display name of the job.
            module: What of a package ``python -m`` is to run.
            args: Arguments that are the same for every trial.
            env: Environment variables.
            requirements: What pip installs beside the program.
            machine: Machine of each trial's chief.
            workers: Replicas of a trial beside its chief.
            parameter_servers: Replicas of a trial that hold the variables.
            evaluators: Replicas of a trial that evaluate checkpoints.
            worker_machine: Machine of the workers.
            parameter_server_machine: Machine of the parameter servers.
            evaluator_machine: Machine of the evaluators.
            image: URI of the container to run in.
            command: Command of a container of one's own.
            framework: Whose prebuilt container to run in.
            framework_version: Version of the framework.
            service_account: E-mail address of the account to run as.
            timeout: How long each trial may run.
            base_output_dir: Where the trials write.
            tensorboard: Resource name or id of a Vertex AI TensorBoard.
            restart_on_worker_restart: Whether a whole trial starts anew when one of its replicas does.
            spot: Whether to run on spot machines.
            network: ``projects/NUMBER/global/networks/NAME`` to be peered with.
            labels: Labels for the job.

        Returns:
            What is wrong, and what would do. Empty when nothing was found.
        """
        request = TuningRequest(
            trial=TrainingRequest(
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
                restart_on_worker_restart=restart_on_worker_restart,
                spot=spot,
                network=network,
                labels=labels,
                model=False,
            ),
            metric=metric,
            space=space,
            trials=trials,
            maximize=maximize,
            parallel=parallel,
            max_failed=max_failed,
            algorithm=algorithm,
            early_stopping=early_stopping,
            measurement_selection=measurement_selection,
        )
        return list(plan_tuning(self._context, request).findings)

    def get(self, name: str) -> HyperparameterTuningJob:
        """Find a job, whoever started it: running or over.

        Args:
            name: Its resource name, id or display name.

        Raises:
            InvalidArgument: Several jobs have this display name; the message lists them.
            NotFound: There is none.
        """
        return HyperparameterTuningJob(
            self._context, find(self._context, TUNING_JOBS, name, manager="tuning")
        )

    def list(
        self, *, filter: str | None = None, order_by: str | None = None
    ) -> list[HyperparameterTuningJob]:
        """List the jobs.

        Args:
            filter: Such as ``'display_name="mnist"'`` or ``'state="RUNNING"'``; see
                https://google.aip.dev/160
            order_by: ``"create_time desc"``, the default, or another field: ``start_time``, ``end_time``,
                ``update_time``, ``display_name``.
        """
        path, only = f"{parent(self._context)}/{TUNING_JOBS}", naming_states(filter, "JOB_STATE_")
        found = in_order(listed(self._context, path, TUNING_JOBS, filter=only), order_by)
        return [HyperparameterTuningJob(self._context, data) for data in found]
