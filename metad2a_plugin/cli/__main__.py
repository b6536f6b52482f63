"""``python -m metad2a_plugin.cli``, the same as ``metad2a``."""

import sys

from metad2a_plugin.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
