"""The pages that people read hold together: relative links lead to a file and a heading that exist, options and paths of the
repository that a page names exist, README has at most 120 lines. Run: python3 tests/docs_test.py [ROOT]

Options are those of docs/options.md, which the test `docs` compares with the program.
"""
import pathlib
import re
import sys

README_LINES = 120
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
FLAG = re.compile(r"(?<![\w-])--([a-z][a-z0-9_-]*)")
CODE = re.compile(r"`([^`\n]+)`")
PATH = re.compile(r"(?:src|bench|scripts|tests|cmake|sample|python|docs)/[\w./-]+")
# Of programs that are not trireme, as pages call them.
FOREIGN = {"--help": "every program", "--nproc_per_node": "torchrun", "--no-python": "torchrun", "--no-deps": "pip",
           "--preset": "cmake", "--build": "cmake", "--bench": "the GPU test programs"}


def pages(root):
    names = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "bench/README.md"]
    return [root / name for name in names if (root / name).exists()] + sorted((root / "docs").glob("*.md"))


def anchors(text):
    """Of the headings, as GitHub makes them."""
    found = []
    for line in without_code_blocks(text).splitlines():
        heading = re.match(r"#+ +(.*)", line)
        if heading:
            plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading.group(1)).lower()
            slug = re.sub(r"[^\w\- ]", "", plain).strip().replace(" ", "-")
            again = found.count(slug)
            found.append(slug if again == 0 else f"{slug}-{again}")
    return found


def without_code_blocks(text):
    text = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"^    .*$", "", text, flags=re.MULTILINE)


def options(root):
    page = root / "docs" / "options.md"
    found = set(re.findall(r"^\| `(--\w+)` \|", page.read_text(encoding="utf-8"), re.MULTILINE)) if page.exists() else set()
    for script in (root / "bench").glob("*.py"):
        found |= set(re.findall(r"add_argument\(\"(--\w+)\"", script.read_text(encoding="utf-8")))
    return found


def broken_links(root, page, text):
    for link in LINK.findall(without_code_blocks(text)):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        if not target.exists():
            yield f"{link}: no such file"
        elif anchor and (target.suffix != ".md" or anchor not in anchors(target.read_text(encoding="utf-8"))):
            yield f"{link}: no such heading"


def complaints(root):
    known = options(root) | set(FOREIGN)
    for page in pages(root):
        text = page.read_text(encoding="utf-8")
        where = page.relative_to(root)
        yield from (f"{where}: {problem}" for problem in broken_links(root, page, text))
        for flag in sorted({f"--{name}" for name in FLAG.findall(text)}):
            if flag not in known and flag.replace("-", "_").replace("__", "--", 1) not in known:
                yield f"{where}: {flag}: no option in docs/options.md, nor in bench/*.py"
        for path in sorted({path for code in CODE.findall(text) for path in PATH.findall(code)}):
            if not path.endswith(".") and not (root / path).exists() and not any(root.glob(f"{path}*")):
                yield f"{where}: {path}: no such file or folder"
        if where.name == "README.md" and page.parent == root and text.count("\n") > README_LINES:
            yield f"{where}: {text.count(chr(10))} lines, at most {README_LINES} are allowed"


def self_test(tmp):
    """Each rule fires on pages that break it, and on none that hold."""
    files = {"README.md": "# A `b` c\n[gone](docs/gone.md) [head](docs/a.md#no) [well](docs/a.md#one--two)\n" + "\n" * 120,
             "docs/a.md": "## One + two\n[home](../README.md#a-b-c) --known --known-not `src/no.h` `bench/b.py`\n",
             "docs/options.md": "| `--known` | x |\n", "bench/b.py": 'add_argument("--ranks")\n'}
    for name, text in files.items():
        (tmp / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp / name).write_text(text, encoding="utf-8")
    assert list(complaints(tmp)) == [
        "README.md: docs/gone.md: no such file", "README.md: docs/a.md#no: no such heading",
        "README.md: 122 lines, at most 120 are allowed",
        "docs/a.md: --known-not: no option in docs/options.md, nor in bench/*.py", "docs/a.md: src/no.h: no such file or folder",
    ], list(complaints(tmp))


if __name__ == "__main__":
    import tempfile
    with tempfile.TemporaryDirectory() as folder:
        self_test(pathlib.Path(folder))
    home = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else pathlib.Path(__file__).resolve().parent.parent
    problems = list(complaints(home))
    print("\n".join(problems) or "pages hold together")
    sys.exit(1 if problems else 0)
