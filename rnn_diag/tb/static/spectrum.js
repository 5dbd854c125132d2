// Panel: where the eigenvalues lie, inside or outside the unit circle, and how they came there; the singular values beside.

import { axisBelow, axisLeft, line, prepare, ticks } from './canvas.js';
import { css, runColour } from './colours.js';
import { element, table } from './dom.js';
import { Panel, fillFigures, multiples } from './panel.js';
import { atTick, naturally, significant, whole } from './words.js';

const HEIGHT = 320;
const WHOLE_RECURRENCE = ['hidden', 'W_hh', 'jacobian'];
const TRAIL = 8;
const SHOWN_IN_TABLE = 12;

export class SpectrumPanel {
  constructor() {
    this.matrix = null;
    this.choice = element('select', { 'aria-label': 'Recurrent matrix', onchange: () => this.choose(this.choice.value) });
    this.panel = new Panel({
      id: 'spectrum',
      kinds: ['eig', 'sv'],
      title: 'Is the recurrence stable?',
      subtitle: 'Eigenvalues of the recurrent matrix and the unit circle. Triangles lie outside, red ones where that means growth; grey is the way they came. Beside: singular values.',
      tables: (view) => multiples(view).filter(this.has).map((run) => this.table(run, view.step)),
    });
    this.panel.tools.append(this.choice);
  }

  has = (run) => Object.values(run.series.eig).some((series) => series.steps.length);

  draw(view) {
    this.view = view;
    const matrices = [...new Set(view.runs.flatMap((run) => Object.keys(run.series.eig)))].sort(naturally);
    this.choice.replaceChildren(...matrices.map((name) => element('option', { value: name }, name)));
    this.choice.hidden = matrices.length < 2;
    if (!matrices.includes(this.matrix)) [this.matrix] = matrices;
    this.choice.value = this.matrix;
    this.panel.element.classList.toggle('wide', multiples(view).length > 1);
    this.figures = [];
    fillFigures(this.panel, view, (run) => {
      if (!this.has(run)) return 'The eigenvalues were not measured in this run.';
      const figure = new Plane(run, this.matrixOf(run));
      this.figures.push(figure);
      return figure.element;
    });
    this.moveTo(view);
  }

  moveTo(view) {
    for (const figure of this.figures) figure.draw(view.step);
    this.panel.show(view);
  }

  choose(matrix) {
    this.matrix = matrix;
    this.draw(this.view);
  }

  matrixOf(run) {
    return this.matrix in run.series.eig ? this.matrix : Object.keys(run.series.eig).sort(naturally)[0];
  }

  table(run, step) {
    const matrix = this.matrixOf(run);
    const now = run.series.eig[matrix].at(step);
    const rows = pairsOf(now.values).slice(0, SHOWN_IN_TABLE).map(([real, imaginary], place) => [
      place + 1, significant(real), significant(imaginary), significant(Math.hypot(real, imaginary)),
      significant(run.series.sv[matrix]?.at(step)?.values[place] ?? NaN),
    ]);
    return table(`${run.name}, ${run.layer}, ${matrix}, training step ${whole(now.step)}: the largest`,
      ['', 'real part', 'imaginary part', 'modulus', 'singular value'], rows);
  }
}

/** Whether a matrix is all there is to the recurrence: what the block of a single gate means depends on the other gates. */
export const isWholeRecurrence = (matrix) => WHOLE_RECURRENCE.includes(matrix);

/** The complex plane of one run. */
class Plane {
  constructor(run, matrix) {
    Object.assign(this, { run, matrix, eigenvalues: run.series.eig[matrix], singular: run.series.sv[matrix] });
    this.extent = extentOf(this.eigenvalues);
    this.judged = isWholeRecurrence(matrix);
    this.canvas = element('canvas', { role: 'img' });
    this.plane = element('div', { class: 'plane' }, this.canvas);
    this.bars = element('canvas', { role: 'img' });
    this.strip = element('div', { class: 'strip' }, this.bars);
    this.words = element('p', { class: 'reading' });
    this.element = element('div', { class: 'drawing' }, this.words, element('div', { class: 'planes' }, this.plane, this.strip));
  }

  draw(step) {
    const place = this.eigenvalues.placeAt(step);
    const pairs = pairsOf(this.eigenvalues.rows[place]);
    const radius = Math.max(...pairs.map(([real, imaginary]) => Math.hypot(real, imaginary)));
    const outside = pairs.filter(([real, imaginary]) => Math.hypot(real, imaginary) > 1).length;
    const largest = this.singular?.at(step)?.values[0];
    const age = step - this.eigenvalues.steps[place];
    this.words.replaceChildren(
      element('b', {}, `spectral radius ${significant(radius)}`),
      ` · ${outside ? `${outside} outside the unit circle` : 'all inside the unit circle'}`,
      largest === undefined ? '' : ` · largest singular value ${significant(largest)}`,
      this.judged ? '' : ' · of one gate; stability depends on all of them',
      ` · ${this.matrix}, step ${whole(this.eigenvalues.steps[place])}${age > 0 ? `, taken ${whole(age)} steps before` : ''}`);
    this.canvas.setAttribute('aria-label', `Eigenvalues of ${this.matrix} in ${this.run.name}: ${this.words.textContent}`);
    this.paint(place, pairs);
    this.paintSingularValues(step);
  }

  paint(place, pairs) {
    const frame = prepare(this.canvas, HEIGHT, [8, 8, 42, 60]);
    if (!frame) return;
    const { context, area } = frame;
    const unit = Math.min(area.width, area.height) / 2 / this.extent;
    const x = (real) => area.x + area.width / 2 + real * unit;
    const y = (imaginary) => area.y + area.height / 2 - imaginary * unit;
    const [wide, high] = [area.width / 2 / unit, area.height / 2 / unit];
    paintCircle(frame, x, y, unit);
    axisBelow(frame, ticks(-wide, wide, 6), x, atTick, 'real part');
    axisLeft(frame, ticks(-high, high, 6), y, atTick, 'imaginary part');
    context.fillStyle = css('muted');
    for (let back = Math.min(TRAIL, place); back > 0; back--) {
      context.globalAlpha = 0.1 + 0.3 * (1 - back / TRAIL);
      for (const [real, imaginary] of pairsOf(this.eigenvalues.rows[place - back])) dot(context, x(real), y(imaginary), 1.5);
    }
    context.globalAlpha = 1;
    for (const [real, imaginary] of pairs) {
      const stable = Math.hypot(real, imaginary) <= 1;
      context.fillStyle = stable || !this.judged ? runColour(this.run.place) : css('alarm');
      if (stable) dot(context, x(real), y(imaginary), 3.5);
      else triangle(context, x(real), y(imaginary), 6);
    }
  }

  paintSingularValues(step) {
    const values = this.singular?.at(step)?.values;
    this.strip.hidden = !values;
    if (!values) return;
    const frame = prepare(this.bars, HEIGHT, [8, 4, 42, 54]);
    if (!frame) return;
    const { context, area } = frame;
    const highest = Math.max(1.2, ...this.singular.rows.map((row) => row[0]));
    const y = (value) => area.y + area.height * (1 - value / highest);
    const width = area.width / values.length;
    this.bars.setAttribute('aria-label', `${values.length} singular values, the largest ${significant(values[0])}`);
    axisLeft(frame, ticks(0, highest, 5), y, atTick, 'singular value');
    axisBelow(frame, [], null, null, 'largest first');
    values.forEach((value, place) => {
      context.fillStyle = value > 1 && this.judged ? css('alarm') : runColour(this.run.place);
      context.fillRect(area.x + place * width, y(value), Math.max(1, width - 1), area.y + area.height - y(value));
    });
    context.strokeStyle = css('text');
    context.lineWidth = 1;
    line(context, area.x, y(1), area.x + area.width, y(1));
  }
}

function paintCircle({ context, area }, x, y, unit) {
  context.strokeStyle = css('grid');
  context.lineWidth = 1;
  line(context, area.x, y(0), area.x + area.width, y(0));
  line(context, x(0), area.y, x(0), area.y + area.height);
  context.strokeStyle = css('text');
  context.lineWidth = 1.5;
  context.beginPath();
  context.arc(x(0), y(0), unit, 0, 2 * Math.PI);
  context.stroke();
}

function pairsOf(values) {
  return Array.from({ length: values.length / 2 }, (_, place) => [values[2 * place], values[2 * place + 1]]);
}

/** Half the width of the plane: the unit circle, and everything that was ever measured. */
function extentOf(series) {
  let largest = 1;
  for (const row of series.rows) for (const value of row) if (Number.isFinite(value)) largest = Math.max(largest, Math.abs(value));
  return largest * 1.12;
}

function dot(context, x, y, radius) {
  context.beginPath();
  context.arc(x, y, radius, 0, 2 * Math.PI);
  context.fill();
}

function triangle(context, x, y, radius) {
  context.beginPath();
  context.moveTo(x, y - radius);
  context.lineTo(x + radius * 0.87, y + radius / 2);
  context.lineTo(x - radius * 0.87, y + radius / 2);
  context.fill();
}
