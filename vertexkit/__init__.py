"""The whole life of a TensorFlow/Keras model on Vertex AI, with a local Vertex AI inside."""
