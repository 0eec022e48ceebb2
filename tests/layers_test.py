"""The layers hold: includes of src/ point to strictly lower levels or the same folder; torch stays out of the torch-free
folders; only base reads the environment. Run: python3 tests/layers_test.py [SRC]"""
import pathlib
import re
import sys

LEVEL = {"base": 0, "config": 1, "layout": 1, "io": 2, "dist": 2, "ops": 2, "data": 3, "attention": 3,
         "plan": 4, "model": 4, "engine": 5, "cli": 6, "python": 6, ".": 7}
TORCH_FREE = {"base", "config", "layout", "io", "data", "plan"}
TORCH = re.compile(r"^(ATen|torch|c10)/")
INCLUDE = re.compile(r'^\s*#\s*include\s+(?:"([^"]+)"|<([^>]+)>)')


def complaints(source_root):
    for path in sorted(source_root.rglob("*")):
        if path.suffix not in (".h", ".cc", ".cu"):
            continue
        relative = path.relative_to(source_root)
        folder = relative.parts[0] if len(relative.parts) > 1 else "."
        if folder not in LEVEL:
            yield f"{relative}: folder '{folder}' has no level in tests/layers_test.py"
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            where = f"{relative}:{number}"
            if re.search(r"\bgetenv\b", line) and folder != "base":
                yield f"{where}: getenv outside base"
            match = INCLUDE.match(line)
            if not match:
                continue
            target = match.group(1) or match.group(2)
            if TORCH.match(target) and folder in TORCH_FREE:
                yield f"{where}: torch in the torch-free folder {folder}"
            if match.group(1) is None:
                continue
            to = target.split("/")[0]
            if to in LEVEL and to != folder and LEVEL[to] >= LEVEL[folder]:
                yield f"{where}: {folder} (level {LEVEL[folder]}) includes {to} (level {LEVEL[to]})"


def self_test(tmp):
    """Each rule fires on a tree that breaks it, so that a silent test cannot pass."""
    bad = {"base/a.h": '#include "config/b.h"', "data/c.cc": "#include <ATen/core/Tensor.h>",
           "io/d.cc": 'auto x = std::getenv("A");', "io/e.h": '#include "ops/f.h"', "new/g.h": ""}
    for name, text in bad.items():
        (tmp / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp / name).write_text(text + "\n")
    found = list(complaints(tmp))
    assert len(found) == len(bad), found


if __name__ == "__main__":
    import tempfile
    with tempfile.TemporaryDirectory() as folder:
        self_test(pathlib.Path(folder))
    root = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else pathlib.Path(__file__).parent.parent / "src"
    problems = list(complaints(root))
    print("\n".join(problems) or "layers hold")
    sys.exit(1 if problems else 0)
