// Panel: every gate over the timesteps: its mean activation, and the shares of units that are shut and open.

import { axisBelow, line, prepare, ticks } from './canvas.js';
import { NOT_FINITE, OPEN, SHUT, css } from './colours.js';
import { element, table } from './dom.js';
import { Panel, fillFigures, multiples } from './panel.js';
import { percent, significant, whole } from './words.js';

const STRIP = 64;
const GAP = 14;
const WHOLE = 254;

export class GatesPanel {
  constructor() {
    this.panel = new Panel({
      id: 'gates',
      wide: true,
      kinds: ['gates'],
      title: 'What do the gates do over time?',
      subtitle: 'Each gate at this training step, over the timesteps: share of units shut (from below), share open (from above), mean activation as a line.',
      legend: legend(),
      tables: (view) => multiples(view).filter(this.has).map((run) => tableOf(run, view.step)),
    });
  }

  has = (run) => Boolean(run.series.gates?.steps.length);

  draw(view) {
    this.canvases = new Map();
    fillFigures(this.panel, view, (run) => {
      if (!this.has(run)) return 'This recurrence has no gates, or they were not measured.';
      const canvas = element('canvas', { role: 'img' });
      this.canvases.set(run.name, canvas);
      return element('div', { class: 'drawing' }, canvas);
    });
    this.moveTo(view);
  }

  moveTo(view) {
    for (const run of multiples(view)) if (this.has(run)) paint(this.canvases.get(run.name), run, view.step);
    this.panel.show(view);
  }
}

/** Of one gate: mean within its range, share shut and share open in every bin; NaN where there is no number. */
export function gateOf({ values, shape }, gate) {
  const [, parts, bins] = shape;
  const part = (place) => Array.from(values.subarray((gate * parts + place) * bins, (gate * parts + place + 1) * bins),
    (value) => (value === 255 ? NaN : value / WHOLE));
  return { mean: part(0), shut: part(1), open: part(2) };
}

/** Where the bins of a row start and end, in timesteps. */
export function edgesOf({ values, shape }) {
  const bins = shape[2];
  const edges = [0];
  for (let bin = 0; bin < bins; bin++) edges.push(edges[bin] + values[3 * bins + bin]);
  return edges;
}

function paint(canvas, run, step) {
  const { labels } = run.contents.gates;
  const now = run.series.gates.at(step);
  const edges = edgesOf(now);
  const frame = prepare(canvas, labels.length * (STRIP + GAP) + 44, [4, 14, 42, 84]);
  if (!frame) return;
  const { context, area } = frame;
  const x = (timestep) => area.x + (timestep / edges.at(-1)) * area.width;
  labels.forEach((label, gate) => {
    const top = area.y + gate * (STRIP + GAP);
    context.fillStyle = css('strip');
    context.fillRect(area.x, top, area.width, STRIP);
    paintShares(context, gateOf(now, gate), edges, x, top);
    context.fillStyle = css('text');
    context.textAlign = 'right';
    context.textBaseline = 'middle';
    context.fillText(label, area.x - 10, top + STRIP / 2);
  });
  axisBelow(frame, ticks(0, edges.at(-1), area.width / 90, 1), x, whole, 'timestep in the sequence, t');
  canvas.setAttribute('aria-label', `Gates of ${run.name} over ${edges.at(-1)} timesteps at training step ${now.step}; the numbers are in the table below.`);
}

function paintShares(context, { mean, shut, open }, edges, x, top) {
  const y = (share) => top + STRIP * (1 - share);
  for (let bin = 0; bin < mean.length; bin++) {
    const [from, to] = [x(edges[bin]), x(edges[bin + 1]) + 0.5];
    context.fillStyle = Number.isNaN(shut[bin]) ? NOT_FINITE : SHUT;
    const share = Number.isNaN(shut[bin]) ? 1 : shut[bin];
    context.fillRect(from, y(share), to - from, STRIP * share);
    context.fillStyle = OPEN;
    if (open[bin] > 0) context.fillRect(from, top, to - from, STRIP * open[bin]);
  }
  for (const [colour, width] of [[css('strip'), 4], [css('text'), 1.75]]) {
    context.strokeStyle = colour;
    context.lineWidth = width;
    context.beginPath();
    mean.forEach((value, bin) => {
      if (!Number.isNaN(value)) context.lineTo(x((edges[bin] + edges[bin + 1]) / 2), y(value));
    });
    context.stroke();
  }
  context.strokeStyle = css('grid');
  context.lineWidth = 1;
  line(context, x(0), top + STRIP, x(edges.at(-1)), top + STRIP);
}

function legend() {
  const key = (colour, text, kind) => {
    const swatch = element('i', { class: `swatch ${kind}` });
    swatch.style.background = colour;
    return element('span', {}, swatch, text);
  };
  return element('div', { class: 'legend' }, key(OPEN, 'open', 'square'), key(SHUT, 'shut', 'square'),
    key('var(--text)', 'mean activation, bottom to top of its range', 'line'));
}

function tableOf(run, step) {
  const now = run.series.gates.at(step);
  const average = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
  const rows = run.contents.gates.labels.map((label, gate) => {
    const { mean, shut, open } = gateOf(now, gate);
    const [lowest, highest] = run.contents.gates.ranges[gate] ?? [0, 1];
    const middle = average(mean);
    return [label, Number.isNaN(middle) ? '–' : significant(lowest + middle * (highest - lowest)), percent(average(shut)), percent(average(open))];
  });
  return table(`${run.name}, ${run.layer}, training step ${whole(now.step)}: averages over the timesteps`, ['gate', 'mean activation', 'units shut', 'units open'], rows);
}
