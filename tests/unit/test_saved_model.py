"""SavedModels: their signatures, read without TensorFlow."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format
from hypothesis import given
from hypothesis import strategies as st

from vertexkit.artifacts import check_artifact
from vertexkit.errors import InvalidArgument
from vertexkit.saved_model import _message_class, read_saved_model
from vertexkit.types import Signature, TensorSpec

IMAGES = TensorSpec("images", "uint8", (None, 28, 28))
PROBABILITIES = TensorSpec("output_0", "float32", (None, 10))
SIGNATURE = Signature({"images": IMAGES}, {"output_0": PROBABILITIES})


def write(folder: Path, **graph: Any) -> Path:
    """A folder with a ``saved_model.pb`` of one graph, given as protobuf's JSON."""
    folder.mkdir(parents=True, exist_ok=True)
    message = json_format.ParseDict({"metaGraphs": [graph]}, _message_class()())
    (folder / "saved_model.pb").write_bytes(message.SerializeToString())
    return folder


def serving(folder: Path, name: str = "serving_default") -> Path:
    shape = {"dim": [{"size": -1}, {"size": 2}]}
    tensors = {"x": {"dtype": 1, "tensorShape": shape}}
    definition = {"inputs": tensors, "outputs": tensors}
    info = {"tags": ["serve"], "tensorflowVersion": "2.21.0"}
    return write(folder, metaInfoDef=info, signatureDef={name: definition})


def refusal(folder: Path) -> str:
    with pytest.raises(InvalidArgument) as caught:
        read_saved_model(folder)
    assert caught.value.argument == "artifact"
    return str(caught.value)


# Folders that are not what they should be --------------------------------------------------------


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    assert "does not exist" in refusal(tmp_path / "mnist")


def test_a_folder_without_a_model_says_what_is_there(tmp_path: Path) -> None:
    assert "it is empty" in refusal(tmp_path)
    (tmp_path / "weights.bin").touch()
    (tmp_path / "assets").mkdir()
    message = refusal(tmp_path)
    assert "(it holds assets/, weights.bin)" in message
    assert "model.export(folder)" in message


@pytest.mark.parametrize("name", ["model.keras", "model.h5"])
def test_a_keras_file_is_told_how_to_become_a_saved_model(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    for place in (tmp_path, tmp_path / name):
        message = refusal(place)
        assert f"{name} is a model for Keras, not for serving" in message
        assert f"load_model('{tmp_path / name}').export(folder)" in message


def test_the_folder_above_a_version_names_the_version(tmp_path: Path) -> None:
    serving(tmp_path / "0001")
    assert f"give {tmp_path / '0001'}, which holds it" in refusal(tmp_path)
    serving(tmp_path / "0002")
    assert "give one of its versions: 0001, 0002" in refusal(tmp_path)


def test_the_file_itself_names_its_folder(tmp_path: Path) -> None:
    serving(tmp_path)
    assert "give the folder that holds it" in refusal(tmp_path / "saved_model.pb")


def test_a_text_saved_model_is_not_served(tmp_path: Path) -> None:
    (tmp_path / "saved_model.pbtxt").touch()
    assert "binary form" in refusal(tmp_path)


def test_a_torn_file_is_told_from_a_whole_one(tmp_path: Path) -> None:
    whole = (serving(tmp_path) / "saved_model.pb").read_bytes()
    for length in range(1, len(whole)):
        (tmp_path / "saved_model.pb").write_bytes(whole[:length])
        assert "saved_model.pb" in refusal(tmp_path)


@given(st.binary(min_size=1))
def test_bytes_that_are_no_saved_model_are_refused(tmp_path_factory: Any, data: bytes) -> None:
    folder = tmp_path_factory.mktemp("model")
    (folder / "saved_model.pb").write_bytes(data)
    refusal(folder)


def test_a_model_without_the_serving_signature_names_those_it_has(tmp_path: Path) -> None:
    message = refusal(serving(tmp_path, "classify"))
    assert "(it has: classify)" in message
    assert "model.export(folder)" in message
    internal = refusal(serving(tmp_path / "b", "__saved_model_init_op"))
    assert "(it has: none)" in internal


def test_a_graph_that_is_not_for_serving_is_refused(tmp_path: Path) -> None:
    assert "tagged 'serve' (it has: [('train',)])" in refusal(
        write(tmp_path, metaInfoDef={"tags": ["train"]})
    )


def test_a_signature_that_takes_or_gives_nothing_is_refused(tmp_path: Path) -> None:
    tensors = {"x": {"dtype": 1}}
    info = {"tags": ["serve"]}
    for given_tensors, word in (({"outputs": tensors}, "inputs"), ({"inputs": tensors}, "outputs")):
        folder = tmp_path / word
        write(folder, metaInfoDef=info, signatureDef={"serving_default": given_tensors})
        assert f"has no {word}" in refusal(folder)


def test_the_argument_is_called_as_the_caller_calls_it(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match=r"^folder="):
        read_saved_model(tmp_path, argument="folder")


def test_outputs_are_in_their_natural_order(tmp_path: Path) -> None:
    tensors = {f"output_{number}": {"dtype": 1} for number in (10, 2, 0, 1)}
    definition = {"inputs": {"x": {"dtype": 7}}, "outputs": tensors}
    info = read_saved_model(
        write(tmp_path, metaInfoDef={"tags": ["serve"]}, signatureDef={"serving_default": definition})
    )
    assert list(info.default.outputs) == ["output_0", "output_1", "output_2", "output_10"]
    assert info.default.inputs["x"] == TensorSpec("x", "string", None)


def test_files_and_bytes_are_counted_below_the_folder_too(tmp_path: Path) -> None:
    folder = serving(tmp_path)
    (folder / "variables").mkdir()
    (folder / "variables" / "variables.data").write_bytes(b"x" * 1000)
    info = read_saved_model(folder)
    assert info.files == 2
    assert info.size_bytes == 1000 + (folder / "saved_model.pb").stat().st_size
    assert info.tensorflow_version == "2.21.0"


def test_reading_imports_no_tensorflow(tmp_path: Path) -> None:
    folder = serving(tmp_path)
    program = (
        "import sys; from vertexkit.saved_model import read_saved_model; "
        f"read_saved_model({str(folder)!r}); "
        "print([name for name in ('tensorflow', 'numpy', 'grpc') if name in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


# Models that TensorFlow and Keras wrote ----------------------------------------------------------


@pytest.fixture(scope="module")
def real_models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders written by Keras 3, tf_keras and TensorFlow, in one process of their own."""
    root = tmp_path_factory.mktemp("models")
    program = Path(__file__).with_name("write_saved_models.py")
    subprocess.run([sys.executable, str(program), str(root)], check=True, capture_output=True, timeout=240)
    return {folder.name: folder for folder in root.iterdir()}


def spec(name: str, dtype: str, *shape: int | None) -> tuple[str, TensorSpec]:
    return name, TensorSpec(name, dtype, shape)


REAL: dict[str, Signature] = {
    "keras": SIGNATURE,
    "keras_two_inputs": Signature(
        dict([spec("age", "float32", None, 1), spec("name", "string", None, 1)]),
        dict([spec("output_0", "float32", None, 1), spec("output_1", "float32", None, 1)]),
    ),
    "tf_keras": Signature(
        dict([spec("images", "uint8", None, 28, 28)]), dict([spec("probabilities", "float32", None, 10)])
    ),
    "function": Signature(
        dict([spec("ids", "int64", None), spec("flags", "bool", 4, 2), spec("half", "float16", None)]),
        {
            "ids": TensorSpec("ids", "uint64", (None,)),
            "text": TensorSpec("text", "string", (None,)),
            "any": TensorSpec("any", "float16", None),
        },
    ),
}


@pytest.mark.parametrize("name", REAL)
def test_real_models_are_read_as_they_were_written(real_models: dict[str, Path], name: str) -> None:
    info = read_saved_model(real_models[name])
    assert info.default == REAL[name]
    assert info.tensorflow_version.startswith("2.")
    assert info.files >= 2


def test_other_signatures_of_a_model_are_named_too(real_models: dict[str, Path]) -> None:
    assert set(read_saved_model(real_models["function"]).signatures) == {"serving_default", "other"}


@pytest.mark.parametrize("lost", ["variables", "variables/variables.index", "variables/variables.data-*"])
def test_a_model_whose_weights_stayed_behind_is_refused(
    real_models: dict[str, Path], tmp_path: Path, lost: str
) -> None:
    folder = shutil.copytree(real_models["keras"], tmp_path / "copy")
    for path in folder.glob(lost):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    (found,) = check_artifact(folder)
    assert "has no weights" in found.problem
    assert not check_artifact(real_models["keras"])
