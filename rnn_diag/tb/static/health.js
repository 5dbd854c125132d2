// What the numbers of a layer say, in a word and a sentence each: the rules behind the cards.

import { profileOf, reachOf, referenceOf } from './profile.js';
import { unitsOf } from './units.js';
import { fromLog10, percent, significant, whole } from './words.js';

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
  const start = `At t = 0 it is ${fromLog10(ratio)} of the end`;
  const reach = reachOf(profile);
  const back = reach < timesteps ? `; above 1/1000 for the last ${whole(reach)} of ${whole(timesteps)} timesteps.` : '.';
  if (ratio <= -4) return found('critical', 'vanishes', start + back);
  if (ratio <= -2) return found('warning', 'fades', start + back);
  if (ratio >= 3) return found('critical', 'explodes', start + back);
  if (ratio >= 1.5) return found('warning', 'grows backwards', start + back);
  return found('ok', 'reaches the start', start + back);
}

function recurrence(run, step) {
  const found = (level, title, text, panel) => ({ level, title: `Recurrence ${title}`, text, panel });
  const exponent = run.series.lyapunov?.at(step)?.values[0];
  if (exponent !== undefined) {
    const text = `Largest Lyapunov exponent ${significant(exponent)} per timestep.`;
    if (!Number.isFinite(exponent)) return found('critical', 'is not finite', text, 'lyapunov');
    if (exponent > 0.01) return found('warning', 'is chaotic', text, 'lyapunov');
    return exponent < -0.1 ? found('warning', 'forgets fast', text, 'lyapunov') : found('ok', 'is stable', text, 'lyapunov');
  }
  const [matrix] = Object.keys(run.series.eig);
  const now = matrix && run.series.eig[matrix].at(step);
  if (!now) return null;
  const radius = Math.hypot(now.values[0], now.values[1]);
  const text = `Spectral radius ${significant(radius)} (${matrix}).`;
  if (matrix !== 'W_hh' && matrix !== 'jacobian') return found('info', 'through gates', text, 'spectrum');
  if (radius > 1.05) return found('warning', 'can grow', text, 'spectrum');
  return radius < 0.8 ? found('warning', 'forgets fast', text, 'spectrum') : found('ok', 'is stable', text, 'spectrum');
}

function gates(run, step) {
  if (!run.series.gate_units?.steps.length) return null;
  const all = unitsOf(run, step);
  const worst = all.reduce((one, other) => (share(other) > share(one) ? other : one));
  const level = share(worst) > 0.3 ? 'critical' : share(worst) > 0.1 ? 'warning' : 'ok';
  const stuck = worst.stuckShut + worst.stuckOpen;
  const text = stuck ? `Most in the ${worst.label} gate: ${stuck} of ${worst.units.length} units (${percent(share(worst))}).` : 'No unit is shut or open all the time.';
  const title = level === 'ok' ? 'Gates move' : 'Gates are stuck';
  return { level, title, text, panel: 'units' };
}

const share = ({ stuckShut, stuckOpen, units }) => (stuckShut + stuckOpen) / units.length;
