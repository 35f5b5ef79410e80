"""The types of the public interface: mypy agrees with its callers, and every public name is among them."""

import re
import subprocess
import sys

import forgetkit


def test_the_public_interface_has_the_types_its_callers_rely_on(request):
    root = request.config.rootpath
    done = subprocess.run([sys.executable, "-m", "mypy"], cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    called = set(re.findall(r"\bforgetkit\.(\w+)", (root / "tests/public_types.py").read_text(encoding="utf-8")))
    assert set(forgetkit.__all__) <= called, "a public name is not looked at"
