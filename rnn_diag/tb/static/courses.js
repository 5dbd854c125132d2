// Panels: single numbers over the training, of all runs: Lyapunov exponents, memory horizon, the cost of measuring.

import { runColour } from './colours.js';
import { table } from './dom.js';
import { Lines } from './lines.js';
import { Panel } from './panel.js';
import { atTick, percent, significant, whole } from './words.js';

class CoursePanel {
  constructor({ kind, columns, yLabel, yText = atTick, reading = significant, level, fromZero, ...description }) {
    Object.assign(this, { kind, columns, yLabel, yText, reading, level, fromZero });
    this.lines = new Lines();
    this.panel = new Panel({ ...description, tables: (view) => [this.table(view)] });
    this.panel.body.append(this.lines.element);
  }

  has = (run) => Boolean(run.series[this.kind]?.steps.length);

  draw(view) {
    const curves = view.runs.filter(this.has).flatMap((run) => this.curves(run));
    this.lines.draw(curves, {
      xLabel: 'training step', yLabel: this.yLabel, xText: whole, yText: this.yText, fromZero: this.fromZero, level: this.level,
      cursor: view.step, reading: this.reading, label: `${this.yLabel} over the training; the numbers are in the table below.`,
    });
    this.panel.show(view);
  }

  moveTo(view) {
    this.lines.moveCursor(view.step);
    this.panel.show(view);
  }

  table(view) {
    const rows = view.runs.filter(this.has).map((run) => {
      const now = run.series[this.kind].at(view.step);
      return [run.name, run.layer, whole(now.step), ...this.columns.map((_, place) => this.reading(now.values[place]))];
    });
    return table(this.yLabel, ['run', 'layer', 'training step', ...this.columns], rows);
  }
}

/** Lyapunov exponents, the largest of each run in full. */
export class LyapunovPanel extends CoursePanel {
  constructor() {
    super({
      kind: 'lyapunov', kinds: ['lyapunov'], id: 'lyapunov', columns: ['largest exponent', 'second', 'third'],
      title: 'Does a small difference grow?',
      subtitle: 'Lyapunov exponents over the training, the largest in bold. Above 0 small differences grow (chaos); far below 0 the past is forgotten.',
      yLabel: 'exponent per timestep', level: 0,
    });
  }

  curves(run) {
    const { steps, rows } = run.series.lyapunov;
    const count = Math.max(...rows.map((row) => row.length));
    return Array.from({ length: count }, (_, place) => ({
      name: place ? '' : run.label, colour: runColour(run.place), thin: place > 0, x: steps, y: finite(rows, place),
    })).reverse();
  }
}

/** How many timesteps back the loss still depends on the state. */
export class HorizonPanel extends CoursePanel {
  constructor() {
    super({
      kind: 'horizon', kinds: ['horizon'], id: 'horizon', columns: ['median', 'p10', 'p90'],
      title: 'How long is the memory?',
      subtitle: 'Memory horizon over the training: timesteps back over which the loss still depends on the state; median and band from p10 to p90.',
      yLabel: 'timesteps', yText: whole, fromZero: true,
    });
  }

  curves(run) {
    const { steps, rows } = run.series.horizon;
    return [{ name: run.label, colour: runColour(run.place), x: steps, y: finite(rows, 0), low: finite(rows, 1), high: finite(rows, 2) }];
  }
}

/** The share of the training time that measuring takes. */
export class CostPanel extends CoursePanel {
  constructor() {
    super({
      kind: 'cost', kinds: ['cost'], id: 'cost', columns: ['share of training time', 'milliseconds for a measurement', 'steps since the last one'],
      title: 'What does measuring cost?',
      subtitle: 'Share of the training time spent in diagnostics so far. To keep to max_overhead, measured steps lie further apart than was asked for: the table says how far.',
      yLabel: 'share of training time', yText: percent, reading: percent, fromZero: true,
    });
  }

  curves(run) {
    const { steps, rows } = run.series.cost;
    return [{ name: run.label, colour: runColour(run.place), x: steps, y: finite(rows, 1) }];
  }

  table(view) {
    const rows = view.runs.filter(this.has).map((run) => {
      const { cost } = run.series;
      const now = cost.at(view.step);
      const place = cost.placeAt(view.step);
      const gap = place > 0 ? whole(now.step - cost.steps[place - 1]) : '–';
      return [run.name, whole(now.step), percent(now.values[1]), significant(now.values[0]), gap];
    });
    return table('Cost of measuring', ['run', 'training step', ...this.columns], rows);
  }
}

function finite(rows, place) {
  return rows.map((row) => (Number.isFinite(row[place]) ? row[place] : null));
}
