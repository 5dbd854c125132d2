// What the numbers of a layer say, in a word and a sentence each: the rules behind the cards.

import { binOf, profileOf, reachOf, referenceOf } from './profile.js';
import { isWholeRecurrence } from './spectrum.js';
import { STUCK, unitsOf } from './units.js';
import { fromLog10, percent, significant, whole } from './words.js';

/** An update gate that is open like this on average takes two hundred steps to write anything. */
const NEVER_WRITES = 0.995;

/** Levels, from the best to the worst. */
export const LEVELS = { ok: 'OK', info: 'Note', warning: 'Look', critical: 'Problem' };

/** Findings on a layer at a training step: each `{level, title, text, panel}`. */
export function healthOf(run, step) {
  return [gradient(run, step), recurrence(run, step), gates(run, step)].filter(Boolean);
}

function gradient(run, step) {
  const now = run.series.grad?.at(step);
  if (!now) return null;
  const found = (level, title, text) => ({ level, title: `Gradient ${title}`, text, panel: 'gradients' });
  const profile = profileOf(now);
  const { median, timesteps } = profile;
  if (median.some((value) => Number.isNaN(value) || value === Infinity)) return found('critical', 'overflows', 'Some of it is infinite or not a number.');
  if (median.every((value) => value === -Infinity)) return found('critical', 'is zero', 'No gradient arrives at any timestep.');
  const ratio = median[0] - referenceOf(median);
  const even = Math.abs(median[0] - middleOf(profile)) < 1;
  const start = `At t = 0 it is ${fromLog10(ratio)} of the end${even && ratio <= -2 ? ', and no less than in the middle' : ''}`;
  const reach = reachOf(profile);
  const back = reach < timesteps ? `; above 1/1000 for the last ${whole(reach)} of ${whole(timesteps)} timesteps.` : '.';
  if (ratio <= -4) return even ? found('warning', 'is faint at the start', start + back) : found('critical', 'vanishes', start + back);
  if (ratio <= -2 && !even) return found('warning', 'fades', start + back);
  if (ratio >= 3) return found('critical', 'explodes', start + back);
  if (ratio >= 1.5) return found('warning', 'grows backwards', start + back);
  return found('ok', 'reaches the start', start + back);
}

/** The value in the middle of the sequence. */
function middleOf({ median, edges, timesteps }) {
  return median[binOf(edges, Math.floor(timesteps / 2))];
}

/** When a number was measured, if that is not when the others were. */
function since(series, step) {
  const measured = series.at(step).step;
  return step - measured > 0.05 * Math.max(step, 1) ? ` Measured at step ${whole(measured)}.` : '';
}

function recurrence(run, step) {
  const found = (level, title, text, panel) => ({ level, title: `Recurrence ${title}`, text, panel });
  const exponent = run.series.lyapunov?.at(step)?.values[0];
  if (exponent !== undefined) {
    const text = `Largest Lyapunov exponent ${significant(exponent)} per timestep.${since(run.series.lyapunov, step)}`;
    if (!Number.isFinite(exponent)) return found('critical', 'is not finite', text, 'lyapunov');
    if (exponent > 0.01) return found('warning', 'is chaotic', text, 'lyapunov');
    return exponent < -0.1 ? found('warning', 'forgets fast', text, 'lyapunov') : found('ok', 'is stable', text, 'lyapunov');
  }
  const [matrix] = Object.keys(run.series.eig).sort((one, other) => isWholeRecurrence(other) - isWholeRecurrence(one));
  const now = matrix && run.series.eig[matrix].at(step);
  if (!now) return null;
  const radius = Math.hypot(now.values[0], now.values[1]);
  const text = `Spectral radius ${significant(radius)} (${matrix}).`;
  if (!isWholeRecurrence(matrix)) return found('info', 'through gates', text, 'spectrum');
  if (radius > 1.05) return found('warning', 'can grow', text, 'spectrum');
  return radius < 0.8 ? found('warning', 'forgets fast', text, 'spectrum') : found('ok', 'is stable', text, 'spectrum');
}

/** What keeps a gate's unit from its work. An open forget gate remembers, an open input or output gate lets everything through. */
const HARMFUL = {
  forget: ({ shut }) => shut >= STUCK,
  input: ({ shut }) => shut >= STUCK,
  output: ({ shut }) => shut >= STUCK,
  reset: () => false,
  update: ({ shut, average }) => shut >= STUCK || average > NEVER_WRITES,
};
const AT_EITHER_END = ({ shut, open }) => shut >= STUCK || open >= STUCK;

function gates(run, step) {
  if (!run.series.gate_units?.steps.length) return null;
  const all = unitsOf(run, step).map(({ label, units, stuckOpen }) => ({
    label, stuckOpen, units: units.length, stuck: units.filter(HARMFUL[label] ?? AT_EITHER_END).length,
  }));
  const worst = all.reduce((one, other) => (share(other) > share(one) ? other : one));
  const level = share(worst) > 0.5 ? 'critical' : share(worst) > 0.1 ? 'warning' : 'ok';
  const latched = all.find(({ label, stuckOpen }) => label === 'forget' && stuckOpen);
  const text = [
    worst.stuck ? `Most in the ${worst.label} gate: ${worst.stuck} of ${worst.units} units (${percent(share(worst))}).` : 'No unit is kept from its work.',
    latched ? `Forget gates that stay open, and so remember: ${latched.stuckOpen}.` : '',
  ].filter(Boolean).join(' ');
  return { level, title: level === 'ok' ? 'Gates work' : 'Gates are stuck', text, panel: 'units' };
}

const share = ({ stuck, units }) => stuck / units;
