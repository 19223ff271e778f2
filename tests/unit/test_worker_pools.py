"""Worker pools: in the order of the API, what is left out in the middle as an empty message."""

from __future__ import annotations

from typing import Any

import pytest

from vertexkit.types import Machine
from vertexkit.worker_pools import check_pools, pools_of, with_gpu, worker_pool_specs

PROGRAM = {"pythonPackageSpec": {"pythonModule": "task"}}
T4 = Machine("n1-standard-8", "NVIDIA_TESLA_T4", 2)


def specs(**asked: Any) -> list[dict[str, Any]]:
    pools = pools_of(**{"machine": "n1-standard-4", **asked})
    assert check_pools(pools) == []
    return worker_pool_specs(pools, PROGRAM)


def test_a_job_on_one_machine_has_one_pool() -> None:
    assert specs() == [
        {
            "machineSpec": {"machineType": "n1-standard-4"},
            "replicaCount": 1,
            "diskSpec": {"bootDiskType": "pd-ssd", "bootDiskSizeGb": 100},
            **PROGRAM,
        }
    ]


def test_workers_are_beside_the_chief_and_on_its_machine() -> None:
    chief, workers = specs(machine=T4, workers=3)
    assert (chief["replicaCount"], workers["replicaCount"]) == (1, 3)
    assert chief["machineSpec"] == workers["machineSpec"]
    assert workers["machineSpec"] == {
        "machineType": "n1-standard-8",
        "acceleratorType": "NVIDIA_TESLA_T4",
        "acceleratorCount": 2,
    }


def test_a_pool_that_is_left_out_in_the_middle_is_empty() -> None:
    chief, workers, servers, evaluators = specs(evaluators=1, evaluator_machine="n1-highmem-4")
    assert chief["replicaCount"] == 1
    assert (workers, servers) == ({}, {})
    assert evaluators["machineSpec"] == {"machineType": "n1-highmem-4"}
    assert len(specs(parameter_servers=2)) == 3


def test_a_machine_for_replicas_that_are_not_there_is_warned_of() -> None:
    (found,) = check_pools(pools_of(machine="n1-standard-4", worker_machine="n1-standard-8"))
    assert found.warning
    assert (found.argument, found.remedy) == ("worker_machine", "give workers=, or leave it out")


def test_google_s_client_makes_the_same_of_it() -> None:
    utils = pytest.importorskip("google.cloud.aiplatform.utils.worker_spec_utils")
    pool = utils._WorkerPoolSpec
    theirs = utils._DistributedTrainingSpec(
        chief_spec=pool(replica_count=1, machine_type="n1-standard-4"),
        server_spec=pool(replica_count=2, machine_type="n1-standard-8"),
    ).pool_specs
    ours = specs(parameter_servers=2, parameter_server_machine="n1-standard-8")
    assert [
        {
            "machine_spec": {"machine_type": spec["machineSpec"]["machineType"]},
            "replica_count": spec["replicaCount"],
            "disk_spec": {"boot_disk_type": "pd-ssd", "boot_disk_size_gb": 100},
        }
        if spec
        else {}
        for spec in ours
    ] == theirs


@pytest.mark.parametrize(
    ("asked", "argument"),
    [
        ({"workers": -1}, "workers"),
        ({"parameter_servers": True}, "parameter_servers"),
        ({"evaluators": "1"}, "evaluators"),
        ({"machine": "n1-standard-5"}, "machine"),
        ({"machine": 4}, "machine"),
        ({"machine": Machine("n1-standard-4", "NVIDIA_TESLA_T4", 3)}, "accelerator_count"),
        ({"worker_machine": "x"}, "worker_machine"),
        ({"evaluator_machine": Machine("n1-standard-2", "NVIDIA_TESLA_T4")}, "evaluator_machine.accelerator"),
    ],
)
def test_what_cannot_be_a_pool_is_found_once(asked: dict[str, Any], argument: str) -> None:
    (found,) = check_pools(pools_of(**{"machine": "n1-standard-4", **asked}))
    assert found.argument == argument


def test_gpus_of_any_pool_count_and_those_of_an_empty_one_do_not() -> None:
    assert not with_gpu(pools_of(machine="n1-standard-4", worker_machine=T4))
    assert with_gpu(pools_of(machine="n1-standard-4", workers=1, worker_machine=T4))
    assert with_gpu(pools_of(machine="a2-highgpu-1g"))
    assert not with_gpu(pools_of(machine="ct5lp-hightpu-1t"))
