// Panel: the magnitudes of every gate's weights and of their gradient at the chosen training step.

import { line, prepare } from './canvas.js';
import { NOT_FINITE, VIRIDIS, ZERO, css, cssOf, onScale } from './colours.js';
import { element, table } from './dom.js';
import { Panel, fillFigures, multiples } from './panel.js';
import { percent, power, whole } from './words.js';

const ROW = 96;
const GAP = 12;
const HEAD = 22;
const LARGEST = 254;
const NOT_A_NUMBER = 255;
const DECADES = 4;
const PARTS = ['weights', 'gradient'];

export class WeightMapsPanel {
  constructor() {
    this.canvases = new Map();
    this.legend = element('div', { class: 'legend' });
    this.panel = new Panel({
      id: 'weight-maps',
      kinds: ['weight_maps'],
      wide: true,
      title: 'Which weights are large, and which get the gradient?',
      subtitle: 'Magnitudes gate by gate, over the largest of the layer: input weights left of the line, recurrent ones right of it; a row is a unit, or several.',
      legend: this.legend,
      tables: (view) => multiples(view).filter(this.has).map((run) => tableOf(run, view.step)),
    });
  }

  has = (run) => Boolean(run.series.weight_maps?.steps.length);

  draw(view) {
    const bar = element('span', { class: 'bar' });
    bar.style.background = `linear-gradient(to right, ${[0, 0.25, 0.5, 0.75, 1].map((share) => cssOf(onScale(VIRIDIS, share))).join(', ')})`;
    this.legend.replaceChildren(element('span', { class: 'scale' }, `≤ ${power(-DECADES)}`, bar, 'the largest'));
    fillFigures(this.panel, view, (run) => {
      if (!this.has(run)) return 'The weights were not measured in this run: add the callback GateWeights.';
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

function paint(canvas, run, step) {
  const { labels, split } = run.contents.weight_maps;
  const { values, shape: [, , rows, columns], step: at } = run.series.weight_maps.at(step);
  const frame = prepare(canvas, HEAD + labels.length * (ROW + GAP), [HEAD, 0, 0, 84]);
  if (!frame) return;
  const { context, area } = frame;
  const width = (area.width - GAP) / PARTS.length;
  context.fillStyle = css('text');
  context.textBaseline = 'middle';
  labels.forEach((label, gate) => {
    context.fillStyle = css('text');
    context.textAlign = 'right';
    context.fillText(label, area.x - 10, HEAD + gate * (ROW + GAP) + ROW / 2);
  });
  PARTS.forEach((name, part) => {
    const left = area.x + part * (width + GAP);
    context.fillStyle = css('muted');
    context.textAlign = 'center';
    context.fillText(name, left + width / 2, HEAD / 2);
    labels.forEach((_, gate) => {
      const top = HEAD + gate * (ROW + GAP);
      const first = (gate * PARTS.length + part) * rows * columns;
      const cells = values.subarray(first, first + rows * columns);
      paintCells(context, cells, { left, top, width, rows, columns });
      context.strokeStyle = css('surface');
      context.lineWidth = 2;
      line(context, left + (width * split) / columns, top, left + (width * split) / columns, top + ROW);
    });
  });
  canvas.setAttribute('aria-label', `Magnitudes of the weights of ${run.name} and of their gradient at training step ${at}, by gate; averages are in the table below.`);
}

function paintCells(context, cells, { left, top, width, rows, columns }) {
  if (cells.every((byte) => byte === NOT_A_NUMBER)) {
    context.fillStyle = css('strip');
    context.fillRect(left, top, width, ROW);
    context.fillStyle = css('muted');
    context.fillText('not known', left + width / 2, top + ROW / 2);
    return;
  }
  cells.forEach((byte, place) => {
    context.fillStyle = byte === NOT_A_NUMBER ? NOT_FINITE : byte ? cssOf(onScale(VIRIDIS, byte / LARGEST)) : ZERO;
    const x = left + ((place % columns) * width) / columns;
    context.fillRect(x, top + (Math.floor(place / columns) * ROW) / rows, width / columns + 0.5, ROW / rows + 0.5);
  });
}

function tableOf(run, step) {
  const { labels } = run.contents.weight_maps;
  const { values, shape: [, , rows, columns], step: at } = run.series.weight_maps.at(step);
  const lines = labels.flatMap((gate, index) => PARTS.map((name, part) => {
    const first = (index * PARTS.length + part) * rows * columns;
    const cells = values.subarray(first, first + rows * columns).filter((byte) => byte !== NOT_A_NUMBER);
    const zeros = cells.filter((byte) => byte === 0).length;
    const mean = cells.reduce((sum, byte) => sum + DECADES * (byte / LARGEST - 1), 0) / cells.length;
    return [gate, name, cells.length ? mean.toFixed(2).replace('-', '−') : 'not known', cells.length ? percent(zeros / cells.length) : ''];
  }));
  return table(`${run.name}, ${run.layer}, training step ${whole(at)}`, ['gate', 'of', 'mean log₁₀ of the largest', 'exactly 0'], lines);
}
