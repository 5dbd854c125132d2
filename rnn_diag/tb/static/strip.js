// Many layers of a run in little space: a button for each with the doctor's severity, the worst first.

import { breakable, element } from './dom.js';
import { SEVERITIES, sign } from './verdict.js';
import { naturally, whole } from './words.js';

/** From so many layers on they can be filtered by name. */
const FILTERED = 12;
const REVERSE = /_reverse$/;

/** Layers by severity, the worst first, then by name; the two directions of a layer stay next to each other. */
export function worstFirst(layers, severityOf) {
  const pairs = new Map();
  for (const layer of layers) pairs.set(baseOf(layer), [...(pairs.get(baseOf(layer)) ?? []), layer].sort(naturally));
  const worst = (pair) => Math.max(...pair.map(severityOf));
  return [...pairs].sort(([name, one], [other, two]) => worst(two) - worst(one) || naturally(name, other)).flatMap(([, pair]) => pair);
}

const baseOf = (layer) => layer.replace(REVERSE, '');

/** What was typed and opened stays while the page is drawn anew. */
export class Strip {
  constructor(chooseLayer) {
    this.chooseLayer = chooseLayer;
    this.filter = element('input', { type: 'search', placeholder: 'Filter layers', 'aria-label': 'Filter layers', oninput: () => this.applyFilter() });
    this.worst = element('div', { class: 'chips' });
    this.rest = element('div', { class: 'chips' });
    this.summary = element('summary', {});
    this.others = element('details', {}, this.summary, this.rest);
    this.element = element('nav', { class: 'strip', 'aria-label': 'Layers' }, this.filter, this.worst, this.others);
  }

  /** `severityOf(layer)` is a place among the severities; −1 of a layer without a finding. `isJudged`: there is a verdict. */
  draw(run, severityOf, isJudged) {
    const layers = worstFirst([...run.layers.keys()], severityOf);
    const chip = (layer) => this.chip(run, layer, isJudged ? SEVERITIES[Math.max(0, severityOf(layer))] : '');
    const isShown = (layer) => severityOf(layer) >= 0 || layer === run.layer;
    const shown = layers.filter(isShown);
    const others = layers.filter((layer) => !isShown(layer));
    this.filter.hidden = layers.length < FILTERED;
    this.worst.replaceChildren(...shown.map(chip));
    this.rest.replaceChildren(...others.map(chip));
    this.others.hidden = !others.length;
    this.summary.textContent = `${whole(others.length)} ${others.length === 1 ? 'layer' : 'layers'} ${isJudged ? 'with nothing wrong found' : 'without a verdict'}`;
    this.applyFilter();
  }

  chip(run, layer, severity) {
    return element('button', { type: 'button', class: 'chip', title: layer, 'aria-pressed': String(layer === run.layer), onclick: () => this.chooseLayer(layer) },
      severity ? sign(severity) : null, element('span', {}, breakable(run.short.get(layer))));
  }

  applyFilter() {
    const words = this.filter.value.toLowerCase();
    if (words) this.others.open = true;
    for (const chip of this.element.querySelectorAll('.chip')) chip.hidden = !chip.title.toLowerCase().includes(words);
  }
}
