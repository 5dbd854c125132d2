// Lines over a common axis, with bands, a legend that follows the pointer, and marks where a value is not finite.

import uPlot from './uplot.js';

import { tall } from './canvas.js';
import { NOT_FINITE, css } from './colours.js';
import { element } from './dom.js';

const HEIGHT = 280;

/** A chart of `curves`: each `{name, colour, x, y, low?, high?, thin?, notFinite?}`. */
export class Lines {
  constructor() {
    this.plot = element('div', { class: 'plot', role: 'img' });
    this.legend = element('div', { class: 'legend' });
    this.element = element('div', { class: 'drawing' }, this.legend, this.plot);
  }

  /** Options: `xLabel`, `yLabel`, `xText`, `yText`, `yRange` (or `fromZero`), `level` (a horizontal line), `cursor` (a vertical one), `label`. */
  draw(curves, options) {
    this.options = options;
    this.curves = curves;
    const width = this.element.clientWidth;
    if (!width) return;
    this.plot.setAttribute('aria-label', options.label);
    this.chart?.destroy();
    this.fillLegend();
    this.chart = new uPlot(this.settings(width), joined(curves), this.plot);
    this.chart.ctx.canvas.setAttribute('aria-label', options.label);
    this.chart.ctx.canvas.setAttribute('role', 'img');
  }

  /** Shows other numbers of the same curves. */
  update(curves, options) {
    if (!this.chart || curves.length !== this.curves.length || options.yRange !== this.options.yRange) return this.draw(curves, options);
    Object.assign(this, { curves, options });
    this.fillLegend();
    this.chart.setData(joined(curves));
    return undefined;
  }

  /** Moves the vertical line. */
  moveCursor(step) {
    this.options.cursor = step;
    this.chart?.redraw(false);
  }

  settings(width) {
    const { xLabel, yLabel, xText, yText, yRange, fromZero } = this.options;
    const axis = { stroke: css('muted'), font: '12px Roboto, system-ui, sans-serif', labelFont: '12px Roboto, system-ui, sans-serif', grid: { stroke: css('grid'), width: 1 }, ticks: { stroke: css('grid'), width: 1 } };
    return {
      width,
      height: tall(this.element, HEIGHT),
      legend: { show: false },
      cursor: { y: false, drag: { x: false, y: false }, points: { size: 6 } },
      scales: { x: { time: false, range: (_, lowest, highest) => roomy(lowest, highest) }, y: { range: yRange ?? ((_, lowest, highest) => padded(fromZero ? 0 : lowest, highest)) } },
      axes: [
        { ...axis, label: xLabel, labelSize: 20, size: 34, values: (_, values) => values.map((value) => (Number.isInteger(value) ? xText(value) : '')) },
        { ...axis, label: yLabel, labelSize: 22, size: 60, values: (_, values) => values.map(yText) },
      ],
      series: [{}, ...this.curves.flatMap(seriesOf)],
      bands: bandsOf(this.curves),
      hooks: { draw: [(chart) => this.drawMarks(chart)], setCursor: [(chart) => this.readOut(chart)] },
    };
  }

  fillLegend() {
    const named = this.curves.filter((curve) => curve.name);
    this.readings = named.map(() => element('b', {}));
    this.legend.replaceChildren(...named.map((curve, place) => {
      const swatch = element('i', { class: 'swatch line' });
      swatch.style.background = curve.colour;
      return element('span', {}, swatch, curve.name, this.readings[place]);
    }));
  }

  readOut(chart) {
    const place = chart.cursor.idx;
    let at = 1;
    const readings = [];
    for (const curve of this.curves) {
      if (curve.name) readings.push(place === null || place === undefined ? null : chart.data[at][place]);
      at += curve.low ? 3 : 1;
    }
    this.readings.forEach((reading, index) => {
      const value = readings[index];
      reading.textContent = value === null || value === undefined ? '' : this.options.reading(value);
    });
  }

  drawMarks(chart) {
    const { ctx: context, bbox: { left, top, width, height } } = chart;
    context.save();
    context.beginPath();
    context.rect(left, top, width, height);
    context.clip();
    context.lineWidth = devicePixelRatio;
    const { level, cursor, verticals = [] } = this.options;
    if (level !== undefined) stroke(context, css('text'), [], left, chart.valToPos(level, 'y', true), left + width, chart.valToPos(level, 'y', true));
    if (cursor !== undefined) stroke(context, css('text'), [4, 4], chart.valToPos(cursor, 'x', true), top, chart.valToPos(cursor, 'x', true), top + height);
    for (const { at, colour } of verticals) stroke(context, colour, [8, 4], chart.valToPos(at, 'x', true), top, chart.valToPos(at, 'x', true), top + height);
    context.fillStyle = NOT_FINITE;
    for (const curve of this.curves) {
      for (const at of curve.notFinite ?? []) context.fillRect(chart.valToPos(at, 'x', true) - 2, top, 4 * devicePixelRatio, 10 * devicePixelRatio);
    }
    context.restore();
  }
}

function roomy(lowest, highest) {
  const room = (highest - lowest || 1) * 0.015;
  return [lowest - room, highest + room];
}

/** A range that leaves some room, and does not blow up what is constant. */
function padded(lowest, highest) {
  if (highest === null || highest === undefined) return [0, 1];
  const room = Math.max((highest - lowest) * 0.08, Math.abs(highest) * 0.02, 1e-9);
  return [lowest < 0 || lowest > room ? lowest - room : 0, highest + room];
}

function joined(curves) {
  const columns = curves.map((curve) => [curve.x, curve.y, ...(curve.low ? [curve.low, curve.high] : [])]);
  return columns.length ? uPlot.join(columns) : [[]];
}

function seriesOf({ name, colour, thin, low }) {
  const curve = { label: name, stroke: colour, width: thin ? 1 : 2, points: { show: false }, alpha: thin ? 0.55 : 1 };
  const edge = { stroke: 'transparent', width: 0, points: { show: false } };
  return low ? [curve, edge, edge] : [curve];
}

function bandsOf(curves) {
  const bands = [];
  let at = 1;
  for (const { colour, low } of curves) {
    if (low) bands.push({ series: [at + 2, at + 1], fill: `${colour}44` });
    at += low ? 3 : 1;
  }
  return bands;
}

function stroke(context, colour, dash, fromX, fromY, toX, toY) {
  context.strokeStyle = colour;
  context.setLineDash(dash);
  context.beginPath();
  context.moveTo(fromX, fromY);
  context.lineTo(toX, toY);
  context.stroke();
}
