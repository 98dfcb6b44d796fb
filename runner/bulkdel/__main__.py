"""`python -m bulkdel`: the command without the installed script."""

import sys

from bulkdel.cli.main import main

sys.exit(main())
