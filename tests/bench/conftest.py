"""Makes `bench` importable: it is run from the checkout (`python -m bench`) and never installed."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2]))
