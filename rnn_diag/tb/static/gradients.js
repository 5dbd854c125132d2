// Panel: how large the gradient is at every timestep, over the whole training.

import { FALLEN_TO_GROWN, NOT_FINITE, NOT_FINITE_PIXEL, VIRIDIS, ZERO, ZERO_PIXEL, cssOf, onScale } from './colours.js';
import { element, table } from './dom.js';
import { HeatMap } from './heatmap.js';
import { Panel, fillFigures, multiples } from './panel.js';
import { profileOf, referenceOf } from './profile.js';
import { fromLog10, power, whole } from './words.js';

const RELATIVE_RANGE = [-8, 4];

export class GradientsPanel {
  constructor({ chooseStep }) {
    this.chooseStep = chooseStep;
    this.maps = new Map();
    this.legend = element('div', { class: 'legend' });
    this.panel = new Panel({
      id: 'gradients',
      kinds: ['grad'],
      wide: true,
      title: 'Does the gradient reach the beginning?',
      subtitle: 'Norm of the loss gradient at every hidden state, ‖∂L/∂hₜ‖, median over sequences. Blue: it vanishes on its way back. Click to choose a training step.',
      legend: this.legend,
      tables,
    });
  }

  has = (run) => Boolean(run.series.grad?.steps.length);

  draw(view) {
    const range = view.relative ? RELATIVE_RANGE : absoluteRange(multiples(view));
    this.legend.replaceChildren(...legend(view.relative, range));
    fillFigures(this.panel, view, (run) => {
      if (!this.has(run)) return 'The gradient was not measured in this run.';
      if (!this.maps.has(run.name)) this.maps.set(run.name, new HeatMap(this.chooseStep));
      return this.maps.get(run.name).element;
    });
    for (const run of multiples(view)) {
      if (this.has(run)) this.maps.get(run.name).draw(run.series.grad, { ...pictureOf(run, view.relative, range), step: view.step });
    }
    this.panel.show(view);
  }

  moveTo(view) {
    for (const run of multiples(view)) if (this.has(run)) this.maps.get(run.name).moveTo(view.step);
    this.panel.show(view);
  }
}

/** What the heat map of a run shows. */
export function pictureOf(run, relative, range) {
  const { rows, shapes } = run.series.grad;
  const profileAt = (place) => profileOf({ values: rows[place], shape: shapes[place] });
  return {
    what: `the gradient norm of ${run.name}`,
    columnAt(place) {
      const { median, edges, timesteps } = profileAt(place);
      const reference = relative ? referenceOf(median) : 0;
      return { values: reference ? median.map((value) => value - reference) : median, edges, timesteps };
    },
    pixelOf: (value) => pixelOf(value, relative ? FALLEN_TO_GROWN : VIRIDIS, range),
    words(value, place) {
      const reference = referenceOf(profileAt(place).median);
      const ratio = relative ? value : value - reference;
      return `‖∂L/∂hₜ‖ = ${fromLog10(relative ? value + reference : value)}${Number.isFinite(ratio) ? ` · ${fromLog10(ratio)} of the end` : ''}`;
    },
  };
}

/** The colour of a log10 value: of its share of the range, or of what it is instead of a number. */
function pixelOf(value, scale, [lowest, highest]) {
  if (value === -Infinity) return ZERO_PIXEL;
  if (!Number.isFinite(value)) return NOT_FINITE_PIXEL;
  return onScale(scale, (value - lowest) / (highest - lowest));
}

/** The decades from the smallest to the largest norm of the runs shown, one scale for all. */
function absoluteRange(runs) {
  let lowest = Infinity;
  let highest = -Infinity;
  for (const { series } of runs) {
    for (let place = 0; place < (series.grad?.steps.length ?? 0); place++) {
      const { median } = profileOf({ values: series.grad.rows[place], shape: series.grad.shapes[place] });
      for (const value of median) {
        if (!Number.isFinite(value)) continue;
        lowest = Math.min(lowest, value);
        highest = Math.max(highest, value);
      }
    }
  }
  return lowest > highest ? [-8, 0] : [Math.floor(lowest), Math.max(Math.ceil(highest), Math.floor(lowest) + 1)];
}

function legend(relative, [lowest, highest]) {
  const stops = Array.from({ length: 13 }, (_, place) => cssOf(onScale(relative ? FALLEN_TO_GROWN : VIRIDIS, place / 12)));
  const bar = element('span', { class: 'bar' });
  bar.style.background = `linear-gradient(to right, ${stops.join(', ')})`;
  const key = (colour, text) => {
    const swatch = element('i', { class: 'swatch square' });
    swatch.style.background = colour;
    return element('span', {}, swatch, text);
  };
  return [
    element('span', {}, relative ? 'relative to the last timestep with a gradient' : 'absolute, in loss per unit of hidden state'),
    element('span', { class: 'scale' }, `≤ ${power(lowest)}${relative ? ' vanished' : ''}`, bar, `≥ ${power(highest)}${relative ? ' exploded' : ''}`),
    key(ZERO, 'exactly 0'),
    key(NOT_FINITE, 'Inf or not a number'),
  ];
}

function tables(view) {
  return multiples(view).filter((run) => run.series.grad?.steps.length).map((run) => {
    const now = run.series.grad.at(view.step);
    const { bins, edges, median, p10, p90 } = profileOf(now);
    const rows = Array.from({ length: bins }, (_, bin) => [
      edges[bin + 1] - edges[bin] > 1 ? `${whole(edges[bin])}–${whole(edges[bin + 1] - 1)}` : whole(edges[bin]),
      fromLog10(median[bin]), fromLog10(p10[bin]), fromLog10(p90[bin]), fromLog10(median[bin] - referenceOf(median)),
    ]);
    return table(`${run.name}, ${run.layer}, training step ${whole(now.step)}: ‖∂L/∂hₜ‖`,
      ['timestep t', 'median', 'p10', 'p90', 'relative to the end'], rows);
  });
}
