#!/bin/sh
# clang-format on all C++ sources: writes them, or with --check only says what is to be written. Its versions 14 to 18
# agree about these files; later ones break some lines elsewhere.
set -eu
cd "$(dirname "$0")/.."

action=-i
[ "${1:-}" != --check ] || action="--dry-run -Werror"
if ! command -v clang-format >/dev/null 2>&1; then
  echo "skipped: there is no clang-format"
  exit 77  # what ctest takes for skipped
fi
# shellcheck disable=SC2086  # the action is two words
find src cmake scripts tests '(' -name '*.h' -o -name '*.cc' -o -name '*.cu*' ')' -exec clang-format $action {} + || {
  echo "format: run ./dev fmt (14 to 18 agree; this is $(clang-format --version))"
  exit 1
}
