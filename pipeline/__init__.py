"""The recipe: one stage of dvc.yaml is one module here."""

import signal
import sys

# While `python -m pipeline.STAGE` imports, Ctrl-C ends it without a word; `stage.heed_interrupts` changes that.
if sys.argv[:1] == ["-m"] and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
