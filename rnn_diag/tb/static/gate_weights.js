// Panel: norms of every gate's weights over the training, of their gradients, and what the optimiser made of them.

import { lineColour } from './colours.js';
import { element, table } from './dom.js';
import { Lines } from './lines.js';
import { Panel, fillFigures, multiples } from './panel.js';
import { decade, fromLog10, significant, whole } from './words.js';

const MATRICES = { hh: { text: 'recurrent weights', at: 1 }, ih: { text: 'input weights', at: 0 } };
const QUANTITIES = {
  update: { text: 'update ÷ weight', label: 'update over weight', at: 3 },
  grad: { text: 'gradient', label: 'gradient before clipping', at: 1 },
  clipped_grad: { text: 'gradient, clipped', label: 'gradient after clipping', at: 2 },
  weight: { text: 'weight', label: 'norm of the weights', at: 0 },
};
const NUMBERS = 4;

export class GateWeightsPanel {
  constructor() {
    this.lines = new Map();
    const select = (label, choices) => element('select', { 'aria-label': label, onchange: () => this.draw(this.view) },
      Object.entries(choices).map(([value, { text }]) => element('option', { value }, text)));
    this.quantity = select('What is shown of the weights', QUANTITIES);
    this.matrix = select('Which weights', MATRICES);
    this.panel = new Panel({
      id: 'gate-weights',
      kinds: ['gate_weights'],
      wide: true,
      title: 'How do the weights of every gate change?',
      subtitle: 'A line for each gate. An update of about a thousandth of the weights is usual; gradients are those that the optimiser gets.',
      tables: (view) => multiples(view).filter(this.has).map((run) => tableOf(run, view.step)),
    });
    this.panel.tools.append(this.quantity, this.matrix);
  }

  has = (run) => Boolean(run.series.gate_weights?.steps.length);

  draw(view) {
    this.view = view;
    const { at, label, text } = QUANTITIES[this.quantity.value];
    const place = MATRICES[this.matrix.value].at * NUMBERS + at;
    const range = rangeOf(multiples(view).filter(this.has), place);
    fillFigures(this.panel, view, (run) => {
      if (!this.has(run)) return 'The weights were not measured in this run: add the callback GateWeights.';
      if (!range) return `There is no ${text} here${this.quantity.value === 'clipped_grad' ? ': nothing was clipped' : ''}.`;
      if (!this.lines.has(run.name)) this.lines.set(run.name, new Lines());
      return this.lines.get(run.name).element;
    });
    for (const run of range ? multiples(view).filter(this.has) : []) {
      this.lines.get(run.name).draw(curvesOf(run, place), {
        xLabel: 'training step', yLabel: label, xText: whole, yText: decade, yRange: range, cursor: view.step, reading: fromLog10,
        label: `${label} of the ${MATRICES[this.matrix.value].text} of every gate of ${run.name} over the training; the numbers are in the table below.`,
      });
    }
    this.panel.show(view);
  }

  moveTo(view) {
    for (const run of multiples(view)) this.lines.get(run.name)?.moveCursor(view.step);
    this.panel.show(view);
  }
}

const log10 = (value) => (value > 0 && Number.isFinite(value) ? Math.log10(value) : null);

function curvesOf(run, place) {
  const { steps, rows } = run.series.gate_weights;
  return run.contents.gate_weights.labels.map((name, gate) => ({
    name, colour: lineColour(gate), x: steps, y: rows.map((row) => log10(row[gate * 2 * NUMBERS + place])),
  }));
}

/** One range for all runs, in whole decades; nothing where there is no number. */
function rangeOf(runs, place) {
  const values = runs.flatMap((run) => curvesOf(run, place).flatMap(({ y }) => y.filter((value) => value !== null)));
  if (!values.length) return null;
  const [lowest, highest] = values.reduce(([low, high], value) => [Math.min(low, value), Math.max(high, value)], [Infinity, -Infinity]);
  return [Math.floor(lowest), Math.max(Math.ceil(highest), Math.floor(lowest) + 1)];
}

function tableOf(run, step) {
  const now = run.series.gate_weights.at(step);
  const rows = run.contents.gate_weights.labels.flatMap((gate, index) => Object.values(MATRICES).map(({ text, at }) => {
    const first = (index * 2 + at) * NUMBERS;
    return [gate, text, ...Object.values(QUANTITIES).map((one) => significant(now.values[first + one.at]))];
  }));
  return table(`${run.name}, ${run.layer}, training step ${whole(now.step)}: norms`,
    ['gate', 'of', ...Object.values(QUANTITIES).map(({ text }) => text)], rows);
}
