import { BarChart, CustomChart } from "echarts/charts";
import { GridComponent, MarkLineComponent } from "echarts/components";
import { type EChartsCoreOption, init, use } from "echarts/core";
import { SVGRenderer } from "echarts/renderers";
import { Html, html } from "./html.ts";

use([BarChart, CustomChart, GridComponent, MarkLineComponent, SVGRenderer]);

export const FONT = "system-ui, sans-serif";
export const FONT_SIZE = 12;
/** Colours are the page's, so that one drawing serves light and dark. */
export const TEXT = { color: "var(--text)", fontFamily: FONT, fontSize: FONT_SIZE } as const;
export const MUTED = { ...TEXT, color: "var(--muted)" } as const;
export const SERIES = 8;

export const colorOf = (series: number): string => `var(--series-${series % SERIES})`;

/** Widths in pixels: a desk's page and a phone held upright. Text keeps its size in both. */
const WIDE = 880;
const NARROW = 340;

const LABEL_SPARE = 12;

export interface Drawing {
  readonly height: number;
  readonly option: EChartsCoreOption;
}

/** A chart in both widths, of which the page's style shows one, with its legend and what it says in words. */
export function figure(title: string, legend: readonly string[], draw: (width: number) => Drawing): Html {
  return html`<figure role="img" aria-label="${title}">
<figcaption>${title}</figcaption>
${legend.length > 1 ? legendOf(legend) : null}
<div class="wide">${svg(WIDE, draw(WIDE))}</div><div class="narrow">${svg(NARROW, draw(NARROW))}</div>
</figure>`;
}

function legendOf(names: readonly string[]): Html {
  return html`<ul class="legend">${names.map((name, i) => html`<li><i style="background:${colorOf(i)}"></i>${name}</li>`)}</ul>`;
}

/** What echarts leaves for scripts and for hovering, which this page has none of. */
const FOR_SCRIPTS = / ecmeta_\w+="[^"]*"| class="zr\d+-cls-\d+"|<style ?>.*?<\/style>/gs;

/** echarts escapes the texts that it draws. */
function svg(width: number, { height, option }: Drawing): Html {
  const chart = init(null, null, { renderer: "svg", ssr: true, width, height });
  try {
    chart.setOption({ animation: false, textStyle: { fontFamily: FONT }, ...option });
    return new Html(chart.renderToSVGString().replaceAll(FOR_SCRIPTS, ""));
  } finally {
    chart.dispose();
  }
}

/** Pixels that row labels take, of what there is. A character is at most about 0.62 of its size wide on average. */
export function labelWidth(rows: readonly string[], width: number): number {
  const widest = LABEL_SPARE + 8 + Math.max(0, ...rows.map(row => row.length)) * FONT_SIZE * 0.62;
  return Math.ceil(Math.min(widest, width * 0.4));
}

/** The axis of the rows, the first on top. */
export function rowAxis(rows: readonly string[], width: number): EChartsCoreOption {
  return {
    type: "category",
    data: [...rows],
    inverse: true,
    axisTick: { show: false },
    axisLine: { lineStyle: { color: "var(--line)" } },
    // Text is measured without fonts here, so a label that is cut is cut a little early.
    axisLabel: { ...TEXT, width: labelWidth(rows, width) - LABEL_SPARE, overflow: "truncate", interval: 0 },
  };
}
