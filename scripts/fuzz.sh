# shellcheck shell=sh disable=SC2086,SC2154  # lists are split into words; APT and PYTHON are of ../dev
# ./dev fuzz, a part of ../dev: libFuzzer over the readers of outside text (tests/fuzz), with the address and
# undefined-behaviour sanitizers. Only the folders without torch are built.
FUZZ_APT="clang libclang-rt-14-dev"

# fuzz [TARGET...] [--seconds N]: each target for N seconds (60); all where none is named. What was learnt is kept in
# build-fuzz/corpus, from where the next run goes on. Findings end with status 1, cut to their least form.
fuzz() {
  seconds=60 named=""
  while [ $# -gt 0 ]; do
    case "$1" in
      --seconds) [ $# -gt 1 ] || die "--seconds: a number is missing after it"
                 seconds="$2"; shift ;;
      --seconds=*) seconds="${1#*=}" ;;
      -*) die "$1: fuzz knows --seconds N" ;;
      *) named="$named $1" ;;
    esac
    shift
  done
  case "$seconds" in '' | *[!0-9]* | 0) die "--seconds: '$seconds' is no number of seconds" ;; esac
  known=$(ls tests/fuzz/corpus)
  for target in $named; do
    [ -d "tests/fuzz/corpus/$target" ] || die "fuzz knows:" $known
  done
  install_packages $APT $FUZZ_APT
  python_for cpu
  programs=""
  for target in ${named:-$known}; do programs="$programs fuzz_$target"; done
  build fuzz fuzz_replay $programs
  fuzz_targets ${named:-$known}
}

fuzz_targets() {  # targets...
  found=build-fuzz/found
  rm -rf "$found"
  mkdir -p "$found"
  scratch=$(mktemp -d -p /dev/shm)  # the readers' files, which change thousands of times a second
  trap 'rm -rf "$scratch"' EXIT
  for target in "$@"; do
    say "fuzz: $target, $seconds s"
    mkdir -p "build-fuzz/corpus/$target"
    run_fuzzer "$target" -max_total_time="$seconds" -artifact_prefix="$found/$target-" \
      "build-fuzz/corpus/$target" "tests/fuzz/corpus/$target" || true
    grep -E 'DONE|FINDING|ERROR|SUMMARY' "$found/$target.log" >&2 || true
  done
  minimise_findings
}

run_fuzzer() {  # target arguments...: the log goes to build-fuzz/found
  program="build-fuzz/bin/fuzz_$1" log="build-fuzz/found/$1.log" dictionary=tests/fuzz/words.dict; shift
  TMPDIR="$scratch" UBSAN_OPTIONS=print_stacktrace=1 \
    "$program" -timeout=10 -rss_limit_mb=2048 -dict="$dictionary" "$@" >>"$log" 2>&1
}

minimise_findings() {
  findings=0
  for input in build-fuzz/found/*-*; do
    [ -e "$input" ] || break
    findings=$((findings + 1))
    target=${input##*/} target=${target%%-*}
    case "$input" in
      *-crash-*) run_fuzzer "$target" -minimize_crash=1 -max_total_time=20 -exact_artifact_path="$input.least" "$input" || true ;;
    esac
    [ -s "$input.least" ] || mv "$input" "$input.least"
    rm -f "$input"
    say "found: $PWD/$input.least (build-fuzz/found/$target.log says what)"
  done
  [ "$findings" = 0 ] || exit 1
}
