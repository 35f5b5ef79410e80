"""`python -m forgetkit.batch SPEC ...` and `python -m forgetkit.batch summary DIR`: the commands of `forgetkit`."""

import runpy
import sys

sys.argv[1:] = sys.argv[1:] if sys.argv[1:2] == ["summary"] else ["batch", *sys.argv[1:]]
runpy.run_module("forgetkit", run_name="__main__")
