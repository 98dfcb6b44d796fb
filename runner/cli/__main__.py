"""`python -m runner.cli`: the command without the installed script."""

import sys

from runner.cli import main

sys.exit(main())
