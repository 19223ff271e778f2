"""The model server: one process is one replica, as the prebuilt TensorFlow container would be.

Run as ``python -m vertexkit.emulator.serving.model_server --socket PATH``. It reads the ``AIP_*``
variables that Vertex AI gives a serving container, answers the health and predict routes on a Unix
socket with TensorFlow Serving's REST semantics, and ends on SIGTERM or when its standard input
reaches its end, so that it never outlives the process that started it.
"""
