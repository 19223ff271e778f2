"""Batch prediction: instances read from files, answered in batches, and written with their answers."""
