"""A verb lists the options that it reads, and no others: an option that --help lists and nothing reads would be ignored
without a word. What a verb reads is found in the source: from run_VERB on, the functions and classes that a piece of
code names, in its file or declared in a header that it includes, and in those the fields of what is declared as RunConfig or as one
of its groups. Run: python3 tests/options_test.py [REPOSITORY]"""
import collections
import pathlib
import re
import sys

VERBS = ("train", "data", "tokenize", "generate", "bench", "dump", "export", "inspect")
# Read for any verb, by the code that reads the command line.
COMMAND_LINE = {"config"}
# A name that stands for what it names.
RESOLVED = {"ablation": "ablation_config"}
# Their help says that they have no effect, or that they are only recorded in run.json.
SAID_TO_DO_NOTHING = {"disable_flash_attn", "test_file", "wandb_project", "wandb_run_name", "local_rank"}
# These handle every option alike, or set them.
LEFT_OUT = re.compile(r"deepspeed/|config/(schema|command_line|help|run_config_file)")

BLANK = re.compile(r'//[^\n]*|"(?:\\.|[^"\\\n])*"')
NAME = re.compile(r"\w+")
INCLUDE = re.compile(r'#include "([^"]+)\.h"')


class Unit:
    """A function, a method, or the declaration of a class."""

    def __init__(self, stem, name, text):
        self.stem, self.name, self.text = stem, name, text
        self.of_class = name.split("::")[-2] if "::" in name else None
        self.names = set(NAME.findall(text))


def blocks(text):
    """What stands at the left margin, from there to the end of its braces."""
    block, depth = [], 0
    for line in text.splitlines():
        if not block and (not line or not (line[0].isalpha() or line[0] == "_") or line.startswith("namespace")):
            continue
        block.append(line)
        depth += line.count("{") - line.count("}") + line.count("(") - line.count(")")
        if depth == 0 and line.rstrip().endswith(("}", ";")):
            yield "\n".join(block)
            block = []


def units_of(stem, text):
    for block in blocks(BLANK.sub(lambda found: "" if found.group().startswith("/") else '""', text)):
        declared = re.match(r"(?:class|struct) (\w+)[^;{]*\{", block)
        defined = re.match(r"[^({=]*?([\w:~]+)\(", block)
        if declared:
            yield Unit(stem, declared.group(1), block)
        elif defined and "{" in block:
            yield Unit(stem, defined.group(1), block)


def read_sources(root):
    """Units by name, the files that a file includes directly or not, and the names in headers."""
    units, includes, headers = (collections.defaultdict(kind) for kind in (list, set, set))
    for path in sorted((root / "src").rglob("*")):
        stem = str(path.relative_to(root / "src").with_suffix(""))
        if path.suffix not in (".h", ".cc", ".cu") or "_test." in path.name or LEFT_OUT.match(stem):
            continue
        text = path.read_text(encoding="utf-8")
        includes[stem] |= {stem} | set(INCLUDE.findall(text))
        if path.suffix == ".h":
            headers[stem] = set(NAME.findall(text))
        for unit in units_of(stem, text):
            units[unit.name.split("::")[-2] if unit.of_class else unit.name].append(unit)
    for stem, found in includes.items():
        waiting = list(found)
        while waiting:
            more = includes.get(waiting.pop(), set()) - found
            found |= more
            waiting += more
    return units, includes, headers


def groups(root):
    """Name of a struct of run_config.h -> its fields; RunConfig has all of them."""
    fields = {}
    for name, body in re.findall(r"struct (\w+)[^{]*\{(.*?)\n\};", (root / "src/config/run_config.h").read_text(), re.S):
        declared = re.findall(r"^  [\w:<>]+ (\w[^;(]*);", body, re.M)
        fields[name] = {re.match(r"\w+", one).group() for names in declared for one in names.split(", ")}
    fields["RunConfig"] = set().union(*fields.values())
    return fields


def reads(unit, classes, fields):
    declared = re.compile(r"\b(%s)(?: const)?&? (\w+)" % "|".join(fields))
    variables = declared.findall(unit.text)
    for other in classes.get(unit.of_class, ()):
        variables += declared.findall(other.text)
    for kind, variable in variables:
        yield from fields[kind] & set(re.findall(r"\b%s\.(\w+)" % variable, unit.text))


def reached(verb, units, includes, headers):
    def visible(other, unit):
        if other.stem == unit.stem:
            return True
        folder = other.stem.rpartition("/")[0]
        return any(header.rpartition("/")[0] == folder and (other.of_class or other.name) in headers[header]
                   for header in includes[unit.stem])

    waiting, found = list(units[f"run_{verb}"]), set()
    while waiting:
        unit = waiting.pop()
        if unit in found:
            continue
        found.add(unit)
        for name in unit.names & units.keys():
            waiting += [other for other in units[name] if visible(other, unit)]
    return found


def listed(root):
    """Option -> the verbs of its row in docs/options.md, which is made from the schema."""
    rows = re.findall(r"^\| `--(\w+)` \|.*\| ([\w, ]+) \| \w+ \|$", (root / "docs/options.md").read_text(), re.M)
    return {option: set(verbs.split(", ")) for option, verbs in rows}


def main():
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).resolve().parents[1])
    units, includes, headers = read_sources(root)
    fields, options = groups(root), listed(root)
    complaints = []
    for verb in VERBS:
        read = set(COMMAND_LINE)
        for unit in reached(verb, units, includes, headers):
            read.update(RESOLVED.get(field, field) for field in reads(unit, units, fields))
        lists = {option for option, verbs in options.items() if verb in verbs}
        complaints += [f"trireme {verb} lists --{option}, and nothing reads it"
                       for option in sorted(lists - read - SAID_TO_DO_NOTHING)]
    print("\n".join(complaints) or f"{len(options)} options, {len(VERBS)} verbs: each lists what it reads")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
