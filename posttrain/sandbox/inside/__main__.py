"""``python -S -s .../inside CONFIGURATION``: the process that the sandbox's processes are forked from."""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).parents[1])
from inside.zygote import main  # noqa: E402

main(sys.argv[1])
