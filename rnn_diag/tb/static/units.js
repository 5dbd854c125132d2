// Panel: every gate of every unit: how long it is shut and how long open.

import { prepare } from './canvas.js';
import { NOT_FINITE, SHUT_TO_OPEN, css, cssOf, onScale, theme } from './colours.js';
import { element, table } from './dom.js';
import { gateOf } from './gates.js';
import { Panel, fillFigures, multiples } from './panel.js';
import { percent, whole } from './words.js';

const ROW = 30;
const GAP = 8;
const SHOWN_IN_TABLE = 20;
const WIDE = 520;

export class UnitsPanel {
  constructor() {
    this.legend = element('div', { class: 'legend' });
    this.panel = new Panel({
      id: 'units',
      kinds: ['gate_units'],
      wide: true,
      title: 'Which units are stuck?',
      subtitle: 'Each gate, one cell per unit: the share of time it is open minus the share it is shut. Units that are at either end longest come first.',
      legend: this.legend,
      tables: (view) => multiples(view).filter(this.has).map((run) => tableOf(run, view.step)),
    });
  }

  has = (run) => Boolean(run.series.gate_units?.steps.length);

  draw(view) {
    const bar = element('span', { class: 'bar' });
    const colour = (share) => cssOf(SHUT_TO_OPEN[theme()][Math.round(share * 255)]);
    bar.style.background = `linear-gradient(to right, ${[0, 0.25, 0.5, 0.75, 1].map(colour).join(', ')})`;
    this.legend.replaceChildren(element('span', { class: 'scale' }, 'always shut', bar, 'always open'));
    this.figures = new Map();
    fillFigures(this.panel, view, (run) => {
      if (!this.has(run)) return 'This recurrence has no gates, or its units were not measured.';
      this.figures.set(run.name, new UnitMap(run));
      return this.figures.get(run.name).element;
    });
    this.moveTo(view);
  }

  moveTo(view) {
    for (const figure of this.figures.values()) figure.draw(view.step);
    this.panel.show(view);
  }
}

/** Every gate with its units, those that are at either end longest first. */
function unitsOf(run, step) {
  const now = run.series.gate_units.at(step);
  const { labels, every = 1 } = run.contents.gate_units;
  return labels.map((label, gate) => {
    const { mean, shut, open } = gateOf(now, gate);
    const units = mean.map((average, unit) => ({ unit: unit * every, average, shut: shut[unit], open: open[unit] }));
    units.sort((one, other) => Math.max(other.shut, other.open) - Math.max(one.shut, one.open) || other.shut - one.shut);
    const alwaysShut = units.filter((unit) => unit.shut === 1).length;
    const alwaysOpen = units.filter((unit) => unit.open === 1).length;
    return { label, units, alwaysShut, alwaysOpen, step: now.step };
  });
}

class UnitMap {
  constructor(run) {
    this.run = run;
    this.canvas = element('canvas', { role: 'img', onpointermove: (event) => this.describe(event), onpointerleave: () => { this.tip.hidden = true; } });
    this.tip = element('output', { class: 'tip', hidden: true });
    const { units, every = 1 } = run.contents.gate_units;
    const note = every > 1 ? element('p', { class: 'reading' }, `Every ${every}th of ${whole(units)} units is shown.`) : null;
    this.element = element('div', { class: 'drawing' }, note, this.canvas, this.tip);
  }

  draw(step) {
    this.gates = unitsOf(this.run, step);
    const wide = this.canvas.parentElement.clientWidth > WIDE;
    const frame = prepare(this.canvas, this.gates.length * (ROW + GAP), [0, wide ? 160 : 0, 0, 84]);
    this.frame = frame;
    if (!frame) return;
    const { context, area } = frame;
    this.gates.forEach(({ label, units, alwaysShut, alwaysOpen }, gate) => {
      const top = gate * (ROW + GAP);
      const width = area.width / units.length;
      units.forEach(({ shut, open }, place) => {
        context.fillStyle = Number.isNaN(shut) ? NOT_FINITE : cssOf(onScale(SHUT_TO_OPEN[theme()], (open - shut + 1) / 2));
        context.fillRect(area.x + place * width, top, width > 4 ? width - 1 : width + 0.4, ROW);
      });
      context.fillStyle = css('text');
      context.textBaseline = 'middle';
      context.textAlign = 'right';
      context.fillText(label, area.x - 10, top + ROW / 2);
      context.textAlign = 'left';
      context.fillStyle = alwaysShut + alwaysOpen ? css('text') : css('muted');
      if (wide) context.fillText(alwaysInWords(alwaysShut, alwaysOpen), area.x + area.width + 10, top + ROW / 2);
    });
    this.canvas.setAttribute('aria-label', `Units of ${this.run.name}: ${this.gates.map(({ label, alwaysShut, alwaysOpen }) => `${label} ${alwaysInWords(alwaysShut, alwaysOpen)}`).join('; ')}`);
  }

  describe({ offsetX, offsetY }) {
    const gate = this.gates[Math.floor(offsetY / (ROW + GAP))];
    const { area, width } = this.frame;
    const unit = gate?.units[Math.floor(((offsetX - area.x) / area.width) * gate.units.length)];
    this.tip.hidden = !unit;
    if (!unit) return;
    this.tip.textContent = `${gate.label} gate, unit ${unit.unit}: shut ${percent(unit.shut)}, open ${percent(unit.open)} of the time`;
    this.tip.style.left = `${Math.min(offsetX + 14, Math.max(0, width - this.tip.offsetWidth - 4))}px`;
    this.tip.style.top = `${Math.max(0, offsetY - 36)}px`;
  }
}

function alwaysInWords(shut, open) {
  if (!shut && !open) return 'none always';
  return [shut ? `${shut} always shut` : '', open ? `${open} always open` : ''].filter(Boolean).join(', ');
}

function tableOf(run, step) {
  const gates = unitsOf(run, step);
  const rows = gates.flatMap(({ label, units }) => units.slice(0, SHOWN_IN_TABLE)
    .map(({ unit, shut, open }) => [label, unit, percent(shut), percent(open)]));
  return table(`${run.name}, ${run.layer}, training step ${whole(gates[0].step)}: the ${SHOWN_IN_TABLE} most stuck units of each gate`,
    ['gate', 'unit', 'shut', 'open'], rows);
}
