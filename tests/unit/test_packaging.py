"""What is named as a training program: how it is understood, and what the wheel of it holds and runs."""

from __future__ import annotations

import os
import time
import zipfile
from pathlib import Path

import pytest
from program_folders import Write, names, writer

from vertexkit.errors import InvalidArgument
from vertexkit.packaging import understand
from vertexkit.program_files import DATA_LIMIT


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """``write({"train.py": ...})``: files in a folder of the test's own; the folder."""
    return writer(tmp_path / "user")


def test_the_same_files_make_the_same_bytes_and_others_do_not(write: Write, tmp_path: Path) -> None:
    folder = write({"train.py": "import helpers\n", "helpers.py": "X = 1\n"})

    def content(where: str) -> bytes:
        (tmp_path / where).mkdir()
        wheel = understand(folder / "train.py", requirements=["pandas"]).wheel(tmp_path / where)
        assert wheel is not None
        return wheel.read_bytes()

    first = content("a")
    os.utime(folder / "helpers.py", (0, 0))
    assert content("b") == first
    (folder / "helpers.py").write_text("X = 2\n")
    assert content("c") != first


def test_the_wheel_of_a_script_is_there_at_once(write: Write, tmp_path: Path) -> None:
    script = write({"train.py": "import helpers\n", "helpers.py": ""}) / "train.py"
    taken = []
    for _ in range(5):
        started = time.perf_counter()
        understand(script).wheel(tmp_path)
        taken.append(time.perf_counter() - started)
    assert min(taken) < 0.03


def test_a_packaged_program_is_named_by_its_module(tmp_path: Path) -> None:
    program = understand("trainer_scripts.mnist_multiworker")
    assert program.module == "trainer_scripts.mnist_multiworker"
    assert not program.findings
    wheel = program.wheel(tmp_path)
    assert wheel is not None
    held = zipfile.ZipFile(wheel).namelist()
    assert {"trainer_scripts/mnist_multiworker.py", "trainer_scripts/data/mnist_subset.npz"} <= set(held)
    assert len(held) == len(set(held))


def test_an_unknown_packaged_program_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(InvalidArgument, match="mnist_multiworker") as caught:
        understand("trainer_scripts.mnist_triple")
    assert "environment" not in str(caught.value.remedy)


@pytest.mark.parametrize(
    ("module", "words"),
    [
        (None, "give module=, such as 'pkg.task'"),
        ("task", "it has pkg.task"),
        ("pkg.tusk", "it has pkg.task"),
    ],
)
def test_a_package_that_cannot_be_run_is_refused_with_what_can(
    write: Write, module: str | None, words: str
) -> None:
    folder = write({"pkg/__init__.py": "", "pkg/task.py": ""})
    with pytest.raises(InvalidArgument, match=words):
        understand(folder / "pkg", module=module)


def test_data_beyond_the_limit_stays_and_is_told(write: Write, tmp_path: Path) -> None:
    folder = write({"pkg/__init__.py": "", "pkg/__main__.py": "", "pkg/small.bin": "x"})
    with (folder / "pkg" / "huge.bin").open("wb") as file:
        file.truncate(DATA_LIMIT + 1)
    program = understand(folder / "pkg")
    (finding,) = program.findings
    assert finding.warning
    assert "left out: pkg/huge.bin" in finding.problem
    assert names(program.wheel(tmp_path)) == {"pkg/__init__.py", "pkg/__main__.py", "pkg/small.bin"}


def test_text_counts_as_data_too(write: Write, tmp_path: Path) -> None:
    folder = write({"pkg/__init__.py": "", "pkg/__main__.py": "", "pkg/words.txt": "x"})
    with (folder / "pkg" / "huge.json").open("wb") as file:
        file.truncate(DATA_LIMIT + 1)
    assert "pkg/huge.json" not in names(understand(folder / "pkg").wheel(tmp_path))


def test_a_name_that_no_wheel_can_hold_is_refused(write: Write, tmp_path: Path) -> None:
    program = understand(write({"pkg/__init__.py": "", "pkg/__main__.py": "", "pkg/a\\b.txt": ""}) / "pkg")
    with pytest.raises(InvalidArgument, match="cannot be packed"):
        program.wheel(tmp_path)
    assert not list(tmp_path.glob("*.whl"))


def test_links_do_not_lead_out_of_the_folder(write: Write, tmp_path: Path) -> None:
    (tmp_path / "secret.py").write_text("KEY = 'secret'\n")
    folder = write({"train.py": "import secret\n", "pkg/__init__.py": "", "pkg/__main__.py": ""})
    (folder / "secret.py").symlink_to(tmp_path / "secret.py")
    (folder / "pkg" / "out.txt").symlink_to(tmp_path / "secret.py")
    (folder / "pkg" / "around").symlink_to(folder)
    script = understand(folder / "train.py")
    assert ["leads out of its folder" in found.problem for found in script.findings] == [True]
    assert names(script.wheel(tmp_path)) == {"vertexkit_program/__init__.py", "vertexkit_program/train.py"}
    package = understand(folder / "pkg")
    assert sorted(Path(str(found.value)).name for found in package.findings) == ["around", "out.txt"]
    assert all(found.warning for found in package.findings)
    assert names(package.wheel(tmp_path)) == {"pkg/__init__.py", "pkg/__main__.py"}


def test_a_script_s_neighbours_are_where_the_script_is_and_not_a_link_to_it(
    write: Write, tmp_path: Path
) -> None:
    folder = write({"real/train.py": "import helpers\n", "real/helpers.py": ""})
    (tmp_path / "link.py").symlink_to(folder / "real" / "train.py")
    assert "vertexkit_program/helpers.py" in names(understand(tmp_path / "link.py").wheel(tmp_path))


def test_a_relative_import_in_a_script_is_told(write: Write) -> None:
    (finding,) = understand(write({"train.py": "from . import helpers\n"}) / "train.py").findings
    assert "line 1" in finding.problem
    assert finding.remedy is not None
    assert "module='package.module'" in finding.remedy


def test_a_script_that_does_not_compile_is_told_with_its_line(write: Write) -> None:
    folder = write({"train.py": "import helpers\n", "helpers.py": "x = 1\ndef f(:\n"})
    (finding,) = understand(folder / "train.py").findings
    assert "helpers.py, line 2" in finding.problem
    assert finding.problem.endswith("'def f(:'")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("train.ipynb", "jupyter nbconvert --to script train.ipynb"),
        ("train.sh", "no Python script"),
        ("__init__.py", "is a package"),
    ],
)
def test_what_is_no_script_is_refused_with_what_would_do(write: Write, name: str, words: str) -> None:
    with pytest.raises(InvalidArgument, match=words):
        understand(write({name: ""}) / name)


def test_what_is_not_there_is_refused_with_what_is(write: Write) -> None:
    folder = write({"train.py": ""})
    with pytest.raises(InvalidArgument, match=r"there is '.*train\.py'"):
        understand(folder / "trian.py")
    with pytest.raises(InvalidArgument, match=r"module='pkg\.task'"):
        understand("pkg.task")
    with pytest.raises(InvalidArgument, match=r"^program='nowhere\.py': does not exist"):
        understand("nowhere.py")
    with pytest.raises(InvalidArgument, match="no __init__"):
        understand(folder)
    for wrong in (None, 3, ""):
        with pytest.raises(InvalidArgument, match="is no program"):
            understand(wrong)  # type: ignore[arg-type]


def test_a_module_is_refused_where_it_is_known_already(write: Write) -> None:
    script = write({"train.py": ""}) / "train.py"
    for program in (script, "trainer_scripts.mnist_single"):
        with pytest.raises(InvalidArgument, match="leave it out"):
            understand(program, module="other")
    with pytest.raises(InvalidArgument, match="no name of a module"):
        understand(script, module="not a module")


def test_a_script_that_has_gone_since_is_refused(write: Write, tmp_path: Path) -> None:
    script = write({"train.py": ""}) / "train.py"
    program = understand(script)
    script.unlink()
    with pytest.raises(InvalidArgument, match=r"train\.py.*cannot be read"):
        program.wheel(tmp_path)
    assert not list(tmp_path.glob("*.whl*")) + list(tmp_path.glob(".vertexkit*"))


def test_a_wheel_for_one_kind_of_machine_or_none_at_all_is_refused(tmp_path: Path) -> None:
    compiled = tmp_path / "x-1-cp311-cp311-linux_x86_64.whl"
    with zipfile.ZipFile(compiled, "w") as archive:
        archive.writestr("x.py", "")
        archive.writestr("x-1.dist-info/METADATA", "Name: x\nVersion: 1\n")
        archive.writestr("x-1.dist-info/WHEEL", "Tag: cp311-cp311-linux_x86_64\n")
    with pytest.raises(InvalidArgument, match="compiled"):
        understand(compiled, module="x").wheel(tmp_path)
    escaping = tmp_path / "y-1-py3-none-any.whl"
    with zipfile.ZipFile(escaping, "w") as archive:
        archive.writestr("y.py", "")
        archive.writestr("../../etc/y.py", "")
    with pytest.raises(InvalidArgument, match="leads out"):
        understand(escaping, module="y").wheel(tmp_path)
    (tmp_path / "z.whl").write_text("nothing")
    with pytest.raises(InvalidArgument, match="no wheel"):
        understand(tmp_path / "z.whl", module="z")


def test_a_package_in_a_bucket_is_taken_as_it_is(tmp_path: Path) -> None:
    program = understand("gs://my-bucket/pkg-1.0.tar.gz", module="pkg.task")
    assert (program.uri, program.module) == ("gs://my-bucket/pkg-1.0.tar.gz", "pkg.task")
    assert program.wheel(tmp_path) is None
    asking = understand("gs://my-bucket/pkg-1.0.tar.gz", module="pkg.task", requirements=["tqdm"])
    wheel = asking.wheel(tmp_path)
    assert wheel is not None
    assert names(wheel) == set()
    metadata = "vertexkit_program_requirements-1.0.dist-info/METADATA"
    assert b"Requires-Dist: tqdm" in zipfile.ZipFile(wheel).read(metadata)


@pytest.mark.parametrize(
    ("uri", "module", "words"),
    [
        ("gs://my-bucket/train.py", "m", "neither a wheel nor"),
        ("gs://my-bucket/p.whl", None, "no module is given"),
        ("gs://B/p.whl", "m", "bucket"),
    ],
)
def test_a_package_in_a_bucket_that_cannot_be_one_is_refused(
    uri: str, module: str | None, words: str
) -> None:
    with pytest.raises(InvalidArgument, match=words):
        understand(uri, module=module)
