// A series as it comes from the server: decoded into one row of numbers per training step.

const HALF = halfPrecisionTable();

/** Rows of one tag, by training step. */
export class Series {
  constructor(steps, rows, shapes, unreadable) {
    this.steps = steps;
    this.rows = rows;
    this.shapes = shapes;
    this.unreadable = unreadable;
  }

  /** The place of the latest row at or before `step`; the first row if there is none; -1 if there are no rows. */
  placeAt(step) {
    let low = 0;
    let high = this.steps.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.steps[middle] <= step) low = middle + 1;
      else high = middle;
    }
    return this.steps.length ? Math.max(0, low - 1) : -1;
  }

  /** What was measured at or before `step`, with the step it was measured at. */
  at(step) {
    const place = this.placeAt(step);
    return place < 0 ? null : { values: this.rows[place], shape: this.shapes[place], step: this.steps[place] };
  }
}

/** Reads four bytes of header length, the header, and the rows in the type that it says. */
export function decodeSeries(buffer) {
  const headerLength = new DataView(buffer).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, headerLength)));
  const stored = storedValues(buffer, 4 + headerLength, header.dtype);
  const rows = [];
  let start = 0;
  for (const shape of header.shapes) {
    const size = shape.reduce((product, length) => product * length, 1);
    rows.push(stored.subarray(start, start + size));
    start += size;
  }
  return new Series(header.steps, rows, header.shapes, header.unreadable);
}

function storedValues(buffer, start, dtype) {
  if (dtype === 'u1') return new Uint8Array(buffer, start);
  if (dtype === 'f4') return new Float32Array(buffer, start);
  return Float32Array.from(new Uint16Array(buffer, start), (bits) => HALF[bits]);
}

function halfPrecisionTable() {
  const table = new Float32Array(65536);
  for (let bits = 0; bits < 65536; bits++) {
    const sign = bits & 0x8000 ? -1 : 1;
    const exponent = (bits >> 10) & 0x1f;
    const fraction = bits & 0x3ff;
    if (exponent === 0) table[bits] = sign * fraction * 2 ** -24;
    else if (exponent === 31) table[bits] = fraction ? NaN : sign * Infinity;
    else table[bits] = sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
  }
  return table;
}
