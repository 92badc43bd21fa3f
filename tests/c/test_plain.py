"""The plain layer's C unit tests, compiled with the invariant checks and, where the compiler has them, sanitizers."""

import os
import pathlib
import shutil
import subprocess
import sysconfig

import pytest

HERE = pathlib.Path(__file__).resolve().parent
SRC = HERE.parent.parent / "src"
COMPILER = (sysconfig.get_config_var("CC") or "cc").split()[0]
FLAGS = ["-std=c11", "-D_GNU_SOURCE", "-DASYNCLOOP_DEBUG", "-g", "-O1", "-Wall", "-Wextra", "-Wno-unused-function", "-Werror", "-I", str(SRC)]
SANITIZE = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"]


def can_build(folder, *flags):
    program = folder / "nothing.c"
    program.write_text("#include <stdio.h>\nint main(void) { return puts(\"\") < 0; }\n")
    return subprocess.run([COMPILER, *flags, str(program), "-o", str(folder / "nothing")], capture_output=True).returncode == 0


@pytest.mark.skipif(not SRC.is_dir(), reason="the sources are not beside the tests (run from an installed package)")
@pytest.mark.skipif(shutil.which(COMPILER) is None, reason="no C compiler to build the unit tests with")
@pytest.mark.parametrize("width", ["native", "32 bits"])
def test_plain_layer(tmp_path, width):
    flags = [] if width == "native" else ["-m32"]
    if not can_build(tmp_path, *flags):
        pytest.skip("no C library of 32 bits here (Debian: gcc-multilib)")
    program = tmp_path / "plain_test"
    build = [COMPILER, *FLAGS, *flags, str(HERE / "plain_test.c"), "-o", str(program)]
    if flags or subprocess.run([*build, *SANITIZE], capture_output=True).returncode != 0:
        subprocess.run(build, check=True)
    environment = {key: value for key, value in os.environ.items() if key != "LD_PRELOAD"}
    done = subprocess.run([program], capture_output=True, text=True, timeout=60, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("ok ") == 7
