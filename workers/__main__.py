"""`python -m workers`: one worker process, until it is told to stop."""

if __name__ == "__main__":
    # Imported here because sandbox children, when spawned, import this module too and need none of it.
    import sys

    from workers.main import main

    sys.exit(main())
