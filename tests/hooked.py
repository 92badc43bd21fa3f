"""A Python in which asyncloop is installed with its asyncloop.pth, for tests of what child processes do."""
import os
import shutil
import site
import sys
import sysconfig
import venv

import pytest

from sidebyside import SUBJECT, subject

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(subject.__file__)))
PTH = "asyncloop.pth"


def python(folder):
    """This Python where the package is installed; else, for a checkout that was built in place, a new environment that has the file and sees all that this one has."""
    if SUBJECT != "asyncloop":
        pytest.skip("is about asyncloop's own file in site-packages")
    if any(os.path.exists(os.path.join(path, PTH)) for path in site.getsitepackages()):
        return sys.executable
    venv.create(folder, symlinks=True)
    packages = sysconfig.get_path("purelib", "venv", {"base": folder, "platbase": folder})
    shutil.copy(os.path.join(ROOT, PTH), packages)
    with open(os.path.join(packages, "all.pth"), "w") as f:
        f.write("\n".join(filter(os.path.isdir, [ROOT, *site.getsitepackages()])))  # 3.15 complains of others
    return os.path.join(folder, "bin", "python")
