// What was measured of a layer at a training step, in a few lines of text: numbers, and no judgement.

import { gateOf } from './gates.js';
import { profileOf, referenceOf } from './profile.js';
import { isWholeRecurrence } from './spectrum.js';
import { fromLog10, percent, significant, whole } from './words.js';

/** Lines on a layer, each `{name, text, step}`; how far it remembers comes first. */
export function factsOf({ series, contents }, step) {
  const found = [horizon(series, step), gradient(series, step), recurrence(series, step), gates(series, contents, step)];
  return found.filter(Boolean);
}

function horizon(series, step) {
  const now = series.horizon?.at(step);
  if (!now) return { name: 'Memory horizon', text: 'not measured' };
  const [median, p10, p90] = now.values;
  const spread = Number.isFinite(p10) && Number.isFinite(p90) && p10 !== p90 ? `, p10 to p90: ${whole(p10)} to ${whole(p90)}` : '';
  return { name: 'Memory horizon', text: Number.isFinite(median) ? `${whole(median)} timesteps${spread}` : 'not a number', step: now.step };
}

function gradient(series, step) {
  const now = series.grad?.at(step);
  if (!now) return null;
  const { median } = profileOf(now);
  return { name: 'Gradient at t = 0', text: `${fromLog10(median[0] - referenceOf(median))} of the end`, step: now.step };
}

/** The largest Lyapunov exponent; the spectral radius where none was measured. */
function recurrence({ lyapunov, eig }, step) {
  const exponents = lyapunov?.at(step);
  if (exponents) return { name: 'Lyapunov exponent', text: `${significant(exponents.values[0])} per timestep`, step: exponents.step };
  const [matrix] = Object.keys(eig).sort((one, other) => isWholeRecurrence(other) - isWholeRecurrence(one));
  const now = matrix && eig[matrix].at(step);
  return now ? { name: 'Spectral radius', text: `${significant(Math.hypot(now.values[0], now.values[1]))} (${matrix})`, step: now.step } : null;
}

function gates(series, contents, step) {
  const now = series.gates?.at(step);
  if (!now) return null;
  const shares = contents.gates.labels.map((label, gate) => {
    const { shut, open } = gateOf(now, gate);
    return `${label} ${percent(average(shut))} / ${percent(average(open))}`;
  });
  return { name: 'Gates shut / open', text: shares.join(', '), step: now.step };
}

const average = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
