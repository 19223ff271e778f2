"""The Cloud Storage of the local Vertex AI: its JSON and XML APIs over plain files.

``store.ObjectStore`` is the durable core; ``app.storage_app`` answers HTTP from it.
"""
