"""What a sandbox child of a worker loads before its first call."""


def warm() -> None:
    """Import the image engine, so that no run waits for it."""
    import pipeline.graph.confined  # noqa: F401
