"""`python -m pipeline.cli` is the `safelight` command."""

from pipeline.cli import main

if __name__ == "__main__":
    main()
