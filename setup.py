"""Builds asyncloop's one C extension, `asyncloop._asyncloop`.

src/_asyncloop.c includes every other file of src/, so there is one translation unit to compile; the other files are
listed as what it depends on.  The environment variable ASYNCLOOP_FLAVOR chooses the build:

    release   -O3, no asserts (the default)
    debug     -O1 -g, asserts and invariant checks (ASYNCLOOP_DEBUG)
    asan      the same with AddressSanitizer and UndefinedBehaviorSanitizer, the first finding ends the process;
              run under LD_PRELOAD=$(gcc -print-file-name=libasan.so) PYTHONMALLOC=malloc
    tsan      the debug build with ThreadSanitizer, for a free-threaded CPython that was configured with it (--with-thread-sanitizer)
    cov       the debug build with gcov's counters

Each flavour and each Python has its own folder under build/, so changing one never mixes objects with another.
Warnings are errors in all flavours but release.
"""

import os
import sys

FLAVORS = ("release", "debug", "asan", "tsan", "cov")
FLAVOR = os.environ.get("ASYNCLOOP_FLAVOR") or "release"


def check_platform():
    """End the build with one clear line where asyncloop cannot work."""
    if sys.implementation.name != "cpython":
        sys.exit(
            "asyncloop: this is %s; asyncloop is a C extension for CPython's own object layout and does not run on it. "
            "Use asyncio's loop there." % sys.implementation.name
        )
    if sys.version_info < (3, 11):
        sys.exit("asyncloop: CPython 3.11 or newer is needed, this is %d.%d" % sys.version_info[:2])
    if not sys.platform.startswith("linux"):
        sys.exit("asyncloop: only Linux is supported (the loop is built on epoll), this is %s; use asyncio's own loop there" % sys.platform)
    if FLAVOR not in FLAVORS:
        sys.exit("asyncloop: ASYNCLOOP_FLAVOR=%s is unknown, it must be one of %s" % (FLAVOR, ", ".join(FLAVORS)))


check_platform()

import shutil  # noqa: E402  (after the check, which must need nothing that may be missing elsewhere)
import sysconfig  # noqa: E402
from glob import glob  # noqa: E402

from setuptools import Extension, setup  # noqa: E402
from setuptools.command.build_ext import build_ext  # noqa: E402
from setuptools.command.build_py import build_py  # noqa: E402

# What every flavour has.  Python's own headers are 'system' headers, so that our warnings are only about our code.  Of
# -Wextra's warnings three are meaningless in an extension: unused arguments (the calling conventions fix the parameter
# lists), tables ended by {NULL}, and the casts of the METH_* functions to PyCFunction.
COMMON = [
    "-std=c11",
    "-D_GNU_SOURCE",
    "-Wall",
    "-Wextra",
    "-Wno-unused-parameter",
    "-Wno-missing-field-initializers",
    "-Wno-cast-function-type",
    "-fvisibility=hidden",
    "-fwrapv",
    # As a system header Python.h is resolved through its symbolic link, which for Debian's debug builds leads to the release build's pyconfig.h.
    "-fno-canonical-system-headers",
    "-isystem",
    sysconfig.get_path("include"),
]
CHECKED = ["-O1", "-g", "-UNDEBUG", "-DASYNCLOOP_DEBUG", "-Werror", "-fno-omit-frame-pointer"]
SANITIZE = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"]

# flavour: (compiler flags, linker flags).  They follow Python's own flags, so they win over them.
FLAGS = {
    "release": (["-O3", "-DNDEBUG", "-fno-plt", "-fno-semantic-interposition"], []),
    "debug": (CHECKED, []),
    "asan": (CHECKED + SANITIZE, SANITIZE),
    # ThreadSanitizer does not know fences; CPython's headers have some, beside atomics that it knows.
    "tsan": ([*CHECKED, "-fsanitize=thread", "-Wno-tsan"], ["-fsanitize=thread"]),
    # The counters between its branches keep gcc from seeing that a variable is always set.
    "cov": ([*CHECKED, "-Wno-maybe-uninitialized", "--coverage"], ["--coverage"]),
}


def check_compiler(command):
    """End the build with one clear line where the compiler (a command as a list) or Python's headers are missing."""
    if shutil.which(command[0]) is None:
        sys.exit(
            "asyncloop: a C compiler is needed to build it, and there is no %s; install one (Debian: apt-get install gcc libc6-dev; "
            "Fedora: dnf install gcc; Alpine: apk add gcc musl-dev)" % command[0]
        )
    include = sysconfig.get_path("include")
    if not os.path.exists(os.path.join(include, "Python.h")):
        sys.exit(
            "asyncloop: the headers of this Python are needed to build it, and there is no Python.h in %s; install them (Debian: apt-get install "
            "python3-dev or python%d.%d-dev; Fedora: dnf install python3-devel; Alpine: apk add python3-dev)" % ((include,) + sys.version_info[:2])
        )


class build_inplace_ext(build_ext):
    """build_ext that looks for a compiler first, and whose --inplace copy always replaces what is there.

    The flavours share the file name in asyncloop/, and the copy is skipped where the target is newer than the source:
    going from debug back to an older release build would leave the debug one in place.
    """

    def build_extensions(self):
        check_compiler(self.compiler.compiler_so)
        super().build_extensions()

    def copy_extensions_to_source(self):
        for ext in self.extensions:
            target = os.path.join(*self.get_ext_fullname(ext.name).split(".")[:-1], self.get_ext_filename(ext.name.rsplit(".", 1)[-1]))
            if os.path.exists(target):
                os.unlink(target)
        super().copy_extensions_to_source()


class build_py_with_pth(build_py):
    """build_py that also puts asyncloop.pth at the root of what is installed, so in site-packages: wheels take all of build_lib; what
    an editable wheel is packed from is the folder to which `install` then points.  It is listed in the wheel's RECORD, and so uninstalled.
    """

    PTH = "asyncloop.pth"

    def _target(self):
        root = self.get_finalized_command("install").install_lib if self.editable_mode else self.build_lib
        return os.path.join(root, self.PTH)

    def run(self):
        super().run()
        self.mkpath(os.path.dirname(self._target()))
        self.copy_file(self.PTH, self._target(), preserve_mode=False)

    def get_outputs(self, include_bytecode=True):
        outputs = super().get_outputs(include_bytecode)
        return outputs if self.editable_mode else [*outputs, self._target()]

    def get_source_files(self):
        return [*super().get_source_files(), self.PTH]


def build_base():
    """build/<flavour>-<Python tag>, e.g. build/release-cpython-313-x86_64-linux-gnu."""
    tag = sysconfig.get_config_var("SOABI") or sys.implementation.cache_tag
    return os.path.join("build", "%s-%s" % (FLAVOR, tag))


compile_flags, link_flags = FLAGS[FLAVOR]

setup(
    ext_modules=[
        Extension(
            "asyncloop._asyncloop",
            sources=["src/_asyncloop.c"],
            depends=["setup.py", *sorted(glob("src/**/*.[ch]", recursive=True))],
            include_dirs=["src"],
            extra_compile_args=COMMON + compile_flags,
            extra_link_args=link_flags,
        )
    ],
    cmdclass={"build_ext": build_inplace_ext, "build_py": build_py_with_pth},
    options={"build": {"build_base": build_base()}},
)
