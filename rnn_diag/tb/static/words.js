// Numbers as people read them.

const SUPERSCRIPTS = { '-': '⁻', 0: '⁰', 1: '¹', 2: '²', 3: '³', 4: '⁴', 5: '⁵', 6: '⁶', 7: '⁷', 8: '⁸', 9: '⁹' };

/** 10 to a whole power: 10⁻³. */
export function power(exponent) {
  return exponent === 0 ? '1' : `10${[...String(exponent)].map((digit) => SUPERSCRIPTS[digit]).join('')}`;
}

/** A tick of a logarithmic axis: powers of 10 alone. */
export const decade = (value) => (Number.isInteger(value) ? power(value) : '');

/** A number given by its logarithm: 3.2 · 10⁻⁸; zero, overflow and no number in words. */
export function fromLog10(value) {
  if (value === -Infinity) return 'exactly 0';
  if (value === Infinity) return 'overflow (Inf)';
  if (Number.isNaN(value)) return 'not a number';
  if (value > -2 && value < 3) return significant(10 ** value);
  const exponent = Math.floor(value);
  return `${(10 ** (value - exponent)).toFixed(1)} · ${power(exponent)}`;
}

/** Three digits that matter. */
export function significant(value) {
  if (!Number.isFinite(value)) return Number.isNaN(value) ? 'not a number' : value > 0 ? '∞' : '−∞';
  if (value === 0) return '0';
  const digits = Math.max(0, 2 - Math.floor(Math.log10(Math.abs(value))));
  return (digits > 6 ? value.toExponential(2) : value.toFixed(Math.min(digits, 6))).replace('-', '−');
}

/** The number at a tick of an axis: no more digits than it has. */
export function atTick(value) {
  return String(Number(value.toPrecision(6))).replace('-', '−');
}

/** A whole number with narrow spaces between thousands. */
export function whole(value) {
  return String(Math.round(value)).replace(/\B(?=(\d{3})+$)/g, '\u202f');
}

/** A share of one as per cent. */
export function percent(share) {
  const value = 100 * share;
  return `${value > 0 && value < 10 ? value.toFixed(1) : Math.round(value)} %`;
}

/** Names in the order people expect: layer 2 before layer 10. */
export const naturally = new Intl.Collator(undefined, { numeric: true }).compare;
