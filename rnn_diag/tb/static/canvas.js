// A sharp canvas with axes: margins, ticks and labels around a plot area.

import { css } from './colours.js';

const FONT = '12px Roboto, system-ui, sans-serif';

/** Sizes a canvas to its element and the screen; nothing while the tab is hidden. */
export function prepare(canvas, height, margins) {
  const width = canvas.parentElement.clientWidth;
  if (!width) return null;
  const ratio = window.devicePixelRatio || 1;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  canvas.style.width = `${width}px`;
  canvas.style.height = `${height}px`;
  const context = canvas.getContext('2d');
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  context.font = FONT;
  const [top, right, bottom, left] = margins;
  return { context, ratio, width, height, area: { x: left, y: top, width: width - left - right, height: height - top - bottom } };
}

/** The height of a drawing: more in a panel that is opened large. */
export function tall(element, height) {
  return element.closest('.large') ? Math.max(height, Math.min(2.4 * height, window.innerHeight - 300)) : height;
}

/** Round numbers between two values, at least `finest` apart. */
export function ticks(lowest, highest, most, finest = 0) {
  const span = highest - lowest;
  if (!(span > 0)) return [lowest];
  const rough = span / Math.max(1, most);
  const magnitude = 10 ** Math.floor(Math.log10(rough));
  let unit = [1, 2, 5, 10].find((factor) => factor * magnitude >= rough) * magnitude;
  if (finest > unit) unit = finest;
  const first = Math.ceil(lowest / unit);
  const count = Math.floor((highest + unit * 1e-9) / unit) - first + 1;
  return Array.from({ length: Math.min(Math.max(0, count), 10 * most) }, (_, index) => (first + index) * unit || 0);
}

/** The axis below: ticks at `position(value)` with `text(value)`, and what is plotted. */
export function axisBelow({ context, area }, values, position, text, label) {
  context.fillStyle = context.strokeStyle = css('muted');
  context.lineWidth = 1;
  context.textAlign = 'center';
  context.textBaseline = 'top';
  for (const value of values) {
    const x = Math.round(position(value)) + 0.5;
    line(context, x, area.y + area.height, x, area.y + area.height + 4);
    context.fillText(text(value), x, area.y + area.height + 7);
  }
  context.fillText(label, area.x + area.width / 2, area.y + area.height + 24);
}

/** The axis at the left, its label turned. */
export function axisLeft({ context, area }, values, position, text, label) {
  context.fillStyle = context.strokeStyle = css('muted');
  context.lineWidth = 1;
  context.textAlign = 'right';
  context.textBaseline = 'middle';
  for (const value of values) {
    const y = Math.round(position(value)) + 0.5;
    line(context, area.x - 4, y, area.x, y);
    context.fillText(text(value), area.x - 7, y);
  }
  context.save();
  context.translate(12, area.y + area.height / 2);
  context.rotate(-Math.PI / 2);
  context.textAlign = 'center';
  context.fillText(label, 0, 0);
  context.restore();
}

/** A straight line in the current stroke. */
export function line(context, fromX, fromY, toX, toY) {
  context.beginPath();
  context.moveTo(fromX, fromY);
  context.lineTo(toX, toY);
  context.stroke();
}
