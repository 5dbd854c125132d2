// Panel: every gate at every timestep, over the whole training.

import { NOT_FINITE_PIXEL, SHUT_TO_OPEN, cssOf, onScale, theme } from './colours.js';
import { element, table } from './dom.js';
import { edgesOf, gateOf } from './gates.js';
import { HeatMap } from './heatmap.js';
import { Panel, fillFigures, multiples } from './panel.js';
import { percent, whole } from './words.js';

const HEIGHT = 132;
const VIEWS = {
  mean: { text: 'mean activation', ends: ['bottom of its range', 'top'], valueOf: ({ mean }) => mean, words: (value) => `mean ${percent(value)} of its range` },
  shares: {
    text: 'share open minus share shut',
    ends: ['all units shut', 'all open'],
    valueOf: ({ shut, open }) => shut.map((share, bin) => (1 + open[bin] - share) / 2),
    words: (value) => `share open minus share shut ${percent(2 * value - 1)}`,
  },
};

export class GatesOverTrainingPanel {
  constructor({ chooseStep }) {
    this.chooseStep = chooseStep;
    this.maps = new Map();
    this.legend = element('div', { class: 'legend' });
    this.choice = element('select', { 'aria-label': 'What is shown of the gates', onchange: () => this.draw(this.view) },
      Object.entries(VIEWS).map(([value, { text }]) => element('option', { value }, text)));
    this.panel = new Panel({
      id: 'gates-over-training',
      wide: true,
      kinds: ['gates'],
      title: 'How have the gates changed?',
      subtitle: 'Each gate over the whole training: orange where it is shut, blue where it is open. Click to choose a training step.',
      legend: this.legend,
      tables: (view) => multiples(view).filter(this.has).map((run) => this.table(run)),
    });
    this.panel.tools.append(this.choice);
  }

  has = (run) => run.series.gates?.steps.length > 1;

  draw(view) {
    this.view = view;
    const { ends } = VIEWS[this.choice.value];
    const bar = element('span', { class: 'bar' });
    const stops = [0, 0.25, 0.5, 0.75, 1].map((share) => cssOf(onScale(SHUT_TO_OPEN[theme()], share)));
    bar.style.background = `linear-gradient(to right, ${stops.join(', ')})`;
    this.legend.replaceChildren(element('span', { class: 'scale' }, ends[0], bar, ends[1]));
    fillFigures(this.panel, view, (run) => {
      if (!this.has(run)) return 'This recurrence has no gates, or they were measured once at most.';
      return element('div', {}, run.contents.gates.labels.map((label) =>
        element('div', { class: 'labelled' }, element('h3', {}, label), this.mapOf(run, label).element)));
    });
    this.forEachMap(view, (map, run, gate) => map.draw(run.series.gates, { ...this.pictureOf(run, gate), step: view.step }));
    this.panel.show(view);
  }

  moveTo(view) {
    this.forEachMap(view, (map) => map.moveTo(view.step));
    this.panel.show(view);
  }

  forEachMap(view, act) {
    for (const run of multiples(view).filter(this.has)) run.contents.gates.labels.forEach((label, gate) => act(this.mapOf(run, label), run, gate));
  }

  mapOf(run, label) {
    const key = `${run.name}\n${label}`;
    if (!this.maps.has(key)) this.maps.set(key, new HeatMap(this.chooseStep, HEIGHT));
    return this.maps.get(key);
  }

  pictureOf(run, gate) {
    const { rows, shapes } = run.series.gates;
    const { valueOf, words } = VIEWS[this.choice.value];
    return {
      what: `the ${run.contents.gates.labels[gate]} gate of ${run.name}`,
      columnAt(place) {
        const now = { values: rows[place], shape: shapes[place] };
        const edges = edgesOf(now);
        return { values: valueOf(gateOf(now, gate)), edges, timesteps: edges.at(-1) };
      },
      pixelOf: (value) => (Number.isNaN(value) ? NOT_FINITE_PIXEL : onScale(SHUT_TO_OPEN[theme()], value)),
      weight: (value) => Math.abs(value - 0.5),
      words: (value) => (Number.isNaN(value) ? 'not a number' : words(value)),
    };
  }

  table(run) {
    const { steps, rows, shapes } = run.series.gates;
    const places = [...new Set([0, 0.25, 0.5, 0.75, 1].map((share) => Math.round(share * (steps.length - 1))))];
    const average = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
    const lines = places.flatMap((place) => run.contents.gates.labels.map((label, gate) => {
      const { mean, shut, open } = gateOf({ values: rows[place], shape: shapes[place] }, gate);
      return [whole(steps[place]), label, ...[mean, shut, open].map((values) => percent(average(values)))];
    }));
    return table(`${run.name}, ${run.layer}: averages over the timesteps, at five training steps`, ['training step', 'gate', 'mean of its range', 'units shut', 'units open'], lines);
  }
}
