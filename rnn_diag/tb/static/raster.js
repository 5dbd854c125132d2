// Training steps × timesteps as pixels: of the cells that share a pixel one is seen, and what is not finite first.

/** Where the column of every training step ends, in steps: halfway to the next one. */
export function columnEdges(steps) {
  const edges = new Float64Array(steps.length + 1);
  for (let place = 1; place < steps.length; place++) edges[place] = (steps[place - 1] + steps[place]) / 2;
  const half = steps.length > 1 ? (steps[1] - steps[0]) / 2 : 0.5;
  edges[0] = steps[0] - half;
  edges[steps.length] = steps.at(-1) + (steps.length > 1 ? (steps.at(-1) - steps.at(-2)) / 2 : 0.5);
  return edges;
}

/**
 * A heat map as image data: the last timestep in the first row of pixels, sequences aligned at their end.
 *
 * `columnAt(place)` gives `{values, edges, timesteps}` of a training step, `pixelOf(value)` a colour; of two values in
 * one pixel the one of the greater `weight` is seen, the larger value if nothing is said.
 */
export function rasterise(steps, { width, height, longest, columnAt, pixelOf, weight = (value) => value }) {
  const image = new ImageData(width, height);
  const pixels = new Uint32Array(image.data.buffer);
  const edges = columnEdges(steps);
  const scale = width / (edges.at(-1) - edges[0]);
  const column = new Float64Array(height);
  for (let x = 0, place = 0; x < width; x++) {
    const from = edges[0] + x / scale;
    const to = edges[0] + (x + 1) / scale;
    while (edges[place + 1] <= from) place++;
    const seen = new Uint8Array(height);
    for (let index = place; index < steps.length && edges[index] < to; index++) {
      addColumn(column, seen, columnAt(index), height / longest, weight);
    }
    for (let y = 0; y < height; y++) if (seen[y]) pixels[y * width + x] = pixelOf(column[y]);
  }
  return image;
}

function addColumn(column, seen, { values, edges, timesteps }, pixelsPerStep, weight) {
  for (let bin = 0; bin < values.length; bin++) {
    const top = Math.floor((timesteps - edges[bin + 1]) * pixelsPerStep);
    const bottom = Math.max(top + 1, Math.floor((timesteps - edges[bin]) * pixelsPerStep));
    const value = values[bin];
    for (let y = top; y < bottom && y < column.length; y++) {
      if (!seen[y] || Number.isNaN(value) || weight(value) > weight(column[y])) column[y] = value;
      seen[y] = 1;
    }
  }
}
