"""The local Vertex AI: a real server on loopback that speaks the real API and does the work."""
