"""The table of machines: what it takes, what it refuses, and that its remedies would do."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vertexkit.machines import ACCELERATORS, RETIRED, check_machine, machine_types
from vertexkit.training_machines import check_training_machine, training_machine_types
from vertexkit.types import Machine


def errors(machine: Machine) -> list[str]:
    return [str(found) for found in check_machine(machine) if not found.warning]


@pytest.mark.parametrize(
    ("name", "vcpus", "memory_gb"),
    [
        ("e2-highcpu-32", 32, 32),
        ("n1-standard-2", 2, 7.5),
        ("n1-highcpu-4", 4, 3.6),
        ("n1-highcpu-32", 32, 28.8),
        ("n1-highmem-16", 16, 104),
        ("n2-highmem-128", 128, 864),
        ("n2d-standard-224", 224, 896),
        ("c2-standard-60", 60, 240),
        ("c2d-highcpu-112", 112, 224),
        ("c3-highcpu-22", 22, 44),
        ("a2-megagpu-16g", 96, 1360),
        ("g2-standard-96", 96, 384),
    ],
)
def test_sizes_are_those_of_the_documentation(name: str, vcpus: int, memory_gb: float) -> None:
    known = machine_types()[name]
    assert (known.vcpus, known.memory_gb) == (vcpus, memory_gb)


@pytest.mark.parametrize(
    ("machine", "accelerator", "counts"),
    [
        ("n1-standard-2", "NVIDIA_TESLA_T4", (1, 2, 4)),
        ("n1-standard-16", "NVIDIA_TESLA_T4", (1, 2, 4)),
        ("n1-standard-32", "NVIDIA_TESLA_T4", (2, 4)),
        ("n1-highmem-8", "NVIDIA_TESLA_V100", (1, 2, 4, 8)),
        ("n1-highcpu-16", "NVIDIA_TESLA_V100", (2, 4, 8)),
        ("n1-highmem-32", "NVIDIA_TESLA_V100", (4, 8)),
        ("n1-standard-32", "NVIDIA_TESLA_P4", (2, 4)),
        ("n1-standard-32", "NVIDIA_TESLA_P100", (2, 4)),
        ("g2-standard-8", "NVIDIA_L4", (1,)),
        ("g2-standard-48", "NVIDIA_L4", (4,)),
        ("a2-highgpu-4g", "NVIDIA_TESLA_A100", (1, 2, 3, 4)),
        ("a2-ultragpu-1g", "NVIDIA_A100_80GB", (1,)),
    ],
)
def test_each_machine_takes_the_numbers_of_accelerators_that_are_documented(
    machine: str, accelerator: str, counts: tuple[int, ...]
) -> None:
    allowed = tuple(count for count in range(1, 17) if not errors(Machine(machine, accelerator, count)))
    assert allowed == counts


@pytest.mark.parametrize("name", ["n1-standard-2", "g2-standard-4", "ct5lp-hightpu-1t", "e2-standard-2"])
def test_a_machine_without_accelerators_is_taken(name: str) -> None:
    assert check_machine(Machine(name)) == []


def test_too_many_accelerators_are_told_how_many_would_do() -> None:
    assert errors(Machine("n1-standard-2", "NVIDIA_TESLA_T4", 3)) == [
        "accelerator_count=3: is not a number of NVIDIA_TESLA_T4 that n1-standard-2 takes. "
        "Remedy: use 1, 2 or 4"
    ]


def test_an_accelerator_on_the_wrong_machine_is_told_the_nearest_machine_that_takes_it() -> None:
    (text,) = errors(Machine("e2-standard-4", "NVIDIA_TESLA_T4"))
    assert "not supported for machine type e2-standard-4" in text
    assert "use n1-standard-4, with 1, 2 or 4 of them" in text


def test_a_count_without_an_accelerator_is_refused() -> None:
    (text,) = errors(Machine("n1-standard-2", None, 2))
    assert "a number of accelerators of no type" in text


def test_a_retired_accelerator_is_a_warning_that_names_its_successors() -> None:
    (found,) = check_machine(Machine("n1-standard-4", "NVIDIA_TESLA_K80"))
    assert found.warning
    assert "NVIDIA_TESLA_T4" in str(found)
    assert "retired" in found.problem


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("n1-standard4", "n1-standard-4"),
        ("N1_STANDARD_4", "n1-standard-4"),
        ("g2-standrd-4", "g2-standard-4"),
    ],
)
def test_a_mistyped_machine_is_told_what_was_meant(typed: str, meant: str) -> None:
    (text,) = errors(Machine(typed))
    assert f"use {meant}" in text


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("T4", "NVIDIA_TESLA_T4"),
        ("nvidia-tesla-t4", "NVIDIA_TESLA_T4"),
        ("nvidia-l4", "NVIDIA_L4"),
        ("A100", "A100"),
    ],
)
def test_a_mistyped_accelerator_is_told_what_was_meant(typed: str, meant: str) -> None:
    (text,) = errors(Machine("n1-standard-4", typed))
    assert "use" in text
    assert meant in text


def test_cloud_tpu_machines_take_no_accelerator_by_name() -> None:
    (text,) = errors(Machine("ct5lp-hightpu-4t", "NVIDIA_L4"))
    assert "4 x Cloud TPU v5e built in" in text


def test_every_accelerator_is_one_that_the_service_knows() -> None:
    from google.cloud.aiplatform_v1.types import AcceleratorType

    assert set(ACCELERATORS) <= set(AcceleratorType.__members__)
    assert set(RETIRED) <= set(ACCELERATORS)


@given(
    st.sampled_from([*machine_types(), "n1-standard-3", ""]),
    st.sampled_from([*ACCELERATORS, "T4", None]),
    st.integers(0, 17),
)
def test_a_combination_is_taken_exactly_when_the_table_has_it(
    name: str, accelerator: str | None, count: int
) -> None:
    known = machine_types().get(name)
    if known is None:
        expected = False
    elif accelerator is None:
        expected = count == 0
    else:
        expected = count in known.accelerators.get(accelerator, ())
    assert (not errors(Machine(name, accelerator, count))) == expected


def test_the_smallest_n1_machine_that_trains_with_a_gpu_has_four_vcpus() -> None:
    asked = Machine("n1-standard-2", "NVIDIA_TESLA_T4")
    assert check_machine(asked) == []
    (found,) = check_training_machine(asked, "worker_machine")
    assert found.argument == "worker_machine.accelerator"
    assert "n1-standard-4" in str(found.remedy)
    assert check_training_machine(Machine("n1-standard-4", "NVIDIA_TESLA_T4")) == []
    assert check_training_machine(Machine("n1-standard-2")) == []


def test_machines_of_96_vcpus_train_and_do_not_serve() -> None:
    assert "n1-standard-96" not in machine_types()
    assert training_machine_types()["n1-standard-96"].memory_gb == 360
    assert check_training_machine(Machine("n1-standard-96", "NVIDIA_TESLA_V100", 8)) == []
    (found,) = check_training_machine(Machine("n1-standard-5"), "evaluator_machine")
    assert (found.argument, "trains" in found.problem) == ("evaluator_machine", True)
