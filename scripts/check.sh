# shellcheck shell=sh disable=SC2086,SC2154  # lists are split into words; APT and PYTHON are of ../dev
# ./dev check, a part of ../dev: what takes long, or looks at the sources instead of results.
CHECKS="format shell layers notorch install matrix tidy fuzz kill asan tsan"
CHECK_APT="clang-format clang-tidy shellcheck strace"

check() {  # parts...
  [ $# -gt 0 ] || set -- $CHECKS
  for part in "$@"; do
    case " $CHECKS " in *" $part "*) ;; *) die "check knows: $CHECKS" ;; esac
  done
  install_packages $APT $CHECK_APT
  python_for reference
  for part in "$@"; do
    say "check: $part"
    "check_$part"
  done
  say "checked: $*"
}

check_format() { scripts/format.sh --check; }

check_shell() { git ls-files dev .ci/run '*.sh' | xargs shellcheck; }

# kill -9 at each system call of a run that changes files: what is left loads, and the next run works. And at 50 random
# times of two ranks that resume: in the end the bits are those of a run that was not killed.
check_kill() {
  build release trireme
  TRIREME="$PWD/build/bin/trireme" "$PYTHON" tests/python/kill_loop.py
  TRIREME="$PWD/build/bin/trireme" OMP_NUM_THREADS=1 "$PYTHON" tests/python/kill_resume.py 50
}

check_layers() { "$PYTHON" tests/layers_test.py; }

# The build without torch, for which no wheel is looked for, and its tests.
check_notorch() {
  build notorch all
  ctest --preset notorch --output-on-failure -j "$(nproc)"
  build-notorch/bin/trireme data --data_file sample/DMSC_sample.csv --tokenizer sample/tokenizer >/dev/null
  [ "$(printf '"好看"\n' | build-notorch/bin/trireme tokenize --tokenizer sample/tokenizer |
    build-notorch/bin/trireme tokenize --tokenizer sample/tokenizer --decode true)" = '"好看"' ]
}

# The tests that carry ctest's label `check`.
check_install() {
  build release trireme
  ctest --test-dir build --output-on-failure -L check
}

# What a folder and an adapter can ask for, in every way that a batch is computed: ./dev test takes a covering set.
check_matrix() {
  build release trireme train_test
  build/bin/train_test --gtest_also_run_disabled_tests --gtest_filter='*Resumed*'
  TRIREME="$PWD/build/bin/trireme" TRIREME_WHOLE_MATRIX=1 OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 PYTHONDONTWRITEBYTECODE=1 \
    "$PYTHON" -m pytest -q -s -p no:cacheprovider tests/python/test_matrix.py
}

# The folders without torch, whose headers clang-tidy reads in seconds and without a build.
check_tidy() {
  folders=$(sed -n 's/^ *trireme_folder(\([a-z]*\) *LINK.*/\1/p' CMakeLists.txt)
  for folder in $folders; do git ls-files "src/$folder/*.cc"; done | grep -v '_test\.cc$' |
    xargs -P "$(nproc)" -n 4 scripts/tidy.sh
}

# Every reader of outside text for 30 s more than ./dev test's replay of the corpus.
check_fuzz() { fuzz --seconds 30; }

# Unit tests and every verb of the program with the address, leak and undefined-behaviour sanitizers, ranks as threads
# and as processes included.
check_asan() {
  build asan unit_tests trireme
  ctest --preset asan --output-on-failure -j "$(nproc)"
  grep -v '^#' tests/every_verb.txt |
    TRIREME="$PWD/build-asan/bin/trireme" OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 PYTHONDONTWRITEBYTECODE=1 \
      UBSAN_OPTIONS=print_stacktrace=1 xargs "$PYTHON" -m pytest -q -p no:cacheprovider
}

# The tests whose ranks are threads, with the thread sanitizer. Of training a few meshes: it is slow there.
check_tsan() {
  build tsan dist_test attention_test engine_test state_test train_test
  with_tsan dist_test
  with_tsan attention_test
  with_tsan engine_test
  with_tsan state_test --gtest_filter='HostGrads.*'
  with_tsan train_test --gtest_filter='*Ranks*/2x2*:*Rings*/2x2'
}

# The sanitizer of g++ 12 does not know the addresses that newer kernels give: setarch -R takes the old ones.
with_tsan() {  # program arguments...
  program="$1"; shift
  OMP_NUM_THREADS=1 TSAN_OPTIONS="suppressions=$PWD/tests/tsan.supp" \
    setarch -R "build-tsan/bin/$program" "$@" --gtest_brief=1
}
