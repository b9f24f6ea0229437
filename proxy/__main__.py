"""`python -m proxy` is the command `reelgate`."""

from reelgate import main

if __name__ == "__main__":
    main()
