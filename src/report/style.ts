/** The page's own style: nothing is fetched, light and dark follow the reader's system, and printing is always light. */
export const STYLE = `
:root { color-scheme: light dark; --page: #fff; --panel: #f6f7f9; --text: #1c2128; --muted: #5b6572; --line: #dde1e6; --limit: #c2255c;
  --series-0: #2f6fdb; --series-1: #e8833a; --series-2: #2f9e6e; --series-3: #b45cc4; --series-4: #c9a227; --series-5: #d6455d;
  --series-6: #3aa6b9; --series-7: #7a7f87; }
@media (prefers-color-scheme: dark) { :root { --page: #14171c; --panel: #1d2127; --text: #e6e9ee; --muted: #9aa4b2; --line: #333a44;
  --limit: #ff7aa8; --series-0: #6b9cf2; --series-1: #f0a063; --series-2: #57c493; --series-3: #cf8bdc; --series-4: #dcc15a;
  --series-5: #ef7d8f; --series-6: #66c5d6; --series-7: #a0a6b0; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--text); font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 944px; margin: 0 auto; padding: 32px; }
h1 { font-size: 24px; line-height: 1.25; margin: 0 0 4px; }
h2 { font-size: 18px; margin: 40px 0 8px; padding-top: 16px; border-top: 1px solid var(--line); }
p { margin: 4px 0 12px; } .muted { color: var(--muted); }
code, .mono { font-family: ui-monospace, monospace; font-size: 13px; overflow-wrap: anywhere; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 4px 20px; margin: 16px 0; }
dt { color: var(--muted); } dd { margin: 0; overflow-wrap: anywhere; }
figure { margin: 20px 0; break-inside: avoid; } figcaption { font-weight: 600; margin-bottom: 6px; }
figure svg { display: block; width: 100%; height: auto; }
.narrow { display: none; }
.legend { display: flex; flex-wrap: wrap; gap: 2px 16px; list-style: none; margin: 0 0 6px; padding: 0; font-size: 13px; }
.legend i { display: inline-block; width: 11px; height: 11px; border-radius: 3px; margin-right: 6px; print-color-adjust: exact; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 13px; }
th, td { text-align: left; padding: 5px 14px 5px 0; border-bottom: 1px solid var(--line); vertical-align: top; }
th { color: var(--muted); font-weight: 600; } .number { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
details { margin: 8px 0 20px; } summary { cursor: pointer; color: var(--muted); }
.problem { border-left: 4px solid var(--limit); background: var(--panel); padding: 10px 14px; margin: 12px 0; break-inside: avoid; }
.warning { border-color: var(--series-4); }
@media (max-width: 640px) { main { padding: 20px 10px; } .wide { display: none; } .narrow { display: block; }
  dl { grid-template-columns: 1fr; gap: 0; } dd { margin-bottom: 8px; } }
@media print { :root { color-scheme: light; --page: #fff; --panel: #f6f7f9; --text: #000; --muted: #444; --line: #ccc; }
  main { padding: 0; max-width: none; } .wide { display: block; } .narrow { display: none; } body { font-size: 12px; } }
`;
