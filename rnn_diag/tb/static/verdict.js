// The doctor's words: what it found at a layer, as it stood at a training step. Nothing is judged here.

import { element } from './dom.js';

/** Severities, from the best to the worst, in the doctor's words. */
export const SEVERITIES = ['ok', 'info', 'advice', 'warning', 'critical'];
const SIGNS = { ok: '✓', info: 'i', advice: 'i', warning: '!', critical: '✕' };

/** The verdict that stood at a step, `{step, findings}`; findings are written whenever they change. */
export function standingAt(verdicts, step) {
  return verdicts.findLast((verdict) => verdict.step <= step);
}

/** Why a card shows no finding. */
export function silence(run, step) {
  if (!run.whole.verdict) return 'No verdict in this run.';
  return standingAt(run.verdicts, step) ? 'Nothing wrong found.' : 'No verdict by this step.';
}

/** The worst of some findings: its place among the severities; -1 if there is none. */
export function worst(findings) {
  return Math.max(-1, ...findings.map(({ severity }) => SEVERITIES.indexOf(severity)));
}

/** How many findings there are of each severity, the worst first. */
export function countsOf(findings) {
  return SEVERITIES.toReversed().map((severity) => [findings.filter((one) => one.severity === severity).length, severity])
    .filter(([count]) => count).map(([count, severity]) => `${count} × ${severity}`).join(' · ');
}

/** A finding as an element; its title leads to a panel by `show(panel)`, if there is such a panel. */
export function finding(name, { severity, title = '', evidence, advice, panel }, show) {
  const heading = panel && show ? element('button', { type: 'button', class: 'link', onclick: () => show(panel) }, title) : element('b', {}, title);
  return element(name, { class: `finding ${severity}` }, sign(severity), element('span', {}, heading,
    evidence ? element('small', { class: 'detail' }, evidence) : null,
    advice ? element('em', { class: 'detail' }, `Try: ${advice}`) : null));
}

/** A severity as a sign. */
export function sign(severity) {
  return element('i', { class: `sign ${severity}`, role: 'img', 'aria-label': severity, title: severity }, SIGNS[severity]);
}
