"""CLIP models: the type, loading, checkpoint files, saving, device memory, and the embedded mini-CLIP."""


class ModelError(RuntimeError):
    """The model cannot be loaded or used here; the message says what to do."""


def reason_of(error: Exception, length: int = 200) -> str:
    """An error's message in a line, to be quoted in another's."""
    return " ".join(str(error).split())[:length] or type(error).__name__
