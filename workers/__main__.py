"""`python -m workers`: one worker process, until it is told to stop."""

if __name__ == "__main__":
    # Imported here because sandbox children, when spawned, import this module too and need none of it.
    import gc
    import sys

    gc.set_threshold(20_000)  # what is loaded lives on: looking for rubbish in it costs a tenth of the start

    from workers.main import main

    sys.exit(main())
