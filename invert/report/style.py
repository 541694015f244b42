"""The style sheet of `invert.report.page`: light and dark, readable on a phone and on paper."""

__all__ = ["STYLE"]

STYLE = """
:root {
  --ink: #1b1f24; --soft: #59636e; --paper: #ffffff; --card: #f6f8fa; --line: #d8dee4; --accent: #1f5fa8;
  --warn: #8a5a00; --warn-paper: #fff6df;
}
img { display: block; max-width: 100%; height: auto; }
img.for-dark { display: none; }
@media screen and (prefers-color-scheme: dark) {
  :root {
    --ink: #e3e8ee; --soft: #9aa6b2; --paper: #12161b; --card: #1a2027; --line: #303841; --accent: #7fb2ea;
    --warn: #f0c060; --warn-paper: #2b2414;
  }
  img.for-light { display: none; }
  img.for-dark { display: block; }
}
* { box-sizing: border-box; }
html { background: var(--paper); -webkit-text-size-adjust: 100%; text-size-adjust: 100%; }
body {
  margin: 0 auto; padding: 2rem 1.25rem 4rem; max-width: 71rem; color: var(--ink); background: var(--paper);
  font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
}
h1 { margin: 0; font-size: 1.9rem; line-height: 1.2; letter-spacing: -0.01em; overflow-wrap: anywhere; }
h2 { margin: 0 0 0.75rem; font-size: 1.3rem; line-height: 1.3; overflow-wrap: anywhere; }
header { padding-bottom: 1.25rem; border-bottom: 1px solid var(--line); }
section { margin-top: 2.5rem; }
p { max-width: 44rem; margin: 0 0 1rem; overflow-wrap: anywhere; }
.lead { margin: 0.4rem 0 0; color: var(--soft); font-size: 1.1rem; }
.notice, .main {
  padding: 0.6rem 0.9rem; border-left: 4px solid var(--warn); border-radius: 3px; background: var(--warn-paper);
}
.main { border-color: var(--accent); background: var(--card); }
.code {
  max-width: none; padding: 0.6rem 0.9rem; border-radius: 3px; background: var(--card);
  font: 0.9rem/1.5 ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; overflow-wrap: anywhere;
}
nav ul { display: flex; flex-wrap: wrap; gap: 0.25rem 1.25rem; margin: 1rem 0 0; padding: 0; list-style: none; }
a { color: var(--accent); text-underline-offset: 0.15em; }
.scroll { max-width: 100%; overflow-x: auto; margin: 0 0 1.25rem; }
table { border-collapse: collapse; font-size: 0.95rem; line-height: 1.4; font-variant-numeric: tabular-nums; }
caption { padding: 0 0 0.4rem; color: var(--soft); text-align: left; }
th, td {
  padding: 0.35rem 1.5rem 0.35rem 0; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top;
}
th { font-weight: 400; color: var(--soft); }
thead th { font-weight: 600; border-bottom-width: 2px; }
tbody th { min-width: 8rem; max-width: 20rem; overflow-wrap: anywhere; }
td { max-width: 44rem; overflow-wrap: anywhere; }
td:not(.n) { min-width: 6.5rem; }
th.n, td.n { text-align: right; white-space: nowrap; }
.gallery {
  display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 26rem), 1fr)); gap: 1.5rem 1.75rem;
  margin: 0 0 1.5rem;
}
.gallery.small { grid-template-columns: repeat(auto-fill, minmax(min(100%, 18rem), 1fr)); }
figure { margin: 0 0 1.5rem; min-width: 0; max-width: 44rem; break-inside: avoid; }
.gallery figure { margin: 0; }
.chart { max-width: 33.5rem; }
.chart img { width: 100%; }
.image img { border: 1px solid var(--line); border-radius: 3px; }
.pixels img { image-rendering: pixelated; }
@media (min-resolution: 1.5dppx) { .grid img { image-rendering: pixelated; } }
figcaption { margin-top: 0.45rem; color: var(--soft); font-size: 0.9rem; line-height: 1.45; overflow-wrap: anywhere; }
@media (max-width: 36rem) {
  body { padding: 1.25rem 1rem 3rem; }
  h1 { font-size: 1.5rem; }
  section { margin-top: 2rem; }
  th, td { padding-right: 0.9rem; }
  tbody th { min-width: 6.5rem; max-width: 9rem; }
  .gallery.small { grid-template-columns: 1fr 1fr; gap: 1rem; }
}
@media print {
  @page { margin: 15mm; }
  html { font-size: 10pt; }
  body { max-width: none; padding: 0; }
  nav { display: none; }
  .scroll { overflow: visible; }
  h1, h2, h2 + p { break-after: avoid; }
  h2, p { break-inside: avoid; }
  tbody th { min-width: 14rem; }
  tr { break-inside: avoid; }
  .gallery { grid-template-columns: 1fr 1fr; }
  .gallery.small { grid-template-columns: 1fr 1fr 1fr; }
}
"""
