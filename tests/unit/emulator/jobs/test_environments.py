"""What a job's Python environment is made of, without starting any process."""

from __future__ import annotations

import io
import sys
import tarfile
import threading
import zipfile
from pathlib import Path

import pytest
from wheel_files import SETUP_PY, write_sdist, write_wheel

from vertexkit.emulator.errors import ApiError, Code
from vertexkit.emulator.jobs import pip_process
from vertexkit.emulator.jobs.environments import Environments, InstallCancelled, InstallFailed
from vertexkit.emulator.jobs.frameworks import check_framework, what_runs
from vertexkit.emulator.jobs.interpreters import base_packages
from vertexkit.emulator.jobs.pip_process import run_pip
from vertexkit.emulator.jobs.requirement_layers import has_old_protobuf_code, missing_requirements
from vertexkit.emulator.jobs.wheels import build_wheel, read_wheel, unpack
from vertexkit.training_images import TrainingImage, parse_training_image, training_image

OLD_PB2 = "_X = _descriptor.FieldDescriptor(name='x', full_name='x', index=0, number=1, type=5)"
NEW_PB2 = "DESCRIPTOR = _descriptor_pool.Default().AddSerializedFile(b'x')"


def image(version: str = "2.17", framework: str = "tensorflow") -> TrainingImage:
    parsed = parse_training_image(training_image(framework, version))
    assert parsed is not None
    return parsed


def no_say(line: str) -> None:
    raise AssertionError(line)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


@pytest.fixture
def pip_calls(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Calls of pip, which does nothing."""
    calls: list[list[str]] = []

    def noted(interpreter: object, arguments: list[str], *_: object, **settings: object) -> None:
        calls.append(list(arguments))

    for module in ("environments", "requirement_layers", "wheels"):
        monkeypatch.setattr(f"vertexkit.emulator.jobs.{module}.run_pip", noted)
    return calls


def test_a_pure_wheel_without_requirements_is_unpacked_and_pip_is_not_run(
    tmp_path: Path, home: Path, pip_calls: list[list[str]]
) -> None:
    wheel = write_wheel(tmp_path, files={"program/task.py": "print('hello')\n"})

    made = Environments(tmp_path / "cache").prepare(
        image(), [wheel], home=home, pip_settings={}, say=no_say, cancelled=threading.Event()
    )

    assert pip_calls == []
    assert {"python", "python3", "pip", "pip3"} <= {entry.name for entry in made.bin.iterdir()}
    assert [path.read_text() for path in home.rglob("task.py")] == ["print('hello')\n"]
    assert "TF_USE_LEGACY_KERAS" not in made.env


def test_requirements_that_are_installed_here_install_nothing(
    tmp_path: Path, home: Path, pip_calls: list[list[str]]
) -> None:
    wheel = write_wheel(
        tmp_path, requires=["numpy>=1.20", "google-cloud-storage", 'nothing-such; python_version < "3"']
    )

    Environments(tmp_path / "cache").prepare(
        image(), [wheel], home=home, pip_settings={}, say=no_say, cancelled=threading.Event()
    )

    assert pip_calls == []


def test_an_image_with_keras_2_has_its_jobs_run_with_it(tmp_path: Path, home: Path) -> None:
    made = Environments(tmp_path / "cache").prepare(
        image("2.15"), [], home=home, pip_settings={}, say=no_say, cancelled=threading.Event()
    )

    assert made.env["TF_USE_LEGACY_KERAS"] == "1"
    assert list(home.rglob("keras_is_tf_keras.py"))


def test_what_is_missing_is_told_from_what_the_image_brings(tmp_path: Path) -> None:
    said: list[str] = []
    base = base_packages(tmp_path)

    missing = missing_requirements(
        ["tensorflow==2.12.0", "keras==2.12", "numpy", "no-such>=1", "No.Such>=1", "vertexkit"],
        image("2.12"),
        base,
        said.append,
    )

    # A container has no vertexkit, so a program that requires it gets it from the index.
    assert missing == ("No.Such>=1", "no-such>=1", "vertexkit")
    assert len(said) == 2
    assert "tensorflow==2.12.0" in said[0]
    assert "runs with tf-keras 2." in said[1]


def test_a_requirement_that_makes_no_sense_is_named(tmp_path: Path) -> None:
    with pytest.raises(InstallFailed, match="'not a requirement'"):
        missing_requirements(["not a requirement"], image(), base_packages(tmp_path), no_say)


def test_vertexkit_is_not_among_what_a_job_sees(tmp_path: Path) -> None:
    base = base_packages(tmp_path)
    seen = {entry.name for folder in base.folders for entry in folder.iterdir()}

    assert "numpy" in seen
    assert not [name for name in seen if "vertexkit" in name or name.startswith("trainer_scripts")]
    assert base.version("vertexkit") is None
    assert base.version("numpy") is not None
    assert base_packages(tmp_path) == base


def test_a_pth_file_that_leads_to_vertexkit_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packages = tmp_path / "packages"
    packages.mkdir()
    repository = Path(sys.modules["vertexkit"].__path__[0]).parent
    (packages / "develop.pth").write_text(f"{repository}\n")
    (packages / "other.pth").write_text("import os\n/nowhere\n")
    monkeypatch.setattr("vertexkit.emulator.jobs.interpreters._site_folders", lambda: [str(packages)])

    folder = base_packages(tmp_path / "cache").folders[0]

    assert [entry.name for entry in folder.iterdir()] == ["other.pth"]


def test_vertexkit_is_left_out_however_it_was_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packages = tmp_path / "packages"
    files = {
        "vertexkit/__init__.py": "",
        "trainer_scripts/__init__.py": "",
        "other/__init__.py": "",
        "_finder_of_an_editable_install.py": "",
        "vertexkit-0.1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: vertexkit\nVersion: 0.1.0\n",
        "vertexkit-0.1.0.dist-info/RECORD": "_finder_of_an_editable_install.py,,\n../../../bin/vertexkit,,\n"
        "vertexkit-0.1.0.dist-info/METADATA,,\n",
    }
    for name, content in files.items():
        (packages / name).parent.mkdir(parents=True, exist_ok=True)
        (packages / name).write_text(content)
    monkeypatch.setattr("vertexkit.emulator.jobs.interpreters._site_folders", lambda: [str(packages)])

    folder = base_packages(tmp_path / "cache").folders[0]

    assert [entry.name for entry in folder.iterdir()] == ["other"]


@pytest.mark.parametrize("name", ["../escaped.py", "/tmp/escaped.py", "a/../../escaped.py", "a\\..\\b.py"])
def test_a_wheel_whose_entries_escape_is_refused(name: str, tmp_path: Path) -> None:
    wheel = write_wheel(tmp_path, files={"fine.py": "", name: ""})

    with pytest.raises(InstallFailed, match=r"program-1.0.*outside"):
        unpack(read_wheel(wheel), tmp_path / "site")

    assert not (tmp_path / "site").exists()


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x05\x06" + b"\0" * 18])
def test_what_is_no_wheel_is_refused_by_name(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "x-1-py3-none-any.whl").write_bytes(content)

    with pytest.raises(InstallFailed, match=r"x-1-py3-none-any\.whl"):
        read_wheel(tmp_path / "x-1-py3-none-any.whl")


def test_a_wheel_with_compiled_code_is_left_to_pip(tmp_path: Path) -> None:
    assert read_wheel(write_wheel(tmp_path)).unpackable
    assert not read_wheel(write_wheel(tmp_path, tag="cp311-cp311-linux_x86_64")).unpackable
    assert not read_wheel(write_wheel(tmp_path, files={"program-1.0.data/scripts/x": ""})).unpackable


def test_a_failed_installation_leaves_nothing_in_the_home(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object, **settings: object) -> None:
        raise InstallFailed("program could not be installed")

    monkeypatch.setattr("vertexkit.emulator.jobs.environments.run_pip", fail)
    wheel = write_wheel(tmp_path, tag="cp39-cp39-linux_x86_64")

    with pytest.raises(InstallFailed):
        Environments(tmp_path / "cache").prepare(
            image(), [wheel], home=home, pip_settings={}, say=no_say, cancelled=threading.Event()
        )

    assert list(home.iterdir()) == []


def test_a_source_distribution_is_built_once_for_its_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[str] = []

    def build(interpreter: object, arguments: list[str], what: str, *_: object, **__: object) -> None:
        built.append(what)
        assert "--no-build-isolation" in arguments
        target = Path(arguments[arguments.index("--wheel-dir") + 1])
        target.mkdir()
        write_wheel(target, "trainer")

    monkeypatch.setattr("vertexkit.emulator.jobs.wheels.run_pip", build)
    base, cache, said = base_packages(tmp_path), tmp_path / "cache", list[str]()
    files = {"setup.py": SETUP_PY.format(requires=[]), "trainer/__init__.py": "", "trainer/task.py": "1"}

    def wheel(files: dict[str, str], time: float) -> Path:
        sdist = write_sdist(tmp_path, files=files, time=time)
        return build_wheel(sdist, base, cache, said.append, threading.Event(), settings={})

    first = wheel(files, 1)
    again = wheel(files, 2)
    other = wheel(files | {"trainer/task.py": "2"}, 2)

    assert first == again != other
    assert len(built) == 2
    assert said == ["Building trainer-0.1.tar.gz."] * 2
    assert not [entry for entry in (cache / "wheels").iterdir() if entry.name.startswith(".")]


@pytest.mark.parametrize("kind", ["link", "parent", "absolute", "device"])
def test_a_source_distribution_that_escapes_is_refused(kind: str, tmp_path: Path) -> None:
    sdist = tmp_path / "bad-1.tar.gz"
    entry = tarfile.TarInfo({"parent": "../escaped", "absolute": "/etc/escaped"}.get(kind, "bad-1/x"))
    if kind == "link":
        entry.type, entry.linkname = tarfile.SYMTYPE, "../../../etc/passwd"
    if kind == "device":
        entry.type = tarfile.CHRTYPE
    with tarfile.open(sdist, "w:gz") as archive:
        archive.addfile(entry, io.BytesIO())

    with pytest.raises(InstallFailed, match=r"bad-1\.tar\.gz"):
        build_wheel(
            sdist, base_packages(tmp_path), tmp_path / "cache", no_say, threading.Event(), settings={}
        )

    assert not (tmp_path / "escaped").exists()


def test_a_zip_that_is_no_source_distribution_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("x/readme.txt", "")

    with pytest.raises(InstallFailed, match=r"neither a setup\.py nor a pyproject\.toml"):
        build_wheel(
            tmp_path / "x.zip",
            base_packages(tmp_path),
            tmp_path / "c",
            no_say,
            threading.Event(),
            settings={},
        )


@pytest.mark.parametrize(("code", "old"), [(OLD_PB2, True), (NEW_PB2, False)])
def test_generated_code_of_before_protobuf_4_is_recognized(code: str, old: bool, tmp_path: Path) -> None:
    file = tmp_path / "service_pb2.py"
    file.write_text(code)
    other = tmp_path / "service.py"
    other.write_text(OLD_PB2)

    assert has_old_protobuf_code([file, other], base_packages(tmp_path / "cache")) is old


def test_old_generated_code_of_the_program_itself_counts(tmp_path: Path, home: Path) -> None:
    wheel = write_wheel(tmp_path, files={"program/x_pb2.py": OLD_PB2})

    made = Environments(tmp_path / "cache").prepare(
        image(), [wheel], home=home, pip_settings={}, say=no_say, cancelled=threading.Event()
    )

    assert made.env["PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION"] == "python"


@pytest.mark.parametrize(
    ("output", "words"),
    [
        (
            "ERROR: Could not find a version that satisfies the requirement foo (from versions: none)\n"
            "ERROR: No matching distribution found for foo\n",
            "foo could not be installed: the package index has no such package",
        ),
        (
            "ERROR: Could not find a version that satisfies foo==9 (from versions: 1.0, 2.0)\n"
            "ERROR: No matching distribution found for foo==9\n",
            "foo==9 could not be installed: the package index has no such version. The newest are 1.0, 2.0",
        ),
        (
            "ERROR: No matching distribution found for setuptools>=40.8.0\n",
            "setuptools>=40.8.0, needed for what was asked for, could not be installed",
        ),
        (
            "WARNING: Retrying (Retry(total=1)) after connection broken by 'NewConnectionError()'\n"
            "ERROR: Could not find a version that satisfies the requirement foo (from versions: none)\n"
            "ERROR: No matching distribution found for foo\n",
            "foo could not be installed: the package index cannot be reached. Check the network",
        ),
        (
            "The conflict is caused by:\n    The user requested a==1\n    b 2 depends on a>=2\n\nTo fix",
            "contradict one another: The user requested a==1; b 2 depends on a>=2.",
        ),
        (
            "error: subprocess-exited-with-error\n  ╰─> [1 lines of output]\n      no gcc\n"
            "      [end of output]\n",
            "what was asked for could not be installed: it does not build.\nno gcc",
        ),
        ("There is no pip", "pip says:\nThere is no pip"),
    ],
)
def test_why_pip_failed_is_said_in_words(output: str, words: str) -> None:
    what = "foo==9" if "foo" in output else "what was asked for"
    assert words in pip_process._why(output, what)


def test_what_really_runs_is_said() -> None:
    new, old = what_runs(image("2.17")), what_runs(image("2.12"))

    assert "TensorFlow 2.17" in new
    assert f"Python {sys.version_info.major}.{sys.version_info.minor}" in new
    assert "tf_keras" not in new
    assert "tf_keras 2." in old


def test_an_image_whose_framework_is_not_here_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    check_framework(image())
    monkeypatch.setattr("importlib.util.find_spec", lambda module: None)

    with pytest.raises(ApiError, match=r"pytorch-xla.*PyTorch.*install torch") as refused:
        check_framework(image("2.4", "pytorch"))

    assert refused.value.code is Code.UNIMPLEMENTED


def test_an_image_for_tpu_is_refused() -> None:
    tpu = parse_training_image("us-docker.pkg.dev/vertex-ai/training/tf-tpu.2-15.cp310:latest")
    assert tpu is not None

    with pytest.raises(ApiError, match="Cloud TPU"):
        check_framework(tpu)


def test_a_cancelled_job_waits_for_no_other_jobs_installation(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started, finish, cancelled = threading.Event(), threading.Event(), threading.Event()
    environments = Environments(tmp_path / "cache")
    wheel = write_wheel(tmp_path, requires=["no-such-package"])

    def slow(*arguments: object, **settings: object) -> None:
        started.set()
        finish.wait(30)

    def prepare() -> None:
        environments.prepare(
            image(),
            [wheel],
            home=tmp_path,
            pip_settings={},
            say=lambda line: None,
            cancelled=threading.Event(),
        )

    monkeypatch.setattr("vertexkit.emulator.jobs.requirement_layers.run_pip", slow)
    other = threading.Thread(target=prepare)
    other.start()
    try:
        assert started.wait(30)
        threading.Timer(0.1, cancelled.set).start()
        with pytest.raises(InstallCancelled):
            environments.prepare(
                image(), [wheel], home=home, pip_settings={}, say=no_say, cancelled=cancelled
            )
    finally:
        finish.set()
        other.join()
    assert list(home.iterdir()) == []


def test_pip_gets_the_way_to_the_index_and_nothing_else_of_the_callers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_TARGET", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("TOKEN_OF_THE_CALLER", "secret")
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    python = tmp_path / "bin" / "python3"
    python.parent.mkdir()
    python.write_text(f'#!/bin/sh\nenv > "{tmp_path}/env"\n')
    python.chmod(0o755)

    class Fake:
        pass

    fake = Fake()
    fake.python = python  # type: ignore[attr-defined]
    run_pip(fake, ["install"], "x", threading.Event(), settings={"PIP_PRE": "1", "PIP_TARGET": "/y"})  # type: ignore[arg-type]

    env = (tmp_path / "env").read_text()
    assert "PIP_INDEX_URL=http://127.0.0.1:9/simple" in env
    assert "HTTPS_PROXY=http://127.0.0.1:9" in env
    assert "PIP_PRE=1" in env
    assert "PIP_TARGET" not in env
    assert "TOKEN_OF_THE_CALLER" not in env
