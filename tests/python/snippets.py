"""Constructs of chat templates, each rendered by this program and by transformers with VARIABLES."""

VARIABLES = {
    "s": "  Hello, wörld!\n", "t": "a.b.c", "e": "", "n": 7, "z": 0, "f": 2.5, "yes": True, "no": False, "nothing": None,
    "l": [3, 1, 2], "words": ["b", "A", "c", "a"], "empty": [],
    "d": {"b": 1, "a": "x<y", "C": [1, {"k": None}], "items": "own"},
    "rows": [{"t": "x", "v": 1}, {"t": "y", "v": 2, "w": {"q": 5}}, {"t": "x", "v": 3}], "zh": "你好，世界",
}


def outputs(*expressions):
    return [f"{{{{ {expression} }}}}" for expression in expressions]


GROUPS = {
    "arithmetic": outputs(
        "1 + 2 * 3 ** 2", "-7 // 2", "-7 % 3", "7 % -3", "7 / 2", "6 / 2", "2 ** -1", "-n ** 2", "(-n) ** 2", "7.5 // 2", "-7.5 % 2",
        "1e16", "1e15", "0.1 + 0.2", "1e-5", "1.0", "f * 2", "yes + 1", "'a' * 3", "3 * [1, 2]", "'a' + 'b' * 2", "[1] + [2]",
        "(1,) + (2,)", "1 ~ 2 ~ none", "n ~ f ~ yes", "1_000", "+n", "not n", "not not e", "-f", "1 / 0", "1 + 'a'", "'a' + 1", "nothing + 1",
        "missing + 1", "'%s is %d%%' % ('x', 3)", "'%05.2f|%-5s|%5s' % (f, 'a', 'b')", "'%s' % l", "'%x' % 255", "'%r' % 'a'",
        "'{} {1}'", "'{}-{}'.format(1, 'b')", "'{1}{0}'.format('a', 'b')", "'{x:>4}|{y:.2f}|{z:04d}'.format(x='a', y=f, z=n)",
        "'{:,}'.format(1234567)", "'{0.x}|{{}}'.format({'x': 1})", "9223372036854775807", "-9223372036854775807"),
    "comparison": outputs(
        "1 < 2 < 3", "1 < 3 < 2", "1 == 1.0", "yes == 1", "'a' < 'b'", "[1, 2] < [1, 3]", "'a' in 'abc'", "'x' not in 'abc'",
        "1 in l", "'b' in d", "'z' in d", "'x' in missing", "1 in 'a'", "1 < 'a'", "none == missing", "missing == missing2", "l == [3, 1, 2]",
        "(1, 2) == [1, 2]", "d == d", "1 and 'x'", "0 or 'y'", "e or nothing", "yes and no or 3", "not yes and no", "1 if e else 2",
        "'x' if yes", "'x' if no", "(1 if yes else 2) + 1", "1 if no else 2 if no else 3", "2 >= 2", "2 <= 1", "'é' > 'z'"),
    "values": outputs(
        "none", "true", "True", "l", "d", "(1,)", "()", "('a', \"it's\")", "['\\n\\t\\\\', 'é', '\\x01', 'a\"b\\'c']", "[1.0, none, true]",
        "{'a': {'b': [1]}}", "{}", "[[]]", "missing", "'a' 'b'", "'\\u4f60\\x41\\101\\q'", "\"\\'\"", "zh", "[zh]", "{1: 'a', 'b': 2}[1]", "d.b",
        "d['a']", "d.missing", "d.missing.x", "missing.x", "nothing.x", "l[0]", "l[-1]", "l[9]", "l.0", "d.C[1].k", "t[1]", "zh[1]", "zh[-1]",
        "d.items", "d['items']", "l[1:]", "l[:-1]", "l[::-1]", "t[::2]", "t[-3:]", "zh[1:3]", "t[10:]", "l[5:1:-1]", "t[::-2]", "t[4:0:-2]",
        "(1, 2, 3)[1:]", "l[::0]", "s.x", "'a'.upper.x", "l['a']", "d[missing]", "1, 2", "namespace(a=1).a", "namespace({'b': 2}).b",
        "namespace(a=1).c", "dict(a=1, b=2)", "dict([('a', 1)])", "dict({'a': 1}, b=2).b", "range(3) | list", "range(2, 8, 3) | list",
        "range(3, 0, -1) | list", "range(10**12) | list", "range(0) | list"),
    "string methods": outputs(
        "s.strip()", "s.lstrip() ~ '|'", "s.rstrip('\\n!') ~ '|'", "t.split('.')", "t.split('.', 1)", "t.rsplit('.', 1)", "s.split()",
        "' a  b c '.split(none, 1)", "''.split()", "''.split('.')", "t.split('')", "t.startswith('a')", "t.startswith(('x', 'a'))",
        "t.endswith('c')", "t.endswith(('x',))", "t.replace('.', '-')", "t.replace('.', '-', 1)", "'ab'.replace('', '-')", "t.find('b')",
        "zh.find('世')", "t.find('x')", "t.index('x')", "t.rfind('.')", "t.count('.')", "zh.upper()", "'straße'.upper()", "s.title()",
        "'hELLO wORLD'.capitalize()", "\"it's o'neil x-y a1b\".title()", "'-'.join(['a', 'b'])", "'-'.join('abc')", "'-'.join([1])",
        "'a\\nb\\r\\nc'.splitlines()", "'12'.isdigit()", "' '.isspace()", "'ab'.islower()", "'AB'.isupper()", "t.partition('.')",
        "t.rpartition('.')", "t.partition('x')", "'abc'.removeprefix('a')", "'abc'.removesuffix('c')", "'ÀÉ'.lower()", "'\\x1c a'.strip()",
        "t.nothing()", "t.strip(1)"),
    "other methods": outputs(
        "d.get('b')", "d.get('z')", "d.get('z', 5)", "{'a': 1}.keys() | list", "{'a': 1}.values() | list", "{'a': 1}.items() | list",
        "l.index(1)", "l.count(3)", "l.append(1)", "l.pop()", "d.update({})", "l.index(9)", "{'a': 1}.pop('a')", "[].clear()"),
    "filters": outputs(
        "s | trim", "s | trim('\\n')", "s | upper", "words | lower", "'hello World' | capitalize", "\"it's a-b c_d\" | title", "l | length",
        "zh | length", "d | length", "missing | length", "n | length", "missing | default('x')", "e | default('x')", "e | default('x', true)",
        "e | d('x', boolean=true)", "nothing | default('x')", "l | join", "l | join(',')", "rows | join('-', attribute='t')", "e | join('-')",
        "zh | join('-')", "words | map('upper') | list", "rows | map(attribute='v') | list", "rows | map(attribute='w.q') | list",
        "rows | map(attribute='w', default=0) | list", "nothing | map('upper') | list", "l | select('odd') | list", "l | select | list",
        "l | reject('equalto', 1) | list", "rows | selectattr('w') | list", "rows | selectattr('t', 'equalto', 'x') | list",
        "rows | rejectattr('t', 'eq', 'x') | list", "rows | selectattr('v', '>', 1) | map(attribute='v') | list",
        "l | first", "l | last", "empty | first", "zh | first", "zh | last", "d | first", "l | list", "zh | list", "d | list", "{'b': 1} | items | list",
        "missing | items | list", "l | items", "d | dictsort | length", "{'b': 1, 'A': 2} | dictsort", "{'b': 1, 'A': 2} | dictsort(true)",
        "{'b': 1, 'A': 2} | dictsort(by='value')", "{'b': 1, 'A': 2} | dictsort(reverse=true)", "l | sort", "words | sort",
        "words | sort(case_sensitive=true)", "l | sort(reverse=true)", "rows | sort(attribute='v', reverse=true) | map(attribute='v') | list",
        "words | unique | list", "l | reverse | list", "zh | reverse", "l | min", "l | max", "empty | max", "words | max", "l | sum",
        "rows | sum(attribute='v')", "l | sum(start=10)", "'7' | int", "'7.9' | int", "'x' | int", "'x' | int(3)", "f | int", "' 8 ' | int",
        "'2.5' | float", "'x' | float", "n | float", "-n | abs", "2.567 | round(2)", "2.5 | round", "n | round", "n | string ~ 'a'", "nothing | string",
        "'a\\nb\\n\\nc' | indent", "'a\\nb' | indent(2, true)", "'a\\n\\nb' | indent('> ', blank=true)", "'a.b' | replace('.', '-')",
        "n | replace('7', '8')", "'aaa' | replace('a', 'b', 2)", "'<a&b>' | escape", "'<a>' | e | e", "('<a>' | safe) + '<b>'", "'<b>' + ('<a>' | safe)",
        "('<a>' | safe) ~ '<b>'", "('<a>' | safe | trim) + '&'", "'%s-%s' | format('a', 1)", "l | map('string') | join('+')", "l | select('odd') | length",
        "s | nope", "l | attr('x')", "n | upper", "l | length is odd"),
    "tojson": outputs(
        "d | tojson", "l | tojson(indent=2)", "{'b': [1, {'a': []}], 'a': {}} | tojson(indent=4)", "{'b': 1, 'a': 2} | tojson(sort_keys=true)",
        "{'b': 1} | tojson(separators=(',', ':'))", "zh | tojson", "zh | tojson(ensure_ascii=true)", "'😀\\x7f\\x01' | tojson(ensure_ascii=true)",
        "'\"\\\\\\n\\t\\x08\\x0c\\r\\x01\\x7f/' | tojson", "1.0 | tojson", "1e100 | tojson", "none | tojson", "true | tojson", "(1, 2) | tojson",
        "{1: 'a', none: 2, true: 3} | tojson", "missing | tojson", "[missing] | tojson", "'<>&' | tojson", "[] | tojson(indent=2)", "d | tojson | length"),
    "tests": outputs(
        "n is defined", "missing is defined", "missing is undefined", "nothing is none", "nothing is not none", "yes is true", "1 is true", "no is false",
        "yes is boolean", "n is number", "yes is number", "f is float", "n is integer", "yes is integer", "s is string", "d is mapping", "l is mapping",
        "l is sequence", "s is sequence", "d is sequence", "n is sequence", "missing is sequence", "l is iterable", "n is iterable", "missing is iterable",
        "range is callable", "n is callable", "n is odd", "n is even", "n is divisibleby 7", "n is divisibleby(2)", "n is eq 7", "n is sameas 7",
        "n is in [7]", "n is gt 3", "n is lt(3)", "n is ne 7", "n is ge 7", "'ab' is lower", "'AB' is upper", "'trim' is filter", "'odd' is test",
        "n is nope", "not n is defined", "n is defined and s is string", "d.x is defined", "d.b is defined", "none is none", "(l | map('upper')) is sequence"),
    "statements": [
        "{% if n == 1 %}a{% elif n == 7 %}b{% else %}c{% endif %}", "{% for x in l %}{{ x }}{% else %}none{% endfor %}",
        "{% for x in empty %}{{ x }}{% else %}none{% endfor %}", "{% for x in l if x > 1 %}{{ loop.index }}/{{ loop.length }}:{{ x }} {% endfor %}",
        "{% for x in l if x > 5 %}{{ x }}{% else %}none{% endfor %}", "{% for k, v in d.C[1].items() %}{{ k }}={{ v }}{% endfor %}",
        "{% for k in d %}{{ k }}{% endfor %}", "{% for c in zh %}{{ c }}-{% endfor %}", "{% for (a, b), c in [((1, 2), 3)] %}{{ a ~ b ~ c }}{% endfor %}",
        "{% for a, b in [1] %}{% endfor %}", "{% for x in n %}{% endfor %}", "{% for x in missing %}{% else %}e{% endfor %}",
        "{% for x in l %}{{ loop.first }}{{ loop.last }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.previtem }}{{ loop.nextitem }} "
        "{{ loop.depth }}{{ loop.cycle('a', 'b') }}{{ loop.changed(x > 1) }}{% endfor %}",
        "{% for x in l %}{% if loop.previtem is defined %}p{% endif %}{% if not loop.last and loop.nextitem == 1 %}n{% endif %}{% endfor %}",
        "{% for x in l %}{% if x == 1 %}{% continue %}{% endif %}{% if x == 2 %}{% break %}{% endif %}{{ x }}{% endfor %}",
        "{% for x in l %}{% for y in l %}{% if y == 1 %}{% break %}{% endif %}{{ x ~ y }} {% endfor %}{{ loop.index }}{% endfor %}",
        "{% set x = 1 %}{% for i in l %}{% set x = i %}{{ x }}{% endfor %}{{ x }}", "{% set x = 1 %}{% if yes %}{% set x = 2 %}{% endif %}{{ x }}",
        "{% for i in l %}{{ x is defined }}{% set x = i %}{% endfor %}", "{% set a, b = 1, 2 %}{{ a ~ b }}", "{% set a = 1, 2 %}{{ a }}",
        "{% set ns = namespace(x=0) %}{% for i in l %}{% set ns.x = ns.x + i %}{% endfor %}{{ ns.x }}", "{% set n.x = 1 %}",
        "{% set b %}a{{ n }}\n{% endset %}[{{ b }}]", "{% set b | upper | trim %} a {% endset %}[{{ b }}]", "{% filter upper %}a{{ s }}{% endfilter %}",
        "{% macro m(a, b=2, c=b) %}{{ a }}{{ b }}{{ c }}{% endmacro %}{{ m(1) }} {{ m(1, c=5) }} {{ m(b=3, a=0) }} {{ m() }}",
        "{% macro m() %}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, 2, x=3) }}", "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, 2) }}",
        "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(b=2) }}", "{% macro m(a) %}{{ a.x is defined }}{% endmacro %}{{ m({'x': 1}) }}{{ m.name }}",
        "{% macro m(x) %}[{{ caller(x) }}]{% endmacro %}{% call(y) m(3) %}{{ y + 1 }}{% endcall %}{% call m(1) %}q{% endcall %}",
        "{% macro m() %}{{ caller is defined }}{% endmacro %}{{ m() }}", "{% macro m() %}{{ late }}{% endmacro %}{% set late = 5 %}{{ m() }}",
        "{% macro f(k) %}{% if k > 0 %}{{ k }}{{ f(k - 1) }}{% endif %}{% endmacro %}{{ f(5) }}",
        "{% macro m(a, b) %}{{ a ~ b }}{% endmacro %}{{ m(*[1, 2]) }}{{ m(**{'a': 3, 'b': 4}) }}{{ m(1, *[2]) }}",
        "{% with a = 1, b = 2 %}{{ a + b }}{% endwith %}{{ a is defined }}", "{% set m = l | map('string') %}{{ m | list }}{{ m | list }}",
        "{% if l | select('gt', 9) %}generators are true{% endif %}", "{% raw %}{{ x }}{% endraw %}", "a{# {{ x }} #}b", "{{ {'a': {'b': 1}} }}",
        "{{ '}}' ~ '%}' }}", "{%- set x = 1 -%}\n {{- x -}} \n y", "{% generation %}a{{ n }}{% endgeneration %}b", "{{ raise_exception('no') }}",
        "{{ raise_exception('a ' ~ n) }}", "{{ strftime_now('%Y-%m-%d') }}", "{% if strftime_now is defined %}x{% endif %}", "{% endfor %}", "{% if %}",
        "{{ 1 + }}", "{{ ) }}", "{% nope %}", "{{ 'a", "{% set x %}", "{{ a b }}", "{{ 5 is }}", "a\n", "a\n\n", "{{ '\r\n' }}\r\nb\r", "{{ n }}\n{% if 1 %}\n",
        "{% for i in l %}{% set ns2 = namespace(v=i) %}{{ ns2.v }}{% endfor %}", "{{ (l, 1)[0] }}", "{{ [n, f,] }}{{ {'a': 1,} }}{{ range(2,) | list }}",
        "{% set x = 'a' if yes else 'b' %}{{ x }}", "{% for x in [1, 2] + [3] %}{{ x }}{% endfor %}", "{% for x in l | sort | reverse %}{{ x }}{% endfor %}",
        "{% for x in l[1:] %}{{ x }}{% endfor %}{% for x in (1, 2) %}{{ x }}{% endfor %}{% for x in 1, 2 %}{{ x }}{% endfor %}"],
}
