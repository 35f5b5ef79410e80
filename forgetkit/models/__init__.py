"""CLIP models: the type, loading, checkpoint files, device memory, and the embedded mini-CLIP."""
