"""The first page of a night: every cell, what became of it, and the way to its results. One file that asks nobody."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from jinja2 import Environment

from harness.nights.merge import Merged
from harness.report.page import HEAD
from harness.report.results import write_whole

_TEMPLATE = """\
<!doctype html>
<html lang="en">
{{ head|safe }}
<meta charset="utf-8">
<title>{{ night.said.night }}</title>
<style>
body { font: 15px/1.4 system-ui, sans-serif; margin: 2rem; color: #222; }
table { border-collapse: collapse; margin: 1rem 0; }
th, td { text-align: left; padding: .25rem .75rem; border-bottom: 1px solid #ddd; vertical-align: top; }
.done { color: #1a7f37; } .broken, .wrong, .gone, .lost { color: #b00020; }
.unreached, .cut, .stopped { color: #9a6700; }
small { color: #666; }
</style>
<h1>{{ night.said.night }}</h1>
<p>Lab {{ night.said.lab }}, from {{ night.said.begun }} to {{ night.said.until }}:
{% for state, count in night.counts.items() %}<b class="{{ state }}">{{ count }} {{ state }}</b>
{{- ", " if not loop.last }}{% endfor %} of {{ night.cells|length }} cells
{%- if night.said.left_out %}, and {{ night.said.left_out|length }} left out{% endif %}.</p>
<table>
<tr><th>cell<th>state<th>tests<th>failed<th>skipped<th>worker<th>remarks
{%- for cell in night.cells %}
<tr><td>{% if cell.page in links %}<a href="{{ links[cell.page] }}">{{ cell.name }}</a>{% else %}{{ cell.name }}
{%- endif %}<td class="{{ cell.state }}">{{ cell.state }}
{%- set one = cell.counted %}
{%- set counts = one.counts if one else {} %}
<td>{{ counts.tests }}<td>{{ counts.get("failures", 0) + counts.get("errors", 0) if counts }}<td>{{ counts.skipped }}
<td>{{ one.worker if one }}
<td>{% for remark in cell.remarks %}{{ remark }}{% if not loop.last %}<br>{% endif %}{% endfor %}
{%- endfor %}
</table>
{%- if night.said.left_out %}
<h2>Left out</h2>
<table>
<tr><th>cell<th>why
{%- for cell in night.said.left_out %}
<tr><td>{{ cell.name }}<td>{{ cell.reason }}
{%- endfor %}
</table>
{%- endif %}
{%- if night.strangers %}
<h2>Results that the night never planned</h2>
<p>{{ night.strangers|join(", ") }}</p>
{%- endif %}
"""


def write(night: Merged, out: Path, links: Mapping[str, str]) -> Path:
    """Write ``index.html``; what workers and guests said is escaped.

    Args:
        night: what became of it.
        out: the folder.
        links: by page, where below it that is, for those that were written.
    """
    out.mkdir(parents=True, exist_ok=True)
    text = Environment(autoescape=True).from_string(_TEMPLATE).render(night=night, links=links, head=HEAD)
    path = out / "index.html"
    write_whole(path, text.encode())
    return path
