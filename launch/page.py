"""One page of HTML, so that no text can become markup: nothing in it is loaded from elsewhere."""

import re
from collections.abc import Iterable, Sequence
from html import escape

CSS = """
:root { --ink: #1d252c; --soft: #5d6972; --line: #dfe4e8; --back: #f6f7f8; --blue: #1f5fa8; }
* { box-sizing: border-box; }
body { margin: 0; background: var(--back); color: var(--ink);
  font: 16px/1.55 system-ui, "Segoe UI", Roboto, Helvetica, Arial, sans-serif; }
main { max-width: 1240px; margin: 0 auto; padding: 24px 20px 60px; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: .4em 0 .1em; overflow-wrap: anywhere; }
h2 { font-size: 1.3rem; margin: 0 0 .5em; }
h3 { font-size: 1rem; margin: 0 0 .4em; }
p { margin: .4em 0 .8em; max-width: 75ch; }
a { color: var(--blue); }
.soft, figcaption, .note { color: var(--soft); }
section, .card { background: #fff; border: 1px solid var(--line); border-radius: 8px;
  padding: 18px 20px; margin: 18px 0; min-width: 0; }
.cards, .pictures { display: grid; gap: 18px; margin: 18px 0; }
.cards { grid-template-columns: repeat(auto-fit, minmax(min(100%, 230px), 1fr)); }
.pictures { grid-template-columns: repeat(auto-fit, minmax(min(100%, 520px), 1fr)); }
.pictures section, .card { margin: 0; }
.card { padding: 14px 18px; }
.card b { display: block; font-size: 1.45rem; font-weight: 600; line-height: 1.25; }
.card span { display: block; font-size: .88rem; color: var(--soft); }
.refused { border-left: 5px solid #b3262f; }
.refused li { overflow-wrap: anywhere; }
figure { margin: 0; max-width: 620px; }
svg { display: block; width: 100%; height: auto; }
figcaption, .note { font-size: .88rem; margin-top: .6em; }
.wide { overflow-x: auto; margin-top: .8em; }
table { border-collapse: collapse; font-size: .88rem; width: 100%;
  font-variant-numeric: tabular-nums; }
th, td { padding: 5px 12px 5px 0; border-bottom: 1px solid var(--line); text-align: left;
  vertical-align: top; }
th { font-weight: 600; }
th.n, td.n { text-align: right; white-space: nowrap; }
td.w { min-width: 8em; }
pre { overflow-x: auto; font-size: .8rem; line-height: 1.4; background: var(--back);
  padding: 12px; border-radius: 6px; }
code { overflow-wrap: anywhere; font-size: .88em; }
@media (max-width: 600px) { main { padding: 12px 10px 40px; } section { padding: 14px 12px; } }
@media print { body { background: #fff; font-size: 11pt; } main { max-width: none; padding: 0; }
  section, .card, figure, tr { break-inside: avoid; } section.long { break-inside: auto; }
  .pictures { grid-template-columns: 1fr; } .wide { overflow: visible; }
  pre { white-space: pre-wrap; } }
"""


class Markup(str):
    """HTML; any other text is escaped where it is put into an element."""


def element(tag: str, *children: str, **attributes: str) -> Markup:
    """An element; `class_` stands for the attribute class."""
    inner = "".join(c if isinstance(c, Markup) else escape(c, quote=False) for c in children)
    names = "".join(f' {name.rstrip("_")}="{escape(v)}"' for name, v in attributes.items())
    return Markup(f"<{tag}{names}>{inner}</{tag}>")


def section(title: str, *children: str, **attributes: str) -> Markup:
    """A part of the page under its title."""
    return element("section", element("h2", title), *children, **attributes)


def note(text: str) -> Markup:
    """Small words below a table."""
    return element("p", text, class_="note")


def listed(texts: Iterable[str], tag: str = "li") -> Markup:
    """A list; each text may be in an element of its own."""
    return element("ul", *(element("li", t if tag == "li" else element(tag, t)) for t in texts))


def table(head: Sequence[str], rows: Iterable[Sequence[str]], words: frozenset[int]) -> Markup:
    """Rows under a head; columns are numbers but for those of `words`."""

    def line(tag: str, row: Sequence[str]) -> Markup:
        kinds = ["w" if column in words else "n" for column in range(len(row))]
        return element(
            "tr", *(element(tag, text, class_=kind) for text, kind in zip(row, kinds, strict=True))
        )

    body = element("tbody", *(line("td", row) for row in rows))
    whole = element("table", element("thead", line("th", head)), body)
    return element("div", whole, class_="wide", tabindex="0")


def drawing(svg: str, name: str, label: str) -> Markup:
    """A picture of matplotlib's as part of the page; its ids begin with `name`, as those of other
    pictures are the same."""
    svg = re.sub(r' xmlns(:xlink)?="[^"]*"', "", svg[svg.index("<svg") :])
    svg = svg.replace("xlink:href", "href")
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", svg)
    return Markup(svg.replace("<svg", f'<svg role="img" aria-label="{escape(label)}"', 1))


def page(title: str, *children: str) -> str:
    """The whole; ASCII."""
    head = (
        '<meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"{element('title', title)}<style>{CSS}</style>"
    )
    body = element("body", element("main", *children))
    text = element("html", element("head", Markup(head)), body, lang="en")
    return f"<!DOCTYPE html>\n{text}\n".encode("ascii", "xmlcharrefreplace").decode()
