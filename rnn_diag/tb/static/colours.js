// Colours: those of `rnn_diag.reporting.colours`, as hex and as pixels of scales, and the theme's.

const HOST = {
  light: ['#425066', '#12b5cb', '#e52592', '#f9ab00', '#9334e6', '#7cb342', '#e8710a'],
  dark: ['#8e98a3', '#12b5cb', '#e52592', '#f9ab00', '#9334e6', '#7cb342', '#e8710a'],
};
const RUNS = {
  light: ['#0072b2', '#d55e00', '#009e73', '#aa3f87', '#8a6d00', '#3a8fb7', '#5b4ab0', '#555555'],
  dark: ['#5cb8ff', '#ff9a4d', '#3fd9a4', '#f08ccf', '#f0d24a', '#8fdcff', '#b7a8ff', '#cccccc'],
};

export const NOT_FINITE = '#ff00ff';
export const ZERO = '#000000';
export const SHUT = '#d55e00';
export const OPEN = '#0072b2';

/**
 * 256 colours from navy (10⁻⁸) over cream (1, at two thirds) to dark red (10⁴), as pixels: where a gradient has become
 * smaller or larger. The anchors are those of the picture that every TensorBoard shows.
 */
export const FALLEN_TO_GROWN = pixels(['#0a1030', '#1e4e9e', '#7ab2de', '#faf6e2', '#f7b05c', '#d03e28', '#680418'], [-8, -4, -1.5, 0, 1, 2.5, 4]);
/** 256 colours from dark violet over green to yellow, as pixels. */
export const VIRIDIS = pixels(['#440154', '#482878', '#3e4989', '#31688e', '#26828e', '#1f9e89', '#35b779', '#6ece58', '#b5de2b', '#fde725']);
/** 256 colours from shut over grey to open, as pixels. */
export const SHUT_TO_OPEN = {
  light: pixels(['#d55e00', '#eca66c', '#ededed', '#6fb3dc', '#0072b2']),
  dark: pixels(['#ff7a1a', '#9c5a2c', '#3a3d42', '#2f6f9e', '#3da9f5']),
};
export const NOT_FINITE_PIXEL = packed(channelsOf(NOT_FINITE));
export const ZERO_PIXEL = packed(channelsOf(ZERO));

export const theme = () => (document.body.classList.contains('dark') ? 'dark' : 'light');
export const css = (name) => getComputedStyle(document.body).getPropertyValue(`--${name}`).trim();
/** How many colours TensorBoard has for runs; it takes them in turn. */
export const HOST_COLOURS = HOST.light.length;
/** TensorBoard's colour of a run at a place; beyond its colours, one of our own. */
export const runColour = (place) => HOST[theme()][place] ?? RUNS[theme()][(place - HOST_COLOURS) % RUNS.light.length];

/** The colour of one of several lines of the same run. */
export const lineColour = (place) => RUNS[theme()][place % RUNS.light.length];

/** The pixel of `share` (0 to 1, cut off outside) on a scale. */
export function onScale(scale, share) {
  return scale[Math.max(0, Math.min(255, Math.round(share * 255)))];
}

/** A pixel as CSS colour. */
export const cssOf = (value) => `rgb(${value & 255} ${(value >> 8) & 255} ${(value >> 16) & 255})`;

/** Colours between anchors that lie at even distances, or at `values`, ascending. */
function pixels(anchors, values = anchors.map((_, index) => index)) {
  return Uint32Array.from({ length: 256 }, (_, index) => {
    const value = values[0] + (index / 255) * (values.at(-1) - values[0]);
    const left = Math.min(values.findLastIndex((at) => at <= value), anchors.length - 2);
    const share = (value - values[left]) / (values[left + 1] - values[left]);
    const [from, to] = [channelsOf(anchors[left]), channelsOf(anchors[left + 1])];
    return packed(from.map((channel, at) => Math.round(channel + (to[at] - channel) * share)));
  });
}

function channelsOf(colour) {
  return [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));
}

function packed([red, green, blue]) {
  return ((255 << 24) | (blue << 16) | (green << 8) | red) >>> 0;
}
