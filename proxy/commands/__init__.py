"""The parts of the command line that `proxy/cli.py` puts together. Heavy rooms are imported inside the commands."""
