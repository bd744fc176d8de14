"""plots/report.html: everything about a run on one page that needs no network, no script and no other file.

Pictures are inside as data, so the page can be mailed, and it reads on a phone. It is a function of the results alone,
without date or machine, so that the same results are the same bytes.
"""

import base64
import html
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8888; --band: #8881; }
* { box-sizing: border-box; }
body { font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 70rem; padding: 1rem; }
h1 { font-size: 1.6rem; line-height: 1.2; margin: .5rem 0; }
h2 { border-top: 1px solid var(--line); font-size: 1.25rem; margin: 2rem 0 .5rem; padding-top: 1rem; }
nav { display: flex; flex-wrap: wrap; gap: .25rem 1rem; font-size: .9rem; }
p, li { max-width: 46rem; }
.lead { font-size: 1.05rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .85rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; font-size: .85rem; padding: .25rem 0; }
th, td { border-bottom: 1px solid var(--line); padding: .25rem .6rem; text-align: right; vertical-align: top; }
th:first-child, td:first-child { text-align: left; }
td:first-child { max-width: 12rem; min-width: 7rem; }
tr.strong td { font-weight: 600; background: var(--band); }
td small { color: GrayText; display: block; font-weight: normal; }
td:not(:first-child) small { white-space: nowrap; }
figure { margin: 1rem 0; }
figcaption { font-size: .85rem; max-width: 46rem; }
figure img { height: auto; max-width: 100%; background: #fff; }
.sheet { display: grid; gap: .6rem; grid-template-columns: repeat(auto-fill, minmax(13rem, 1fr)); padding: 0; }
.sheet li { border: 1px solid var(--line); border-radius: .3rem; font-size: .75rem; list-style: none; padding: .3rem; }
.sheet div { display: flex; gap: 2px; }
.sheet img { aspect-ratio: 1; flex: 1 1 0; image-rendering: auto; min-width: 0; width: 3rem; }
details { margin: .5rem 0; }
summary { cursor: pointer; }
pre { background: var(--band); font-size: .8rem; overflow-x: auto; padding: .6rem; }
.warn { border-left: .25rem solid #c60; padding-left: .75rem; }
"""


@dataclass(frozen=True)
class Section:
    """A heading and what stands below it, as HTML."""

    title: str
    body: str

    @property
    def anchor(self) -> str:
        return "-".join("".join(c if c.isalnum() else " " for c in self.title.lower()).split())


def page(title: str, lead: str, sections: Sequence[Section]) -> str:
    """The whole page.

    Parameters
    ----------
    title, lead : str
        Plain text.
    sections : sequence of Section
        With different titles.

    Raises
    ------
    ValueError
        Two sections have one anchor.
    """
    anchors = [section.anchor for section in sections]
    if len(set(anchors)) < len(anchors):
        raise ValueError(f"sections of one page have the same anchor: {', '.join(anchors)}")
    links = "".join(f'<a href="#{s.anchor}">{html.escape(s.title)}</a>' for s in sections)
    body = "".join(f'<section id="{s.anchor}"><h2>{html.escape(s.title)}</h2>{s.body}</section>\n' for s in sections)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        # Nothing is loaded from anywhere, whatever a caption or an image might hold.
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
        "img-src data:; style-src 'unsafe-inline'\">\n"
        f"<title>{html.escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f'<h1>{html.escape(title)}</h1>\n<p class="lead">{html.escape(lead)}</p>\n<nav>{links}</nav>\n{body}'
        "</body>\n</html>\n"
    )


def paragraphs(*texts: str, warn: bool = False) -> str:
    """Plain text, a paragraph each."""
    attribute = ' class="warn"' if warn else ""
    return "".join(f"<p{attribute}>{html.escape(text)}</p>" for text in texts)


def bullets(texts: Iterable[str]) -> str:
    """Plain text, a bullet each."""
    return "<ul>" + "".join(f"<li>{html.escape(text)}</li>" for text in texts) + "</ul>"


def table(
    columns: Sequence[str],
    rows: Iterable[Sequence[str | tuple[str, str]]],
    *,
    strong: Iterable[str] = (),
    caption: str = "",
) -> str:
    """A table that scrolls sideways on a narrow screen.

    Parameters
    ----------
    columns : sequence of str
    rows : iterable of sequence
        Cells: text, or (text, small text below it, in lines).
    strong : iterable of str
        First cells of the rows that matter most.
    caption : str
    """
    marked = set(strong)
    head = "".join(f"<th>{html.escape(column)}</th>" for column in columns)
    body = ""
    for row in rows:
        cells = ""
        for cell in row:
            text, below = cell if isinstance(cell, tuple) else (cell, "")
            small = "".join(f"<small>{html.escape(line)}</small>" for line in below.splitlines())
            cells += f"<td>{html.escape(text)}{small}</td>"
        first = row[0][0] if isinstance(row[0], tuple) else row[0]
        body += f'<tr class="strong">{cells}</tr>' if first in marked else f"<tr>{cells}</tr>"
    said = f"<caption>{html.escape(caption)}</caption>" if caption else ""
    return f'<div class="scroll"><table>{said}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def figure(png: bytes, alt: str, caption: str = "") -> str:
    """A PNG with a text for readers who cannot see it, and a caption."""
    said = f"<figcaption>{html.escape(caption)}</figcaption>" if caption else ""
    return f'<figure><img alt="{html.escape(alt)}" src="{_data(png, "png")}">{said}</figure>'


def folded(summary: str, body: str) -> str:
    """What is shown when the reader asks for it."""
    return f"<details><summary>{html.escape(summary)}</summary>{body}</details>"


def verbatim(text: str) -> str:
    """Text as it stands, in a fixed-width font."""
    return f"<pre>{html.escape(text)}</pre>"


def sheet(
    image_ids: Sequence[int], pictures: Mapping[str, np.ndarray], texts: Mapping[int, str], *, size_px: int = 64
) -> str:
    """Every image with its reconstructions side by side.

    Parameters
    ----------
    image_ids : sequence of int
        In the order shown.
    pictures : mapping of name to uint8, (n_images, height, width, 3)
        Rows in the order of `image_ids`, for example shown, first stage, second stage.
    texts : mapping of image_id to str
        Below each, such as its scores.
    size_px : int
        Pictures are scaled to this width; lossy, since there are hundreds and all differ.
    """
    items = []
    for row, image_id in enumerate(image_ids):
        small = "".join(
            f'<img alt="{html.escape(name)} {image_id}" src="{_data(_webp(stack[row], size_px), "webp")}">'
            for name, stack in pictures.items()
        )
        items.append(f"<li><div>{small}</div>{image_id}: {html.escape(texts[image_id])}</li>")
    return f'<ul class="sheet">{"".join(items)}</ul>'


def _webp(pixels: np.ndarray, size_px: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).resize((size_px, size_px), Image.Resampling.LANCZOS).save(
        buffer, "webp", quality=70, method=4
    )
    return buffer.getvalue()


def _data(content: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
