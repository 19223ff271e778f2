"""Machine types for training: serving's, the large ones beside them, and what differs."""

from __future__ import annotations

import pytest

from vertexkit.machines import machine_types
from vertexkit.training_machines import training_machine_types


def test_what_serves_also_trains_and_more() -> None:
    assert set(machine_types()) < set(training_machine_types())
    assert training_machine_types()["n1-standard-4"] == machine_types()["n1-standard-4"]
    assert training_machine_types()["m1-ultramem-160"].memory_gb == 3844


def test_the_smallest_n1_takes_accelerators_to_serve_and_not_to_train() -> None:
    assert machine_types()["n1-standard-2"].accelerators
    assert not training_machine_types()["n1-standard-2"].accelerators
    assert "NVIDIA_TESLA_T4" in training_machine_types()["n1-standard-4"].accelerators


@pytest.mark.parametrize("name", ["n1-standard-96", "n1-highmem-64"])
def test_a_large_n1_takes_as_many_accelerators_as_a_machine_can_have(name: str) -> None:
    accelerators = training_machine_types()[name].accelerators
    assert (accelerators["NVIDIA_TESLA_T4"], accelerators["NVIDIA_TESLA_V100"]) == ((4,), (8,))


def test_every_machine_type_goes_by_its_own_name() -> None:
    assert all(known.name == name for name, known in training_machine_types().items())
