"""`python -m repro`: the command line, without installing the package."""

import sys

from repro.cli import main

sys.exit(main())
