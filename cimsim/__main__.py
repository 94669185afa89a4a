"""python -m cimsim: the command line."""

from cimsim.cli import main

if __name__ == "__main__":
    main()
