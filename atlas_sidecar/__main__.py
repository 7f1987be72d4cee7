"""`python -m atlas_sidecar`."""

import sys

from atlas_sidecar.cli import main

sys.exit(main())
