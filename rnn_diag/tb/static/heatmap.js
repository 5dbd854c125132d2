// One heat map on a canvas: training steps to the right, timesteps upwards, a crosshair, and a word on what is under the pointer.

import { axisBelow, axisLeft, line, prepare, tall, ticks } from './canvas.js';
import { css } from './colours.js';
import { element } from './dom.js';
import { binOf } from './profile.js';
import { columnEdges, rasterise } from './raster.js';
import { whole } from './words.js';

const MARGINS = [8, 14, 42, 66];

export class HeatMap {
  /** `chooseStep(step)` is called when a step is clicked. */
  constructor(chooseStep, height = 300) {
    this.height = height;
    this.canvas = element('canvas', { role: 'img' });
    this.tip = element('output', { class: 'tip', hidden: true });
    this.element = element('div', { class: 'drawing' }, this.canvas, this.tip);
    this.pointer = null;
    this.canvas.addEventListener('pointermove', (event) => this.point(event, chooseStep));
    this.canvas.addEventListener('pointerdown', (event) => this.point(event, chooseStep, true));
    this.canvas.addEventListener('pointerleave', () => this.point(null));
  }

  /** `columnAt`, `pixelOf` and `weight` as in `rasterise`; `words(value, place)` says what a value is; `what` is plotted. */
  draw(series, { columnAt, pixelOf, weight, words, what, step }) {
    Object.assign(this, { series, columnAt, words, step });
    this.frame = prepare(this.canvas, tall(this.canvas, this.height), MARGINS);
    if (!this.frame) return;
    const lengths = series.steps.map((_, place) => columnAt(place).timesteps);
    const longest = (this.longest = lengths.reduce((one, other) => Math.max(one, other), 1));
    this.same = lengths.every((length) => length === longest);
    this.edges = columnEdges(series.steps);
    const { area, ratio } = this.frame;
    const size = { width: Math.round(area.width * ratio), height: Math.round(area.height * ratio) };
    this.picture = document.createElement('canvas');
    Object.assign(this.picture, size);
    this.picture.getContext('2d').putImageData(rasterise(series.steps, { ...size, longest, columnAt, pixelOf, weight }), 0, 0);
    this.canvas.setAttribute('aria-label', `Heat map of ${what}: ${series.steps.length} training steps by ${longest} timesteps. The numbers are in the table below.`);
    this.paint();
  }

  moveTo(step) {
    this.step = step;
    if (this.frame) this.paint();
  }

  paint() {
    const { context, area, width, height } = this.frame;
    context.clearRect(0, 0, width, height);
    context.imageSmoothingEnabled = false;
    context.drawImage(this.picture, area.x, area.y, area.width, area.height);
    const x = (step) => area.x + ((step - this.edges[0]) / (this.edges.at(-1) - this.edges[0])) * area.width;
    const y = (timestep) => area.y + area.height * (1 - timestep / this.longest);
    const most = Math.max(2, Math.round(area.height / 42));
    axisBelow(this.frame, ticks(this.series.steps[0], this.series.steps.at(-1), area.width / 90, 1), x, whole, 'training step');
    if (this.same) axisLeft(this.frame, ticks(0, this.longest, most, 1), y, whole, area.height > 150 ? 'timestep in the sequence, t' : 'timestep t');
    else axisLeft(this.frame, ticks(0, this.longest, most, 1), (lag) => y(this.longest - lag), whole, area.height > 150 ? 'timesteps before the end' : 'before the end');
    this.paintCrosshair(x);
  }

  paintCrosshair(x) {
    const { context, area } = this.frame;
    const at = x(this.series.at(this.step).step);
    for (const [colour, thickness] of [['black', 4], ['white', 2]]) {
      context.strokeStyle = colour;
      context.lineWidth = thickness;
      line(context, at, area.y, at, area.y + area.height);
    }
    if (!this.pointer) return;
    context.strokeStyle = css('text');
    context.setLineDash([4, 4]);
    context.lineWidth = 1;
    line(context, area.x, this.pointer.y, area.x + area.width, this.pointer.y);
    line(context, this.pointer.x, area.y, this.pointer.x, area.y + area.height);
    context.setLineDash([]);
  }

  point(event, chooseStep, pressed = false) {
    if (!this.frame) return;
    const { area } = this.frame;
    const x = event ? event.offsetX : -1;
    const y = event ? event.offsetY : -1;
    const inside = x >= area.x && x < area.x + area.width && y >= area.y && y < area.y + area.height;
    this.pointer = inside ? { x, y } : null;
    this.tip.hidden = !inside;
    if (inside) {
      const place = this.placeAt((x - area.x) / area.width);
      if (pressed || event.buttons & 1) chooseStep(this.series.steps[place]);
      this.describe(place, 1 - (y - area.y) / area.height);
    }
    this.paint();
  }

  placeAt(share) {
    const step = this.edges[0] + share * (this.edges.at(-1) - this.edges[0]);
    return binOf(this.edges, step);
  }

  describe(place, share) {
    const { values, edges, timesteps } = this.columnAt(place);
    const timestep = Math.floor(timesteps - this.longest * (1 - share));
    const where = `step ${whole(this.series.steps[place])} · t = ${whole(timestep)} of ${whole(timesteps)}`;
    this.tip.textContent = timestep < 0 ? `${where} · before the sequence` : `${where} · ${this.words(values[binOf(edges, timestep)], place)}`;
    const { x, y } = this.pointer;
    this.tip.style.left = `${Math.min(x + 14, Math.max(0, this.frame.width - this.tip.offsetWidth - 4))}px`;
    this.tip.style.top = `${Math.max(0, y - 36)}px`;
  }
}
