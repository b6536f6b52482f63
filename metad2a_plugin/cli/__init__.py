"""The command line: ``metad2a COMMAND``; ``metad2a --help`` lists the commands."""

from metad2a_plugin.cli.main import main

__all__ = ["main"]
