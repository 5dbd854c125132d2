// A profile over time as it is stored: log10 norms in bins of timesteps, their references and their edges.

/** Median, p10 and p90 of a row, and where its bins start and end. */
export function profileOf({ values, shape }) {
  const bins = shape[1];
  const part = (place) => values.subarray(place * bins, (place + 1) * bins);
  const edges = new Float64Array(bins + 1);
  const widths = part(3);
  for (let bin = 0; bin < bins; bin++) edges[bin + 1] = edges[bin] + widths[bin];
  return { bins, median: part(0), p10: part(1), p90: part(2), edges, timesteps: edges[bins] };
}

/** The value that a profile is shown relative to: the last timestep that has a gradient. */
export function referenceOf(median) {
  for (let bin = median.length - 1; bin >= 0; bin--) if (Number.isFinite(median[bin])) return median[bin];
  return 0;
}

/** The bin that holds a timestep. */
export function binOf(edges, timestep) {
  let low = 0;
  let high = edges.length - 2;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (edges[middle] <= timestep) low = middle;
    else high = middle - 1;
  }
  return low;
}

/** The length of the sequences at every step, and whether it is always the same. */
export function lengthsOf(series) {
  let longest = 0;
  let shortest = Infinity;
  for (let place = 0; place < series.steps.length; place++) {
    const bins = series.shapes[place][1];
    const widths = series.rows[place].subarray(3 * bins, 4 * bins);
    const length = widths.reduce((sum, width) => sum + width, 0);
    longest = Math.max(longest, length);
    shortest = Math.min(shortest, length);
  }
  return { longest, same: longest === shortest };
}
