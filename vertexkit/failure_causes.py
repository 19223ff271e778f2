"""Why training programs fail, as their last words tell: well-known causes, and what would do.

Each clue is a pattern of what Python, pip, argparse, TensorFlow or Google's clients print, and what it
means. Where none is found nothing is guessed.
"""

from __future__ import annotations

import re
import signal as signals
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from vertexkit.distributions import distribution_of

__all__ = ["MORE_MEMORY", "lost_peer", "remedy_for"]

_TRACEBACK: Final = "Traceback (most recent call last):"
_CHAINED: Final = (
    "During handling of the above exception, another exception occurred:",
    "The above exception was the direct cause of the following exception:",
)
_LAST_LINES: Final = 40
"""Where there is no traceback: how far from its end a program still says what ends it."""
_AFTER_TRACEBACK: Final = 60
"""How many lines may follow an exception that has ended a program."""

MORE_MEMORY: Final = (
    "let it take less memory, with a smaller batch or by reading the data piece by piece, or give it a "
    'machine with more: machine="n1-highmem-8"'
)
_MORE_GPU_MEMORY: Final = "take a smaller batch, or an accelerator with more memory"
_NATIVE_CRASH: Final = (
    'a native library crashed: to see where, run it with env={"PYTHONFAULTHANDLER": "1"}; packages whose '
    "versions do not go together are the usual reason"
)
_POOLS: Final = {"chief": 0, "master": 0, "worker": 1, "ps": 2, "evaluator": 3}
"""The worker pool of each type of task in TF_CONFIG."""


@dataclass(frozen=True)
class Ending:
    """All that is known of how a replica ended."""

    lines: tuple[str, ...]
    exit_code: int | None
    signal: int | None


Remedy = Callable[[re.Match[str], Ending], str | None]


@dataclass(frozen=True)
class _Clue:
    pattern: re.Pattern[str]
    remedy: Remedy


def remedy_for(lines: Sequence[str], *, exit_code: int | None, signal: int | None) -> str | None:
    """What would do about a failure, where the cause is well known.

    Args:
        lines: The last lines of the replica's log, some hundreds of them.
        exit_code: What it exited with, or None.
        signal: Number of the signal that ended it, or None.
    """
    ending = Ending(tuple(_last_words(lines)), exit_code, signal)
    text = "\n".join(ending.lines)
    found: list[tuple[int, int, str]] = []
    for order, clue in enumerate(_CLUES):
        for match in clue.pattern.finditer(text):
            remedy = clue.remedy(match, ending)
            if remedy is not None:
                found.append((text.count("\n", 0, match.start()), -order, remedy))
    # The last is what ended it: what was caught, and told of, came before.
    if found:
        return max(found)[2]
    return _of_signal(signal)


def lost_peer(lines: Sequence[str]) -> str | None:
    """The replica whose end brought this one down, if its last words name it: ``workerpool1-0``."""
    text = "\n".join(_last_words(lines))
    found = _LOST_PEER.findall(text)
    if not found:
        return None
    kind, index = found[-1]
    return f"workerpool{_POOLS[kind]}-{index}"


_LOST_PEER: Final = re.compile(
    r"(?:unhealthy \(stopped sending heartbeats\):\n"
    r"|Additional GRPC error information from remote target )"
    r"/job:(chief|master|worker|ps|evaluator)/replica:0/task:(\d+)"
)


def _last_words(lines: Sequence[str]) -> Sequence[str]:
    """The traceback that ended a program, with those that led to it; else its last lines."""
    start = next((at for at in range(len(lines) - 1, -1, -1) if lines[at].strip() == _TRACEBACK), None)
    if start is None:
        return lines[-_LAST_LINES:]
    raised = next((at for at in range(start + 1, len(lines)) if lines[at][:1].strip()), start)
    if len(lines) - raised > _AFTER_TRACEBACK:
        return lines[-_LAST_LINES:]
    while True:
        before = [at for at in range(max(start - 3, 0), start) if lines[at].strip() in _CHAINED]
        earlier = next((at for at in range(start - 1, -1, -1) if lines[at].strip() == _TRACEBACK), None)
        if not before or earlier is None:
            return lines[start:]
        start = earlier


def _of_signal(signal: int | None) -> str | None:
    if signal == signals.SIGKILL:
        return f"the system kills so what runs out of memory: {MORE_MEMORY}"
    if signal in {signals.SIGSEGV, signals.SIGBUS, signals.SIGILL, signals.SIGABRT}:
        return _NATIVE_CRASH
    if signal == signals.SIGTERM:
        return (
            "it was told to end: give it a longer timeout= if it ran into that, and on spot machines "
            "restart_on_worker_restart=True with checkpoints to go on from"
        )
    return None


# -- what the clues mean -----------------------------------------------------------------------


def _missing_module(found: re.Match[str], _: Ending) -> str:
    name = found["name"]
    top = name.partition(".")[0]
    if top == "vertexkit":
        return "a job has nothing of vertexkit: import `trainer_scripts` instead, which travels with it"
    if name == "trainer_scripts":
        return (
            "trainer_scripts travels with programs of your machine, not with a package that is in a bucket "
            "already: give the local one"
        )
    if top == "trainer_scripts":
        return f"trainer_scripts has no module {name!r}"
    return (
        f'add requirements=["{distribution_of(top)}"]; if {top!r} is a module of yours, put it into one '
        "package with the program, and give the package's folder"
    )


def _missing_program(found: re.Match[str], _: Ending) -> str:
    name = found["found"] or found["specified"]
    return f"the package has no module {name!r}: name the module as it is in the package"


def _missing_name(found: re.Match[str], _: Ending) -> str:
    package = distribution_of(found["module"].partition(".")[0])
    return (
        f"the version of {package} there has no {found['name']!r}: "
        f'pin the one that you use, requirements=["{package}==..."]'
    )


def _missing_library(found: re.Match[str], _: Ending) -> str:
    library = found["library"]
    if library.startswith(("libGL.", "libgthread", "libSM.", "libXext", "libXrender")):
        return 'take requirements=["opencv-python-headless"] in place of opencv-python: no screen is there'
    if library.startswith(("libcuda", "libcudart", "libcudnn", "libcublas", "libnvinfer")):
        return _no_gpu()
    return f"the image has no {library}: take an image that has it, or a package that brings it along"


def _no_gpu() -> str:
    return (
        'there is no GPU: give machine=Machine("n1-standard-4", accelerator="NVIDIA_TESLA_T4"), with which '
        "the image for GPUs is taken, or let the program do without"
    )


def _no_device(_: re.Match[str], __: Ending) -> str:
    return _no_gpu()


def _out_of_memory(found: re.Match[str], _: Ending) -> str:
    on_gpu = re.search(r"device:GPU|GPU_\d+_bfc|CUDA", found[0])
    return _MORE_GPU_MEMORY if on_gpu else MORE_MEMORY


def _wrong_argument(found: re.Match[str], _: Ending) -> str:
    return f"correct args=: the program says {found['why'].strip()!r}"


def _argparse(found: re.Match[str], ending: Ending) -> str | None:
    is_usage = any(line.lower().startswith("usage:") for line in ending.lines)
    return _wrong_argument(found, ending) if is_usage and ending.exit_code in {2, None} else None


def _missing_object(found: re.Match[str], _: Ending) -> str:
    return _no_object((found["uri"] or found["uri_"]).rstrip("/"))


def _missing_by_api(found: re.Match[str], _: Ending) -> str:
    return _no_object(f"gs://{found['bucket']}/{found['object']}")


def _missing_bucket(found: re.Match[str], _: Ending) -> str:
    return f"there is no bucket gs://{found['bucket']}: correct its name, or create it"


def _missing_mounted(found: re.Match[str], _: Ending) -> str:
    return _no_object(f"gs://{found['path']}")


def _no_object(uri: str) -> str:
    return f"there is no {uri}: correct the path, or upload it; buckets and names are case-sensitive"


def _opened_plainly(found: re.Match[str], _: Ending) -> str:
    return (
        f"open() knows no gs:// paths: open '/gcs/{found['path']}', where buckets are mounted, or use "
        "tf.io.gfile.GFile"
    )


def _missing_file(found: re.Match[str], ending: Ending) -> str | None:
    path = found["path"]
    if any("subprocess.py" in line for line in ending.lines):
        return f"the image has no program {path!r}: take an image that has it, or do without"
    is_local = not path.startswith(("/", "gs:")) or path.startswith(("/home/", "/Users/", "/root/"))
    if not is_local:
        return None
    return (
        f"{path!r} has not travelled with the job: upload it and name it by its gs:// URI, or put it into "
        "the package's folder and find it beside __file__"
    )


def _denied(found: re.Match[str], _: Ending) -> str:
    what = found.groupdict().get("permission") or "access to Cloud Storage"
    return (
        f"the job's service account lacks {what}: grant it a role that holds it, such as "
        "roles/storage.objectAdmin on the bucket, or run the job as another with service_account="
    )


def _port_taken(_: re.Match[str], __: Ending) -> str:
    return (
        "a port was taken already: let the program listen on port 0, or start no second server on the port "
        "that TF_CONFIG gives its replica; a strategy starts one itself, and can be made once only"
    )


def _not_installable(found: re.Match[str], _: Ending) -> str:
    return (
        f"pip found no {found['what'].strip()}: correct its name or version in requirements, or take an "
        "image with a Python that it supports"
    )


def _conflicting(_: re.Match[str], __: Ending) -> str:
    return "the requirements contradict one another, or the image: loosen a version among them"


def _not_built(found: re.Match[str], _: Ending) -> str:
    return f"pip could not build {found['what']}: take a version that has a wheel for the image's Python"


def _disk_full(_: re.Match[str], __: Ending) -> str:
    return (
        "the disk is full: write to the bucket (AIP_MODEL_DIR, AIP_CHECKPOINT_DIR) rather than to the "
        "machine, keep fewer checkpoints, or take a larger disk"
    )


def _missing_variable(found: re.Match[str], _: Ending) -> str:
    name = found["name"]
    if name == "TF_CONFIG":
        return "TF_CONFIG is there only with several replicas: give workers=, or do without by os.environ.get"
    if name == "AIP_DATA_FORMAT" or name.endswith("_DATA_URI"):
        return f"{name} is there only with a managed dataset: give dataset=, or do without by os.environ.get"
    if name.startswith("AIP_"):
        return f"{name} is there only where the output goes to a bucket: give base_output_dir="
    return f"{name} is not there in every job: do without by os.environ.get"


def _keras_3(_: re.Match[str], __: Ending) -> str:
    return (
        "Keras 3 does not train with MultiWorkerMirroredStrategy or ParameterServerStrategy: give "
        'env={"TF_USE_LEGACY_KERAS": "1"} and, where the image has none, requirements=["tf_keras"]'
    )


def _older_python(found: re.Match[str], _: Ending) -> str:
    return (
        f"the image's Python cannot parse {found['file']}, line {found['line']}: if yours can, take a newer "
        "version of the image, or write it as an older Python has it"
    )


def _older_types(_: re.Match[str], __: Ending) -> str:
    return (
        "the image's Python is older than this way of writing types: take a newer version of the image, or "
        "begin the file with `from __future__ import annotations`"
    )


def _clue(pattern: str, remedy: Remedy) -> _Clue:
    return _Clue(re.compile(pattern, re.MULTILINE), remedy)


_E: Final = r"^(?:\w+\.)*"
"""Where the name of an exception begins, with the modules that it is in."""

_CLUES: Final[tuple[_Clue, ...]] = (
    # Of two clues in one line the first here counts: what says it more precisely goes before.
    _clue(_E + r"(?:OSError: \[Errno 28\] |\w+Error: .*; )No space left on device", _disk_full),
    _clue(
        r"Error while finding module specification for '(?P<specified>[\w.]+)'|"
        r"^\S*python[\d.]*: No module named (?P<found>[\w.]+)",
        _missing_program,
    ),
    _clue(r"^(?:ModuleNotFoundError|ImportError): No module named '?(?P<name>[\w.]+)'?", _missing_module),
    _clue(
        r"^ImportError: cannot import name '(?P<name>\w+)' from (?:partially initialized module )?"
        r"'(?P<module>[\w.]+)' \((?:\S*(?:site|dist)-packages\S*|unknown location)\)",
        _missing_name,
    ),
    _clue(
        r"^(?:ImportError|OSError): (?P<library>lib[\w.+-]+\.so[\w.]*): cannot open shared object file",
        _missing_library,
    ),
    _clue(_E + r"(?:_Array)?MemoryError\b.*", _out_of_memory),
    _clue(
        _E
        + r"ResourceExhaustedError:(?:.|\n)*?(?:OOM when allocating|[Oo]ut of memory|failed to allocate).*",
        _out_of_memory,
    ),
    _clue(_E + r"\w+Error: (?:.*RESOURCE_EXHAUSTED: Out of memory|CUDA out of memory).*", _out_of_memory),
    _clue(r"^terminate called after throwing an instance of 'std::bad_alloc'", _out_of_memory),
    _clue(
        r"^\S.*?: error: (?P<why>unrecognized arguments: .*|argument .*: (?:invalid|expected|not allowed) .*|"
        r"the following arguments are required: .*|one of the arguments .* is required|ambiguous option: .*)",
        _argparse,
    ),
    _clue(
        r"^Error: (?P<why>No such option:? .*|Missing (?:option|argument) .*|Invalid value for .*|"
        r"Got unexpected extra argument.*)",
        _argparse,
    ),
    _clue(r"^FATAL Flags parsing error:\s+(?P<why>(?:Unknown command line flag|flag --).*)", _wrong_argument),
    _clue(r"does not have (?P<permission>storage\.\w+\.\w+) access", _denied),
    _clue(_E + r"PermissionDeniedError: .*HTTP response code 40[13]", _denied),
    _clue(
        r"HTTP response code 404(?:.|\n){0,2000}?\swhen [^\n]*?(?P<uri>gs://[^\s;'\"\]]+)|"
        + _E
        + r"NotFoundError: [^\n]*?(?P<uri_>gs://[^\s;'\"\]]+)",
        _missing_object,
    ),
    _clue(
        _E + r"NotFound: 404 .*?/b/(?P<bucket>[^/?:\s]+)\S*: The specified bucket does not exist",
        _missing_bucket,
    ),
    _clue(
        _E + r"NotFound: 404 .*No such object: (?P<bucket>[^/\s]+)/(?P<object>.+?)(?:: \('Request failed|$)",
        _missing_by_api,
    ),
    _clue(
        r"^FileNotFoundError: \[Errno 2\] No such file or directory: 'gs://(?P<path>[^']+)'", _opened_plainly
    ),
    _clue(r"^FileNotFoundError: .*?(?P<uri>gs://[^\s'\"]+)(?P<uri_>)", _missing_object),
    _clue(r"^FileNotFoundError: \[Errno 2\] .*'/gcs/(?P<path>[^']+)'", _missing_mounted),
    _clue(
        r"^FileNotFoundError: \[Errno 2\] (?:No such file or directory: |Unable to .*?name = )"
        r"'(?P<path>[^']+)'",
        _missing_file,
    ),
    _clue(r"^ValueError: File not found: filepath=(?P<path>.+?)\. Please ensure", _missing_file),
    _clue(
        _E + r"NotFoundError: (?:\{\{.*?\}\} )?(?P<path>[^\s;{]+); No such file or directory", _missing_file
    ),
    _clue(_E + r"NotFoundError: Could not find directory (?P<path>\S+)", _missing_file),
    _clue(r"\[Errno 98\] .*[Aa]ddress already in use", _port_taken),
    _clue(_E + r"UnknownError: Could not start gRPC server", _port_taken),
    _clue(
        _E + r"\w+Error: (?:.*Could not satisfy (?:explicit )?device specification '[^']*device:GPU|"
        r".*device:GPU:\d+ unknown device|Found no NVIDIA driver on your system|"
        r"Torch not compiled with CUDA enabled)",
        _no_device,
    ),
    _clue(r"^ERROR: No matching distribution found for (?P<what>.+)", _not_installable),
    _clue(r"^ERROR: (?:ResolutionImpossible|Cannot install .* because these package versions)", _conflicting),
    _clue(r"^ERROR: (?:Failed building wheel for|Failed to build) (?P<what>[\w.-]+)", _not_built),
    _clue(r"^KeyError: '(?P<name>AIP_\w+|TF_CONFIG|CLOUD_ML_\w+)'", _missing_variable),
    _clue(r"^ValueError: Attempt to convert a value \(PerReplica:", _keras_3),
    _clue(
        r"^  File \"(?:[^\"\n]*/)?(?P<file>[^\"/\n<]+)\", line (?P<line>\d+)\n(?:    .*\n){0,3}SyntaxError: ",
        _older_python,
    ),
    _clue(
        r"^TypeError: (?:unsupported operand type\(s\) for \|: '(?:type|NoneType|_GenericAlias)'|"
        r"'(?:type|ABCMeta)' object is not subscriptable)",
        _older_types,
    ),
)
