"""Writes tests/golden/text/jinja.json: small templates, what they see, and what Jinja2 makes of them.

Usage: python tests/ref/jinja_golden.py        (Jinja2 3.1.6; the environment is set up as transformers does)
"""
import json
import pathlib

import jinja2
import jinja2.ext
import jinja2.sandbox


def raise_exception(message):
    raise jinja2.exceptions.TemplateError(message)


def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


class Generation(jinja2.ext.Extension):
    """{% generation %}: the body in a scope of its own, printed."""
    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_body"), [], [], body).set_lineno(line)

    def _body(self, caller):
        return caller()


env = jinja2.sandbox.ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True,
                                                   extensions=[Generation, jinja2.ext.loopcontrols])
env.filters["tojson"] = tojson
env.globals["raise_exception"] = raise_exception

V = dict(
    s="Hello, World", e="", n=None, t=True, f=False, i=42, neg=-7, x=2.5, big=1e22, small=1e-7, u="naïve 中文 🙂\n\"q\" 'a' \\",
    l=[3, 1, 2], ls=["b", "A", "c", "a"], d={"b": 1, "a": [1, {"k": None}], "items": "mine"}, sp="  two  words \n",
    m=[{"role": "user", "content": "hi", "n": 2}, {"role": "tool", "content": "ok", "n": 1}, {"role": "user", "n": 3}],
    huge=123456789012345678901234567890, tree=[{"n": "a", "c": [{"n": "b", "c": [{"n": "c", "c": []}]}, {"n": "d", "c": []}]}],
    pairs=[["a", [1, 2]], ["b", [3, 4]]], x2=[{"role": "User", "n": 1}, {"role": "user", "n": 2}, {"role": "tool", "n": 3}],
    lines="one\n  two\n\nthree", html="<a href=\"x\">&'", nested=[[1, 2], [3, 4]], digits="0123456789",
)

T = r"""
{{ s }}|{{ e }}|{{ n }}|{{ t }}|{{ f }}|{{ i }}|{{ x }}|{{ big }}|{{ small }}|{{ l }}|{{ d }}|{{ missing }}
{{ [1.0, 0.1, 1e16, 123456789012345.0, 1e-5, 0.0001, -0.0, 100.0] }}
{{ u }}{{ [u, "it's", 'say "x"', "both ' and \"", "\t\x01\u200b"] }}
{{ (1, 2) }}{{ (1,) }}{{ () }}{{ {'a': 1, 2: 'b'} }}{{ [none, true, false] }}
{{ 7 // 2 }} {{ -7 // 2 }} {{ 7 % 3 }} {{ -7 % 3 }} {{ 7 / 2 }} {{ 2 ** 10 }} {{ 2 * 3 + 4 }} {{ 2 + 3 * 4 }} {{ 1.5 + 1 }} {{ 7.5 // 2 }} {{ -7.5 % 2 }}
{{ 'a' + 'b' }} {{ 'a' ~ 1 ~ none ~ true }} {{ 'ab' * 3 }} {{ [1] + [2] }} {{ [0] * 3 }} {{ 1 ~ 3 * 2 }} {{ true + 1 }}
{{ 1 < 2 < 3 }} {{ 1 < 2 > 3 }} {{ 'a' < 'b' }} {{ 1 == 1.0 }} {{ true == 1 }} {{ [1, 2] == [1, 2] }} {{ {'a': 1} == {'a': 1} }} {{ 'a' != 'b' }} {{ [1, 2] < [1, 3] }} {{ missing == missing2 }}
{{ 'ell' in s }} {{ 'x' in s }} {{ 3 in l }} {{ 9 not in l }} {{ 'a' in d }} {{ 'zz' in d }} {{ 'a' in missing }} {{ not 1 in l }}
{{ t and f }} {{ t or f }} {{ e or 'x' }} {{ n and 1 }} {{ not e }} {{ 0 or [] or 'last' }} {{ not t or t }}
{{ 'yes' if t else 'no' }} {{ 'yes' if f }} {{ 1 if f else 2 if f else 3 }} {{ ('a' if t else 'b') ~ 'c' }}
{{ -i }} {{ +i }} {{ - 3 + 5 }} {{ -3 | abs }} {{ (-3) | abs }} {{ not not t }} {{ 2 - -2 }}
{{ s[0] }} {{ s[-1] }} {{ s[7:] }} {{ s[:5] }} {{ s[::-1] }} {{ s[1:8:2] }} {{ u[6] }} {{ u[6:8] }} {{ s[50:] }}|{{ s[99] }}|{{ l[5] }}
{{ l[0] }} {{ l[-1] }} {{ l[1:] }} {{ l[::-1] }} {{ l[:-1] }} {{ (1,2,3)[1:] }} {{ digits[8:2:-2] }} {{ digits[-3:] }} {{ digits[:-8] }} {{ digits[20:1:-3] }}
{{ d.b }} {{ d['b'] }} {{ d.a[1].k }} {{ d.zz }}|{{ d['zz'] }}|{{ d.get('zz') }} {{ d.get('zz', 5) }} {{ d.get('b') }} {{ d['items'] }} {{ l.0 }}
{{ d.items() | list }} {{ d.keys() | list }} {{ d.values() | list }} {% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}
{{ s.upper() }} {{ s.lower() }} {{ s.title() }} {{ 'hELLO wORLD'.capitalize() }} {{ "they're bill's".title() }} {{ s.startswith('Hell') }} {{ s.endswith(('x', 'ld')) }} {{ s.replace('l', 'L') }} {{ s.replace('l', 'L', 1) }} {{ s.find('W') }} {{ s.find('z') }} {{ s.count('l') }} {{ s.index('o') }} {{ u.find('🙂') }}
{{ 'a,b,,c'.split(',') }} {{ ' a  b c '.split() }} {{ 'a,b,c'.split(',', 1) }} {{ 'a b  c '.split(none, 1) }} {{ 'a,b,c'.rsplit(',', 1) }} {{ ' a b c '.rsplit(none, 1) }} {{ 'abc'.split('') if f else 'ok' }} {{ lines.splitlines() }} {{ ''.split(',') }} {{ ''.split() }} {{ 'a--b'.partition('--') }}
[{{ sp.strip() }}] [{{ sp.lstrip() }}] [{{ sp.rstrip() }}] [{{ 'xxaxx'.strip('x') }}] [{{ 'abcab'.lstrip('ba') }}] [{{ '中a中'.strip('中') }}] [{{ '\u00a0a\u3000'.strip() }}]
{{ '{} and {}'.format(1, 'b') }} {{ '{0}{1}{0}'.format('x', 'y') }} {{ '{a}-{{}}'.format(a=3) }} {{ ', '.join(ls) }} {{ ''.join(['a']) }} {{ '7'.zfill(3) }} {{ '-7'.zfill(4) }} {{ 'prefix-x'.removeprefix('prefix-') }} {{ 'x.py'.removesuffix('.py') }} {{ '12'.isdigit() }} {{ 'a1'.isalnum() }} {{ ''.isdigit() }} {{ 'AB'.isupper() }} {{ ' '.isspace() }}
{{ s | length }} {{ u | length }} {{ l | length }} {{ d | length }} {{ missing | length }} {{ l | count }} {{ range(5) | length }}
{{ s | upper }} {{ s | lower }} {{ 'hello world' | title }} {{ "it's o'neil-smith" | title }} {{ 'HELLO' | capitalize }} {{ n | upper }} {{ 5 | string ~ 'x' }} [{{ sp | trim }}] [{{ 'xax' | trim('x') }}] {{ missing | upper }}|
{{ missing | default('d') }} {{ n | default('d') }} {{ n | default('d', true) }} {{ e | d('x', boolean=true) }} {{ missing | default }}|{{ 0 | default(1) }}
{{ l | join }} {{ l | join(', ') }} {{ ls | join('-') }} {{ m | join(',', attribute='role') }} {{ 'abc' | join('.') }} {{ missing | join }}|
{{ l | first }} {{ l | last }} {{ [] | first }}|{{ 'abc' | first }} {{ 'abc' | last }} {{ d | first }} {{ missing | first }}|{{ 'abc' | list }} {{ d | list }} {{ missing | list }}
{{ l | sort }} {{ ls | sort }} {{ ls | sort(case_sensitive=true) }} {{ l | sort(reverse=true) }} {{ m | sort(attribute='n') | map(attribute='n') | list }} {{ d | dictsort }} {{ d | dictsort(reverse=true) }} {{ {'x': 2, 'y': 1} | dictsort(by='value') }}
{{ l | min }} {{ l | max }} {{ l | sum }} {{ m | sum(attribute='n') }} {{ [] | min }}|{{ [1, 2, 1, 3] | unique | list }} {{ ['a', 'A'] | unique | list }} {{ l | reverse | list }} {{ 'abc' | reverse }}
{{ m | map(attribute='role') | list }} {{ m | map(attribute='content', default='?') | list }} {{ ls | map('upper') | list }} {{ ls | map('replace', 'a', 'z') | join }} {{ n | map('upper') | list }}
{{ l | select('odd') | list }} {{ l | reject('odd') | list }} {{ [0, 1, '', 'a'] | select | list }} {{ m | selectattr('role', 'equalto', 'user') | list | length }} {{ m | rejectattr('content') | list }} {{ m | selectattr('content', 'defined') | map(attribute='role') | join(',') }} {{ m | selectattr('n', '>', 1) | map(attribute='n') | list }} {{ n | selectattr('a') | list }}
{{ '42' | int }} {{ 'x' | int }} {{ 'x' | int(7) }} {{ 3.9 | int }} {{ ' 12 ' | int }} {{ '3.7' | int }} {{ '1.5' | float }} {{ 'z' | float }} {{ 2 | float }} {{ 3.14159 | round(2) }} {{ 2.5 | round }} {{ 3.2 | round(method='ceil') }} {{ 3.8 | round(0, 'floor') }} {{ 42 | round }} {{ n | int }} {{ true | int }}
{{ d | tojson }} {{ u | tojson }} {{ [1, 2.0, none, true, "é"] | tojson }} {{ d | tojson(indent=2) }} {{ [] | tojson(indent=2) }} {{ {} | tojson }} {{ "é🙂\x7f" | tojson(ensure_ascii=true) }} {{ d | tojson(separators=(',', ':')) }} {{ {'b': 1, 'a': 2} | tojson(sort_keys=true) }} {{ (1, 2) | tojson }} {{ {1: 2, none: 3, true: 4} | tojson }} {{ [[], {}, [{}]] | tojson(indent=4) }}
{{ lines | indent }}|{{ lines | indent(2) }}|{{ lines | indent(2, true) }}|{{ lines | indent(1, blank=true) }}|{{ lines | indent('> ', first=true) }}
{{ html | escape }} {{ html | e }} {{ html | safe }} {{ html | safe + '<b>' }} {{ '<i>' + html | safe }} {{ (html | safe) ~ '<b>' }} {{ 'abc' | replace('b', 'BB') }} {{ 'aaa' | replace('a', 'b', 2) }} {{ 'ab' | replace('', '-') }}
{{ d | items | list }} {{ missing | items | list }} {{ {'a': {'b': 5}} | attr('items') is callable }}
{{ s is string }} {{ i is number }} {{ t is number }} {{ i is integer }} {{ t is integer }} {{ x is float }} {{ t is boolean }} {{ t is true }} {{ 1 is true }} {{ f is false }} {{ n is none }} {{ n is not none }} {{ missing is defined }} {{ s is defined }} {{ missing is undefined }} {{ d is mapping }} {{ l is mapping }} {{ l is sequence }} {{ s is sequence }} {{ d is sequence }} {{ l is iterable }} {{ i is iterable }} {{ n is iterable }} {{ missing is iterable }} {{ range is callable }} {{ s is callable }}
{{ 3 is odd }} {{ 3 is even }} {{ 9 is divisibleby 3 }} {{ 9 is divisibleby(2) }} {{ 1 is eq 1 }} {{ 1 is ne 2 }} {{ 1 is lt(2) }} {{ 3 is gt 2 }} {{ 'a' is in 'abc' }} {{ 1 is in [1, 2] }} {{ 'AB' is upper }} {{ 'ab' is lower }} {{ n is sameas none }} {{ 1 is not eq 2 and true }} {{ 5 is ge 5 }} {{ 'a' is equalto 'a' }} {{ d.items() is sequence }} {{ (l | map('string')) is sequence }} {{ (l | map('string')) is iterable }}
{% for a in l %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.previtem }}{{ loop.nextitem }}{{ loop.depth }}{{ loop.cycle('x', 'y') }}{{ loop.changed(a > 1) }};{% endfor %}
{% for a in [] %}x{% else %}empty{% endfor %} {% for a in l if a > 1 %}{{ a }}/{{ loop.length }} {% endfor %}{% for a, b in nested %}{{ a }}{{ b }} {% endfor %}{% for a in 'xyz' %}{{ a }}.{% endfor %}{% for k in d %}{{ k }}{% endfor %}{% for q in missing %}x{% else %}none{% endfor %}
{% for a in l %}{% if a == 1 %}{% continue %}{% endif %}{{ a }}{% endfor %} {% for a in l %}{% if a == 1 %}{% break %}{% endif %}{{ a }}{% endfor %} {% for a in nested %}{% for b in a %}{{ loop.depth }}{{ b }}{% endfor %}{% endfor %}
{% set z = 1 %}{% for a in l %}{% set z = a %}{{ z }}{% endfor %}{{ z }} {% set ns = namespace(c=0, s='') %}{% for a in l %}{% set ns.c = ns.c + a %}{% endfor %}{{ ns.c }} {% set a, b = 1, 2 %}{{ a }}{{ b }} {% set q %}block {{ i }}{% endset %}[{{ q }}] {% set q | upper | replace('B', 'b') %}block{% endset %}{{ q }} {% if t %}{% set inif = 3 %}{% endif %}{{ inif }}
{% macro m1(a, b='B', c=a) %}<{{ a }}{{ b }}{{ c }}>{% endmacro %}{{ m1(1) }}{{ m1(1, c=3) }}{{ m1(b=2, a=1) }}{{ m1() }}{% macro fact(k) %}{{ k * (fact(k - 1) | int) if k > 1 else 1 }}{% endmacro %}{{ fact(5) }}{% set late = 5 %}{% macro sees() %}{{ late }}{{ s }}{% endmacro %}{% set late = 6 %}{{ sees() }}{{ m1(1) | length }}
{% macro wrap(tag) %}<{{ tag }}>{{ caller() }}</{{ tag }}>{% endmacro %}{% call wrap('b') %}in {{ i }}{% endcall %}{% macro each(items) %}{% for it in items %}{{ caller(it) }}{% endfor %}{% endmacro %}{% call(it) each(l) %}[{{ it }}]{% endcall %}
{% filter upper %}abc {{ s }}{% endfilter %} {% with a = 1, b = 2 %}{{ a + b }}{% endwith %}{{ a }} {% raw %}{{ not }} {% this %}{% endraw %} {# comment #}x{# {{ a }} #}
{{ range(3) | list }} {{ range(1, 4) | list }} {{ range(5, 0, -2) | list }} {{ dict(a=1, b=2) }} {{ dict(d, z=1).z }} {{ [1, 2, 3,] }} {{ {'a': 1,} }} {{ 'a' 'b' }} {{ "\u00e9\n\x41\101\q" }} {{ 1_000 }} {{ 1e3 }} {{ 1.5e-3 }}
{{ d.a is defined and d.a[1] is mapping }} {{ m[2].content is defined }} {{ (m | last).role }} {{ m[-1]['role'] }} {{ m | length > 2 }} {{ 'a' if m[0].role == 'user' and not m[0].x else 'b' }} {{ s | lower | replace('l', 'L') | length + 1 }} {{ -1 | abs }} {{ i | string | length }} {{ (i ~ '') is string }}
{%- if t -%}  a  {%- endif -%}  b  {{- ' c ' -}}  d
end {%+ if t %} plus {% endif +%}
tail {{ '\n' }}
  {#- trimmed -#}  x {#+ y +#}
  {{ s -}}
  next
{% if f %}a{% elif n %}b{% elif i > 40 %}c{% else %}d{% endif %}{% if l %}{% if e %}x{% else %}y{% endif %}{% endif %}
{% generation %}a {{ s }}{% endgeneration %}b{% for a in l %}{% generation %}{{ loop.index }}{% set z = a %}{{ z }}{% endgeneration %}{{ z }}{% endfor %}
{%- generation -%} x {%- endgeneration -%} y
{% for node in tree recursive %}{{ loop.depth }}{{ loop.depth0 }}{{ node.n }}[{{ loop(node.c) }}]{% endfor %} {% for node in tree recursive %}<{{ node.n }}{% if node.c %}{{ loop(node.c) }}{% endif %}>{% else %}leaf{% endfor %}
{% for a, (b, c) in pairs %}{{ a }}{{ b }}{{ c }};{% endfor %}{% for (a, b) in nested %}{{ a }}{{ b }}{% endfor %}{% set a, (b, c) = 1, (2, 3) %}{{ a }}{{ b }}{{ c }}{% set (p, q) = (5, 6) %}{{ p }}{{ q }}
{% macro va(a) %}{{ a }}|{{ varargs }}|{{ kwargs }}{% endmacro %}{{ va(1, 2, 3, k=4) }} {{ va(*l) }} {{ va(**{'a': 1, 'z': 2}) }} {{ va(*[1], **{'y': 2}) }} {% macro one(a, b=2) %}{{ a }}{{ b }}{% endmacro %}{{ one(*[8, 9]) }} {{ one(b=1, *[3]) }} {{ dict(**{'a': 1}) }} {{ 'a{}b{}'.format(*[1, 2]) }}
{% set ns = namespace(q='') %}{% set ns.q %}in {{ i }}{% endset %}{{ ns.q }} {% set ns.q | upper %}abc{% endset %}{{ ns.q }}
{{ huge }} {{ [huge] }} {{ huge | tojson }} {{ huge == huge }} {{ huge > 5 }} {{ huge < 1 }} {{ -huge }} {{ huge is integer }} {{ huge is number }} {{ huge is odd }} {{ 99999999999999999999 }} {{ '99999999999999999999' | int }} {{ 1e22 | int }} {{ huge | string | length }} {{ huge | abs }} {{ -9223372036854775808 }} {{ huge == 1.5 }} {{ huge | float }}
{{ 0x1F }} {{ 0b101 }} {{ 0o17 }} {{ 1_0.5 }} {{ '0x1f' | int(base=16) }} {{ 'ff' | int(0, 16) }} {{ '101' | int(base=2) }} {{ 'zz' | int(7, 10) }} {{ '-12' | int }} {{ '+12' | int }} {{ '1_0' | int('no') if f else 1 }}
{{ '%s and %r' % ('a', 'b') }} {{ '%d%%' % 5 }} {{ '%05d|%5d|%-5d|%+d' % (42, 42, 42, 42) }} {{ '%.2f %8.3f %e %g %G' % (3.14159, 2.5, 12345.678, 0.0001, 1e20) }} {{ '%x %X %o' % (255, 255, 8) }} {{ '%(a)s-%(b)03d' % {'a': 'x', 'b': 7} }} {{ '%s' % 'one' }} {{ '%5s|%-5s|%.2s' % ('ab', 'ab', 'abc') }} {{ '%c%c' % (65, 66) }} {{ '%s' % none }} {{ '%d' % 3.99 }}
{{ '{:>5}|{:<5}|{:^5}|{:*^7}'.format('ab', 'ab', 'ab', 'ab') }} {{ '{:05d} {:+d} {:,} {:_} {:x} {:#x} {:b} {:o}'.format(42, 42, 1234567, 1234567, 255, 255, 5, 8) }} {{ '{:.2f} {:10.3f} {:e} {:%} {:.1%} {:g}'.format(3.14159, 2.5, 12345.678, 0.25, 0.256, 1e10) }} {{ '{0[a]} {1.role} {m[role]}'.format({'a': 5}, m[0], m=m[1]) }} {{ '{!r} {!s}'.format('a', 'b') }} {{ '{:{}}|{:>{w}}'.format('a', 3, 'b', w=4) }} {{ '{:.3}'.format('abcdef') }} {{ '{:,.2f}'.format(1234567.891) }} {{ '{:<4}|'.format(7) }} {{ '{:=+6d}'.format(7) }} {{ '{}'.format([1, 'a']) }} {{ '{:d}'.format(t) }} {{ '{a}'.format_map({'a': 1}) }}
{{ 'a-b-c'.rpartition('-') }} {{ 'abc'.rpartition('-') }} {{ 'abc'.partition('-') }} {{ 'ab'.center(7, '*') }} {{ 'abc'.center(6) }}| {{ 'ab'.center(5) }}| {{ 'ab'.ljust(4) }}| {{ 'ab'.rjust(4, '.') }} {{ 'Straße'.casefold() }} {{ 'aBc'.swapcase() }} {{ 'a\tbc\td'.expandtabs(4) }} {{ 'abc'.isascii() }} {{ 'é'.isascii() }} {{ 'Ab Cd'.istitle() }} {{ 'ab'.istitle() }}
{{ 'banana'.find('a', 2) }} {{ 'banana'.find('a', 2, 3) }} {{ 'banana'.rfind('a', 0, 4) }} {{ 'banana'.count('a', 2) }} {{ 'banana'.index('n', 3) }} {{ 'banana'.rindex('a') }} {{ 'banana'.startswith('n', 2) }} {{ 'banana'.endswith('an', 0, -1) }} {{ 'banana'.find('b', -3) }} {{ 'banana'.find('', 9) }} {{ 'banana'.count('', 2) }}
{{ [1, 2, 3, 4, 5] | batch(2) | list }} {{ [1, 2, 3, 4, 5] | batch(2, 'x') | list }} {{ [1, 2, 3, 4, 5] | slice(3) | list }} {{ [1, 2, 3, 4, 5] | slice(3, 'x') | list }} {{ [] | batch(3) | list }} {{ [1] | slice(2) | list }}
{% for g in x2 | groupby('role') %}{{ g.grouper }}:{{ g.list | map(attribute='n') | list }} {% endfor %}{% for k, items in x2 | groupby('role', case_sensitive=true) %}{{ k }}{{ items | length }} {% endfor %}{% for k, items in m | groupby('content', default='?') %}{{ k }}{{ items | length }} {% endfor %}
{{ x2 | sort(attribute='role,n', reverse=true) | map(attribute='n') | list }} {{ x2 | unique(attribute='role') | map(attribute='n') | list }} {{ x2 | min(attribute='n') }} {{ x2 | max(attribute='n') }} {{ ['b', 'A'] | min }} {{ ['b', 'A'] | max(case_sensitive=true) }}
{{ 'hello big wide world' | truncate(12) }} {{ 'hello big wide world' | truncate(12, true) }} {{ 'hello big wide world' | truncate(12, false, '!', 0) }} {{ 'short' | truncate(3) }} {{ 'a b  c_d 1,2' | wordcount }} {{ 'a b&c/d é' | urlencode }} {{ {'a': 1, 'b c': 'd&e'} | urlencode }} {{ [['x', 'y/z']] | urlencode }} [{{ 'mid' | center(9) }}] {{ '%s-%d' | format('a', 3) }} {{ '%(x)s' | format(x=1) }} {{ '<a>' | forceescape }} {{ '<a>' | safe | forceescape }}
{{ 2.675 | round(2) }} {{ 1.115 | round(2) }} {{ 1234.5 | round(-2) }} {{ 0.5 | round }} {{ 1.5 | round }} {{ 2 | round(1) }} {{ -2.5 | round }} {{ 2.345 | round(2, 'floor') }} {{ true | abs }} {{ 1.0 | int }} {{ d | tojson(indent='--') }}
{{ 2.5 is divisibleby 2 }} {{ 4.0 is even }} {{ 3.0 is odd }} {{ -3 is odd }} {{ -9 is divisibleby(-3) }} {{ huge / 2 }} {{ 'ba' | sort(attribute='n') }} {{ missing | truncate(3) }}|
{{ (html | safe) is escaped }} {{ html is escaped }} {{ {'a': 1, 'b': 2} | map('upper') | list }} {{ l | map('float') | list }} {{ ls | select('in', ['a', 'b']) | list }}
""".strip("\n")

MULTI = [
    "   {% if t %}   \n  kept\n   {% endif %}   \nend",
    "a\n", "a\n\n", "  {% if t %}\n  x\n  {% endif %}\n y", "{% for a in l %}\n{{ a }}\n{% endfor %}\nend", "\t {%- if t %} x{% endif %}",
    "x  {%+ if t %}y{% endif %}", "{{ s }}\n{{ s }}", "a {#- c -#} b", "{# c #}\nb", "  {# c #}\n  b", "{% raw %}\n {{ x }}\n{% endraw %}\nend",
    "{%- raw -%} \n {{ x }} {%- endraw -%} \n end", "a\r\nb\rc", "{% set a = 1 -%}\n\n  {{ a }}", "{%- set a = 1 %}\n\n{{ a }}", "x\n   {%- if t %}\n y{% endif %}",
    "{% if t %}  {% if t %}z{% endif %}  {% endif %}", "{{ {'a': {'b': 1}}.a.b }}", "{{ {'a': {'b': 1}} }}", "{% if true %}{{ '%}' }}{% endif %}{{ '}}' }}",
    "{{ s }}{% if t %}\n{% endif %}x", "  {{ s }}  \n", "{{-s-}} x", "{{ 1 -}}\n\n{%- if t %} 2{% endif %}", "{% if t -%}\n  x\n{%- endif %}\n",
]

ERRORS = [
    "{{ missing.x }}", "{{ missing + 1 }}", "{{ n + 'a' }}", "{{ 'a' + n }}", "{{ 'a' + 1 }}", "{{ 1 + 'a' }}", "{{ n | length }}", "{% for a in n %}{% endfor %}", "{% for a in 5 %}{% endfor %}",
    "{{ 'a' in n }}", "{{ 1 in 'abc' }}", "{{ n.x.y }}", "{{ d.zz.y }}", "{{ missing() }}", "{{ s() }}", "{{ n['a']['b'] }}", "{{ raise_exception('no') }}", "{{ l.append(1) }}", "{{ d.update({}) }}",
    "{{ d | nosuch }}", "{{ d is nosuch }}", "{% nosuch %}", "{% if t %}", "{{ s", "{% for a in l %}", "{{ 1 + }}", "{{ (1 }}", "{% endif %}", "{{ 1 / 0 }}", "{{ 1 % 0 }}", "{{ 1 < 'a' }}", "{{ missing < 1 }}",
    "{{ missing | tojson }}", "{{ l | map('upper') | tojson }}", "{% set a.b = 1 %}", "{% set x = 1 %}{% set x.y = 2 %}", "{% for a, b in l %}{% endfor %}", "{{ 'abc' | dictsort }}", "{{ s.split('') }}", "{{ 'a'.nosuch() }}", "{{ [1, 'a'] | sort }}",
    "{{ range(200000) }}", "{% macro a() %}{{ a() }}{% endmacro %}{{ a() }}", "{{ 'unclosed }}", "{# unclosed", "{% raw %}x", "{{ d.items }}{{ d.items.x.y }}", "{{ {[]: 1} }}", "{% include 'x' %}", "{{ (l | map('string')) | length }}", "{{ missing | int }}", "{{ [1, none] | sum }}",
    "{% generation %}", "{% for a in l %}{% generation %}{% break %}{% endgeneration %}{% endfor %}", "{% endgeneration %}", "{% for a in l %}{{ loop(a) }}{% endfor %}", "{{ '%d' % 'a' }}", "{{ '%s %s' % 'a' }}", "{{ '%s' % (1, 2) }}",
    "{{ '{:d}'.format('a') }}", "{{ '{:q}'.format(1) }}", "{{ '{}'.format() }}", "{{ '{'.format(1) }}", "{{ range(**5) }}", "{{ range(*5) }}", "{% set a, b = missing %}", "{% for a, (b, c) in nested %}{% endfor %}", "{{ 'ab'.center(3, 'xy') }}",
    "{{ 'abc'.rindex('z') }}", "{% macro m(a) %}{% endmacro %}{{ m(1, 2) }}", "{% macro m(a) %}{% endmacro %}{{ m(b=2) }}", "{{ 'x' | truncate(2) if f else ('x' * 300) | truncate(2) }}", "{{ huge < 'a' }}",
]

rows = []
for text in T.split("\n") + MULTI + ERRORS:
    try:
        rows.append(dict(template=text, rendered=env.from_string(text).render(**V)))
    except Exception as error:  # noqa: BLE001: every kind counts
        rows.append(dict(template=text, error=f"{type(error).__name__}: {error}"))
for row in rows[: len(T.split("\n")) + len(MULTI)]:
    if "error" in row:
        print("unexpected", row)
for row in rows[len(T.split("\n")) + len(MULTI) :]:
    if "error" not in row:
        print("no error", row)
out = pathlib.Path(__file__).parent.parent / "golden" / "text" / "jinja.json"
text = json.dumps(dict(variables=V, rows=rows), ensure_ascii=True)
out.write_text(text.replace('{"template"', '\n{"template"') + "\n")
