// Panels: the profile at the chosen training step, of all runs, over the timesteps or over the lag.

import { runColour } from './colours.js';
import { table } from './dom.js';
import { Lines } from './lines.js';
import { Panel } from './panel.js';
import { lengthsOf, profileOf, referenceOf } from './profile.js';
import { decade, fromLog10, significant, whole } from './words.js';

class ProfilePanel {
  constructor(kind, description) {
    this.kind = kind;
    this.lines = new Lines();
    this.panel = new Panel({ ...description, tables: (view) => [this.table(view)] });
    this.panel.body.append(this.lines.element);
  }

  has = (run) => Boolean(run.series[this.kind]?.steps.length);

  draw(view) {
    const runs = view.runs.filter(this.has);
    this.range = rangeOf(runs.map((run) => run.series[this.kind]), this.isRelative(view) ? this.reference : null);
    this.fromTheEnd = this.kind === 'grad' && new Set(runs.flatMap(({ series }) => {
      const { longest, same } = lengthsOf(series.grad);
      return same ? [longest] : [longest, -1];
    })).size > 1;
    this.lines.draw(this.curves(view), this.options(view));
    this.panel.show(view);
  }

  moveTo(view) {
    this.lines.update(this.curves(view), this.options(view));
    this.panel.show(view);
  }

  curves(view) {
    return view.runs.filter(this.has).map((run) => {
      const profile = profileOf(run.series[this.kind].at(view.step));
      const reference = this.isRelative(view) ? this.reference(profile.median) : 0;
      const x = Array.from(profile.median, (_, bin) => this.position(profile, bin));
      const shown = (values) => Array.from(values, (value) => (Number.isFinite(value) ? value - reference : null));
      const notFinite = x.filter((_, bin) => Number.isNaN(profile.median[bin]) || profile.median[bin] === Infinity);
      const curve = { name: run.label, colour: runColour(run.place), x, y: shown(profile.median), low: shown(profile.p10), high: shown(profile.p90), notFinite };
      return this.fromTheEnd ? reversed(curve) : curve;
    });
  }

  table(view) {
    const rows = view.runs.filter(this.has).flatMap((run) => {
      const now = run.series[this.kind].at(view.step);
      const profile = profileOf(now);
      return [0, 0.25, 0.5, 0.75, 1].map((share) => {
        const bin = Math.round(share * (profile.bins - 1));
        return [run.name, run.layer, whole(now.step), whole(profile.edges[bin]), fromLog10(profile.median[bin]), fromLog10(profile.p10[bin]), fromLog10(profile.p90[bin])];
      });
    });
    return table(this.caption, ['run', 'layer', 'training step', this.axis, 'median', 'p10', 'p90'], rows);
  }
}

/** ‖∂L/∂h_t‖ over the timesteps. */
export class GradientProfilePanel extends ProfilePanel {
  axis = 'timestep t';
  caption = 'Gradient norm at five timesteps';

  constructor() {
    super('grad', {
      id: 'profile',
      kinds: ['grad'],
      title: 'Gradient at this training step',
      subtitle: '‖∂L/∂hₜ‖ over the timesteps: median over sequences, band from p10 to p90. Flat is healthy; a slope to the left vanishes.',
    });
  }

  isRelative = (view) => view.relative;
  reference = referenceOf;
  position = ({ edges, timesteps }, bin) => {
    const middle = Math.floor((edges[bin] + edges[bin + 1] - 1) / 2);
    return this.fromTheEnd ? timesteps - 1 - middle : middle;
  };

  options(view) {
    return {
      xLabel: this.fromTheEnd ? 'timesteps before the end' : 'timestep in the sequence, t',
      yLabel: view.relative ? 'relative to the last timestep' : '‖∂L/∂hₜ‖',
      xText: whole, yText: decade, yRange: this.range, reading: fromLog10,
      label: 'Gradient norm over the timesteps at the chosen training step; the numbers are in the table below.',
    };
  }
}

/** How much the loss at a step depends on the state some steps before. */
export class InfluencePanel extends ProfilePanel {
  axis = 'lag';
  caption = 'Influence at five lags';

  constructor() {
    super('influence', {
      id: 'influence',
      kinds: ['influence', 'horizon'],
      title: 'How far back does the loss depend on the state?',
      subtitle: 'Influence of the hidden state some timesteps before a loss, relative to lag 0. Dashed: the memory horizon.',
    });
  }

  isRelative = () => true;
  reference = (median) => (Number.isFinite(median[0]) ? median[0] : 0);
  position = ({ edges }, bin) => Math.floor((edges[bin] + edges[bin + 1] - 1) / 2);

  options(view) {
    const verticals = view.runs.filter((run) => run.series.horizon?.steps.length)
      .map((run) => ({ at: run.series.horizon.at(view.step).values[0], colour: runColour(run.place) }));
    return {
      xLabel: 'lag, timesteps before the loss', yLabel: 'relative to lag 0', verticals,
      xText: whole, yText: decade, yRange: this.range, reading: fromLog10,
      label: 'Influence over the lag at the chosen training step; the numbers are in the table below.',
    };
  }
}

/** How much each timestep adds to the gradient of the recurrent weights. */
export class ContributionsPanel extends ProfilePanel {
  axis = 'timestep t';
  caption = 'What five timesteps add to the gradient of the recurrent weights';

  constructor() {
    super('contributions', {
      id: 'contributions',
      kinds: ['contributions', 'early_late'],
      title: 'Which steps shape the recurrent weights?',
      subtitle: 'What each timestep adds to their gradient: median over sequences, band from p10 to p90. Cosine: of what the early and the late half ask; at −1 they cancel.',
    });
  }

  isRelative = () => false;
  position = ({ edges }, bin) => Math.floor((edges[bin] + edges[bin + 1] - 1) / 2);

  curves(view) {
    const cosines = new Map(view.runs.map(({ label, series }) => [label, series.early_late?.at(view.step)?.values[0]]));
    return super.curves(view).map((curve) => {
      const cosine = cosines.get(curve.name);
      return { ...curve, name: Number.isFinite(cosine) ? `${curve.name}: cosine ${significant(cosine)}` : curve.name };
    });
  }

  options() {
    return {
      xLabel: 'timestep in the sequence, t', yLabel: 'norm of the contribution',
      xText: whole, yText: decade, yRange: this.range, reading: fromLog10,
      label: 'What each timestep adds to the gradient of the recurrent weights at the chosen training step; the numbers are in the table below.',
    };
  }
}

function reversed(curve) {
  const turned = Object.fromEntries(['x', 'y', 'low', 'high'].map((name) => [name, curve[name].toReversed()]));
  return { ...curve, ...turned };
}

/** One range for the whole training, so that the slider moves the curve and not the axis. */
function rangeOf(all, reference) {
  let lowest = reference ? -1 : Infinity;
  let highest = reference ? 1 : -Infinity;
  for (const series of all) {
    const stride = Math.ceil(series.steps.length / 200);
    for (let place = 0; place < series.steps.length; place += stride) {
      const { median, p10, p90 } = profileOf({ values: series.rows[place], shape: series.shapes[place] });
      const zero = reference ? reference(median) : 0;
      for (const value of [...median, ...p10, ...p90]) {
        if (!Number.isFinite(value)) continue;
        lowest = Math.min(lowest, value - zero);
        highest = Math.max(highest, value - zero);
      }
    }
  }
  return lowest > highest ? [-8, 0] : [Math.floor(lowest), Math.ceil(highest)];
}
