"""The services of the local Vertex AI: objects whose methods are named as the RPCs they answer."""
