"""`python -m bulkdel`: the command without the installed script."""

import sys

if not sys.flags.safe_path:
    # Python looks for modules in the working folder first: there they may be another person's.
    del sys.path[0]

from bulkdel.cli.main import main

sys.exit(main())
