"""The layers hold: includes of src/ point to strictly lower levels or the same folder; torch stays out of the torch-free
folders; only base reads the environment; and what a folder includes is among what CMakeLists.txt links it to, directly
or through others. Run: python3 tests/layers_test.py [REPOSITORY]"""
import pathlib
import re
import sys

LEVEL = {"base": 0, "config": 1, "deepspeed": 2, "layout": 2, "plan": 3, "io": 3, "ops": 3, "dist": 3, "data": 4, "device": 4,
         "attention": 4, "model": 5, "cli": 5, "state": 6, "python": 6, "engine": 7, "train": 8, "run": 9, ".": 10}
TORCH_FREE = {"base", "config", "deepspeed", "layout", "plan", "io", "data", "cli"}
TORCH = re.compile(r"^(ATen|torch|c10)/")
INCLUDE = re.compile(r'^\s*#\s*include\s+(?:"([^"]+)"|<([^>]+)>)')
FOLDER = re.compile(r"trireme_folder\((\w+)(\s+TORCH)?\s+LINK\s+([^)]*)\)")


def sources(root):
    """(path below src, folder) of every source; the folder of files directly in src is "."."""
    for path in sorted((root / "src").rglob("*")):
        if path.suffix in (".h", ".cc", ".cu"):
            relative = path.relative_to(root / "src")
            yield relative, relative.parts[0] if len(relative.parts) > 1 else "."


def links(root):
    """Folder -> the folders that it is linked to, directly or through others; and the folders with torch."""
    text = (root / "CMakeLists.txt").read_text(encoding="utf-8")
    direct = {name: set(targets.split()) & set(LEVEL) for name, _, targets in FOLDER.findall(text)}
    reached = {}
    for name in direct:
        found, waiting = set(), list(direct[name])
        while waiting:
            target = waiting.pop()
            if target not in found:
                found.add(target)
                waiting += direct.get(target, ())
        reached[name] = found
    return reached, {name for name, torch, _ in FOLDER.findall(text) if torch}


def include_complaints(root, linked):
    for relative, folder in sources(root):
        if folder not in LEVEL:
            yield f"{relative}: folder '{folder}' has no level in tests/layers_test.py"
            continue
        for number, line in enumerate((root / "src" / relative).read_text(encoding="utf-8").splitlines(), 1):
            where = f"{relative}:{number}"
            if re.search(r"\bgetenv\b", line) and folder != "base":
                yield f"{where}: getenv outside base"
            match = INCLUDE.match(line)
            if not match:
                continue
            target = match.group(1) or match.group(2)
            if TORCH.match(target) and folder in TORCH_FREE:
                yield f"{where}: torch in the torch-free folder {folder}"
            to = target.split("/")[0]
            if match.group(1) is None or to not in LEVEL or to == folder:
                continue
            if LEVEL[to] >= LEVEL[folder]:
                yield f"{where}: {folder} (level {LEVEL[folder]}) includes {to} (level {LEVEL[to]})"
            elif folder in linked and to not in linked[folder]:
                yield f"{where}: {folder} includes {to}, which CMakeLists.txt does not link it to"


def complaints(root):
    linked, with_torch = links(root)
    yield from include_complaints(root, linked)
    for folder, targets in linked.items():
        if (folder in with_torch) == (folder in TORCH_FREE):
            yield f"CMakeLists.txt: {folder}: TORCH and TORCH_FREE of tests/layers_test.py disagree"
        for target in targets:
            if LEVEL.get(target, -1) >= LEVEL[folder]:
                yield f"CMakeLists.txt: {folder} is linked to {target}, which is not below it"


def self_test(tmp):
    """Each rule fires on a tree that breaks it, so that a silent test cannot pass."""
    bad = {"base/a.h": '#include "config/b.h"', "data/c.cc": "#include <ATen/core/Tensor.h>",
           "io/d.cc": 'auto x = std::getenv("A");', "io/e.h": '#include "ops/f.h"', "new/g.h": "",
           "plan/h.cc": '#include "config/i.h"'}
    for name, text in bad.items():
        (tmp / "src" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp / "src" / name).write_text(text + "\n")
    (tmp / "CMakeLists.txt").write_text("trireme_folder(plan LINK base)\ntrireme_folder(config TORCH LINK plan)\n")
    found = list(complaints(tmp))
    assert len(found) == len(bad) + 2, found


if __name__ == "__main__":
    import tempfile
    with tempfile.TemporaryDirectory() as folder:
        self_test(pathlib.Path(folder))
    problems = list(complaints(pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else pathlib.Path(__file__).parent.parent))
    print("\n".join(problems) or "layers hold")
    sys.exit(1 if problems else 0)
