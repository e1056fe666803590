"""`python -m wwauth` is the `wwauth` command."""

from .cli import main

if __name__ == "__main__":
    main()
