"""Which names a package of PyPI lets one import: ``scikit-learn`` is ``sklearn``."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Collection, Mapping
from typing import Final

__all__ = ["distribution_of", "import_names"]

# Where the name to import is not that of the distribution with "_" for "-".
_IMPORT_NAMES: Final[Mapping[str, str]] = {
    "absl-py": "absl",
    "beautifulsoup4": "bs4",
    "cloudml-hypertune": "hypertune",
    "databricks-sdk": "databricks",
    "dask-ml": "dask_ml",
    "faiss-cpu": "faiss",
    "faiss-gpu": "faiss",
    "fonttools": "fontTools",
    "gitpython": "git",
    "grpcio": "grpc",
    "hydra-core": "hydra",
    "ipython": "IPython",
    "keras-cv": "keras_cv",
    "keras-nlp": "keras_nlp",
    "keras-tuner": "keras_tuner",
    "kafka-python": "kafka",
    "lightning": "lightning",
    "mlflow-skinny": "mlflow",
    "msgpack-python": "msgpack",
    "opencv-contrib-python": "cv2",
    "opencv-contrib-python-headless": "cv2",
    "opencv-python": "cv2",
    "opencv-python-headless": "cv2",
    "pillow": "PIL",
    "psycopg2-binary": "psycopg2",
    "pycryptodome": "Crypto",
    "pyjwt": "jwt",
    "pymysql": "pymysql",
    "pyopenssl": "OpenSSL",
    "pyserial": "serial",
    "python-dateutil": "dateutil",
    "python-dotenv": "dotenv",
    "python-snappy": "snappy",
    "pytorch-lightning": "pytorch_lightning",
    "pywavelets": "pywt",
    "pyyaml": "yaml",
    "pyzmq": "zmq",
    "ruamel-yaml": "ruamel",
    "scikit-image": "skimage",
    "scikit-learn": "sklearn",
    "scikit-optimize": "skopt",
    "sentence-transformers": "sentence_transformers",
    "setuptools": "setuptools pkg_resources",
    "tensorflow-addons": "tensorflow_addons",
    "tensorflow-cpu": "tensorflow",
    "tensorflow-gpu": "tensorflow",
    "tf-nightly": "tensorflow",
    "torch": "torch torchgen functorch",
    "umap-learn": "umap",
    "wandb": "wandb",
    "websocket-client": "websocket",
}
# Distributions that share the name ``google``; everything that starts with ``google-cloud-`` does too.
_GOOGLE: Final = {
    "protobuf",
    "google-api-core",
    "google-auth",
    "google-generativeai",
    "googleapis-common-protos",
}
_PREFERRED: Final = {
    "cv2": "opencv-python-headless",
    "faiss": "faiss-cpu",
    "tensorflow": "tensorflow",
    "psycopg2": "psycopg2-binary",
}


def import_names(distributions: Collection[str]) -> tuple[frozenset[str], bool]:
    """What one can import once these are installed.

    What is installed here is asked, with all that it needs in turn; for the rest there is a table, and
    the distribution's own name.

    Args:
        distributions: Names, normalised as PyPI does.

    Returns:
        Top-level names, and whether they are all: not, where a distribution is not installed here.
    """
    found: set[str] = set()
    is_all = True
    waiting, seen = list(distributions), set(distributions)
    while waiting:
        name = waiting.pop()
        found |= _by_name(name)
        try:
            installed = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            is_all = False
            continue
        found |= _provided(installed)
        for needed in _needs(installed):
            if needed not in seen:
                seen.add(needed)
                waiting.append(needed)
    return frozenset(found), is_all


def distribution_of(name: str) -> str:
    """What to ask pip for to be able to import a name: ``sklearn`` is in ``scikit-learn``."""
    if name in _PREFERRED:
        return _PREFERRED[name]
    for distribution, names in _IMPORT_NAMES.items():
        if name in names.split():
            return distribution
    return name.replace("_", "-")


def _by_name(distribution: str) -> set[str]:
    if distribution in _GOOGLE or distribution.startswith("google-cloud-"):
        return {"google"}
    return {*_IMPORT_NAMES.get(distribution, distribution.replace("-", "_")).split()}


def _provided(installed: importlib.metadata.Distribution) -> set[str]:
    top_level = installed.read_text("top_level.txt")
    if top_level is not None:
        return {*top_level.split()}
    tops = {path.parts[0] for path in installed.files or () if path.suffix in {".py", ".so", ".pyd"}}
    return {top.partition(".")[0] for top in tops if not top.startswith("..")}


def _needs(installed: importlib.metadata.Distribution) -> set[str]:
    """The distributions that are installed with it."""
    from packaging.requirements import InvalidRequirement, Requirement
    from packaging.utils import canonicalize_name

    names: set[str] = set()
    for text in installed.requires or ():
        try:
            requirement = Requirement(text)
        except InvalidRequirement:
            continue
        # Of another platform's or an extra's needs nothing has to be here.
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            names.add(canonicalize_name(requirement.name))
    return names
