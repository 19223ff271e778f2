"""What the prebuilt training containers have installed, by the name that a program imports.

Source: the "Included dependencies" of https://cloud.google.com/vertex-ai/docs/training/pre-built-containers,
and of the Deep Learning Containers that they are built on
(https://cloud.google.com/deep-learning-containers/docs/overview#pre-installed_software), as they stood on
:data:`TABLE_DATE`, with what those packages require themselves. Where a version is in doubt a name is listed:
a false alarm stops a job that would have run, a missing one only delays the same message.
"""

from __future__ import annotations

from typing import Final

from vertexkit.training_images import TrainingImage

__all__ = ["TABLE_DATE", "provided"]

TABLE_DATE: Final = "2026-11-22"

# Every container: what the tables list for all of them, and their own requirements.
_EVERYWHERE: Final = """
    absl apiclient attr attrs cachetools certifi cffi charset_normalizer chardet click cloudpickle crcmod
    cryptography cycler dateutil decorator docker fire fsspec future gcsfs gflags git google googleapiclient
    google_auth_httplib2 google_auth_oauthlib google_crc32c grpc httplib2 hypertune idna importlib_metadata
    IPython jinja2 joblib jsonschema kiwisolver lxml markdown markupsafe matplotlib mock mpmath msgpack
    nbformat networkx numexpr numpy oauth2client oauthlib packaging pandas paste patsy PIL pip pkg_resources
    platformdirs plotly prettytable proto psutil ptyprocess pyarrow pyasn1 pyasn1_modules pycparser pydantic
    pydot pygments pyparsing pythonjsonlogger pytz regex requests requests_oauthlib retrying rsa scipy seaborn
    setuptools six skimage sklearn sqlalchemy statsmodels sympy tabulate tenacity threadpoolctl tornado tqdm
    typing_extensions tzlocal uritemplate urllib3 webapp2 webob websocket wheel wrapt xgboost yaml zipp
"""
_OF_FRAMEWORK: Final = {
    "tensorflow": """
        astunparse cv2 flatbuffers gast google_pasta h5py keras keras_preprocessing libclang ml_dtypes namex
        opt_einsum optree pasta rich tensorboard tensorboard_data_server tensorboard_plugin_profile
        tensorflow tensorflow_datasets tensorflow_estimator tensorflow_hub tensorflow_io
        tensorflow_io_gcs_filesystem tensorflow_metadata tensorflow_probability tensorflow_serving
        tensorflow_transform termcolor tree werkzeug witwidget
    """,
    "pytorch": """
        caffe2 cloud_tpu_client cv2 filelock tensorboard tensorboardX torch torch_xla torchaudio torchtext
        torchvision transformers triton
    """,
    "sklearn": "",
    "xgboost": "",
}
# The containers with TensorFlow 2.16 and later have Keras 3, and its predecessor as a package of its own.
_WITH_KERAS_3: Final = frozenset({"tf_keras"})


def provided(image: TrainingImage) -> frozenset[str]:
    """Top-level modules that a prebuilt container has besides the standard library.

    Args:
        image: The container.

    Returns:
        Names as ``import`` takes them: ``sklearn``, ``PIL``, ``google`` (all of ``google.cloud`` that the
        container has is under it). Of a version that the tables do not have: what the others have.
    """
    names = frozenset((_EVERYWHERE + _OF_FRAMEWORK[image.framework]).split())
    if image.framework == "tensorflow" and not image.keras_2:
        names |= _WITH_KERAS_3
    return names
