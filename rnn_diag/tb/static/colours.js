// Colours: a scale that also the colour-blind can read, one colour for each run, and the theme's.

const ANCHORS = ['440154', '482878', '3e4989', '31688e', '26828e', '1f9e89', '35b779', '6ece58', 'b5de2b', 'fde725'];
const RUNS = {
  light: ['#d55e00', '#0072b2', '#009e73', '#aa3f87', '#8a6d00', '#3a8fb7', '#5b4ab0', '#555555'],
  dark: ['#ff9a4d', '#5cb8ff', '#3fd9a4', '#f08ccf', '#f0d24a', '#8fdcff', '#b7a8ff', '#cccccc'],
};

export const NOT_FINITE = '#ff00ff';
export const ZERO = '#000000';
export const SHUT = '#d55e00';
export const OPEN = '#0072b2';

/**
 * 256 colours from navy (10⁻⁸) over cream (1, at two thirds) to dark red (10⁴), as pixels: where a gradient has become
 * smaller or larger. The anchors are those of the picture that every TensorBoard shows.
 */
export const FALLEN_TO_GROWN = pixels(['0a1030', '1e4e9e', '7ab2de', 'faf6e2', 'f7b05c', 'd03e28', '680418'], [0, 4, 6.5, 8, 9, 10.5, 12]);
/** 256 colours from dark violet over green to yellow, as pixels. */
export const VIRIDIS = pixels(ANCHORS);
/** 256 colours from shut over grey to open, as pixels. */
export const SHUT_TO_OPEN = { light: pixels(['d55e00', 'eca66c', 'ededed', '6fb3dc', '0072b2']), dark: pixels(['ff7a1a', '9c5a2c', '3a3d42', '2f6f9e', '3da9f5']) };
export const NOT_FINITE_PIXEL = pixel(NOT_FINITE.slice(1));
export const ZERO_PIXEL = pixel('000000');

export const theme = () => (document.body.classList.contains('dark') ? 'dark' : 'light');
export const css = (name) => getComputedStyle(document.body).getPropertyValue(`--${name}`).trim();
export const runColour = (place) => RUNS[theme()][place % RUNS.light.length];

/** The pixel of `share` (0 to 1, cut off outside) on a scale. */
export function onScale(scale, share) {
  return scale[Math.max(0, Math.min(255, Math.round(share * 255)))];
}

/** A pixel as CSS colour. */
export const cssOf = (value) => `rgb(${value & 255} ${(value >> 8) & 255} ${(value >> 16) & 255})`;

/** Colours between anchors that lie at even distances, or at `places`. */
function pixels(anchors, places = anchors.map((_, index) => index)) {
  return Uint32Array.from({ length: 256 }, (_, place) => {
    const position = (place / 255) * places.at(-1);
    const left = Math.min(places.findLastIndex((at) => at <= position), anchors.length - 2);
    const share = (position - places[left]) / (places[left + 1] - places[left]);
    const channels = [0, 2, 4].map((at) => {
      const [from, to] = [left, left + 1].map((index) => parseInt(anchors[index].slice(at, at + 2), 16));
      return Math.round(from + (to - from) * share);
    });
    return packed(channels);
  });
}

function pixel(hex) {
  return packed([0, 2, 4].map((at) => parseInt(hex.slice(at, at + 2), 16)));
}

function packed([red, green, blue]) {
  return ((255 << 24) | (blue << 16) | (green << 8) | red) >>> 0;
}
