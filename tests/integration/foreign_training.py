"""A user's training with Google's client, written for Google Cloud: prints what came of it as JSON."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from google.cloud import aiplatform, storage

PROJECT, LOCATION = "my-first-project", "us-central1"
TRAINING_IMAGE = "us-docker.pkg.dev/vertex-ai/training/tf-cpu.2-17.py310:latest"
SERVING_IMAGE = "us-docker.pkg.dev/vertex-ai/prediction/tf2-cpu.2-15:latest"

# Says what it was told in the bucket, by Google's own client, as jobs do.
TELLING = """
import json, os, sys
from google.cloud import storage
client = storage.Client()
bucket = client.bucket("my-first-project-told")
told = {"argument": sys.argv[1], "project": client.project, "bucket": bucket.exists()}
bucket.blob("told.json").upload_from_string(json.dumps(told))
"""

WRITING = """
import os, sys
import tensorflow as tf
factor = float(sys.argv[1].partition("=")[2])
module = tf.Module()
x = tf.TensorSpec([None, 3], tf.float32, "x")
module.serve = tf.function(lambda x: {"y": x * factor}, input_signature=[x])
tf.saved_model.save(module, os.environ["AIP_MODEL_DIR"], signatures=module.serve)
"""


def main() -> None:
    """Train without a model, then with one, and ask it."""
    bucket = storage.Client(project=PROJECT).create_bucket(f"{PROJECT}-told", location=LOCATION)
    aiplatform.init(project=PROJECT, location=LOCATION, staging_bucket=f"gs://{bucket.name}")
    with tempfile.TemporaryDirectory() as folder:
        telling, writing = Path(folder, "telling.py"), Path(folder, "writing.py")
        telling.write_text(TELLING)
        writing.write_text(WRITING)
        job = aiplatform.CustomJob.from_local_script(
            display_name="telling",
            script_path=str(telling),
            container_uri=TRAINING_IMAGE,
            args=["--factor=3"],
            machine_type="n1-standard-4",
        )
        job.run()
        training = aiplatform.CustomTrainingJob(
            display_name="writing",
            script_path=str(writing),
            container_uri=TRAINING_IMAGE,
            model_serving_container_image_uri=SERVING_IMAGE,
        )
        model = training.run(args=["--factor=3"], machine_type="n1-standard-4")
    endpoint = model.deploy(machine_type="n1-standard-4")
    found = {
        "states": [job.state.name, training.state.name],
        "told": json.loads(bucket.blob("told.json").download_as_text()),
        "predictions": endpoint.predict(instances=[[1.0, 2.0, 3.0]]).predictions,
    }
    endpoint.delete(force=True)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
