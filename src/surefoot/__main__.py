"""`python -m surefoot`, which is also what torchrun starts."""

from surefoot.cli import main

if __name__ == "__main__":
    main()
