"""Training programs that run inside a job. Nothing here imports vertexkit: a container has none of it."""
