// Training steps × timesteps as pixels: where many cells share a pixel, the largest is seen, and what is not finite first.

import { NOT_FINITE_PIXEL, VIRIDIS, ZERO_PIXEL, onScale } from './colours.js';
import { profileOf, referenceOf } from './profile.js';

/** Where the column of every training step ends, in steps: halfway to the next one. */
export function columnEdges(steps) {
  const edges = new Float64Array(steps.length + 1);
  for (let place = 1; place < steps.length; place++) edges[place] = (steps[place - 1] + steps[place]) / 2;
  const half = steps.length > 1 ? (steps[1] - steps[0]) / 2 : 0.5;
  edges[0] = steps[0] - half;
  edges[steps.length] = steps.at(-1) + (steps.length > 1 ? (steps.at(-1) - steps.at(-2)) / 2 : 0.5);
  return edges;
}

/** The heat map of a series as image data: the last timestep in the first row of pixels, sequences aligned at their end. */
export function rasterise(series, { width, height, longest, relative, range }) {
  const image = new ImageData(width, height);
  const pixels = new Uint32Array(image.data.buffer);
  const edges = columnEdges(series.steps);
  const scale = width / (edges.at(-1) - edges[0]);
  const column = new Float64Array(height);
  for (let x = 0, place = 0; x < width; x++) {
    const from = edges[0] + x / scale;
    const to = edges[0] + (x + 1) / scale;
    while (edges[place + 1] <= from) place++;
    column.fill(-Infinity);
    const seen = new Uint8Array(height);
    for (let index = place; index < series.steps.length && edges[index] < to; index++) {
      addColumn(column, seen, series, index, height / longest, relative);
    }
    for (let y = 0; y < height; y++) if (seen[y]) pixels[y * width + x] = pixelOf(column[y], range);
  }
  return image;
}

/** The colour of a log10 value: of its share of the range, or of what it is instead of a number. */
export function pixelOf(value, [lowest, highest]) {
  if (value === -Infinity) return ZERO_PIXEL;
  if (!Number.isFinite(value)) return NOT_FINITE_PIXEL;
  return onScale(VIRIDIS, (value - lowest) / (highest - lowest));
}

function addColumn(column, seen, series, index, pixelsPerStep, relative) {
  const { bins, median, edges, timesteps } = profileOf({ values: series.rows[index], shape: series.shapes[index] });
  const reference = relative ? referenceOf(median) : 0;
  for (let bin = 0; bin < bins; bin++) {
    const top = Math.floor((timesteps - edges[bin + 1]) * pixelsPerStep);
    const bottom = Math.max(top + 1, Math.floor((timesteps - edges[bin]) * pixelsPerStep));
    const value = median[bin] - reference;
    for (let y = top; y < bottom && y < column.length; y++) {
      if (!seen[y] || Number.isNaN(value) || value > column[y]) column[y] = Number.isNaN(column[y]) ? NaN : value;
      seen[y] = 1;
    }
  }
}
