// What is shown: the runs at the side; layer, scale and training step above.

import { shortNames } from './catalogue.js';
import { runColour } from './colours.js';
import { element } from './dom.js';
import { hostFilter } from './host.js';
import { naturally, whole } from './words.js';

/** From so many runs on they can be filtered by name. */
const FILTERED = 8;

/** The list of runs with boxes to tick, and a filter. */
export class RunList {
  constructor(choose) {
    this.choose = choose;
    this.filter = element('input', { type: 'search', value: hostFilter(), placeholder: 'Filter runs (regex)', 'aria-label': 'Filter runs by a regular expression', oninput: () => this.applyFilter() });
    this.list = element('ul', {});
    this.element = element('aside', { 'aria-label': 'Runs' }, element('h2', {}, 'Runs'), this.filter, this.list,
      element('p', {}, 'Cards show the first two ticked runs; maps and lines show all of them, in TensorBoard’s colours.'));
  }

  /** `colours` are those of the runs that are ticked. */
  draw(catalogue, colours) {
    this.list.replaceChildren(...[...catalogue.values()].map(({ name, label }) => {
      const swatch = element('i', { class: 'swatch' });
      swatch.style.background = colours.has(name) ? runColour(colours.get(name)) : 'transparent';
      const box = element('input', { type: 'checkbox', value: name, checked: colours.has(name), onchange: () => this.report() });
      return element('li', {}, element('label', { title: name }, box, swatch, element('span', {}, element('bdi', {}, label))));
    }));
    this.filter.hidden = catalogue.size < FILTERED && !this.filter.value;
    this.applyFilter();
  }

  applyFilter() {
    const matches = matcher(this.filter.value);
    for (const item of this.list.children) item.hidden = !matches(item.firstChild.title);
  }

  report() {
    this.choose([...this.list.querySelectorAll('input:checked')].map((box) => box.value));
  }
}

/** Layer, scale, and one slider over the training steps for all panels. */
export class Toolbar {
  constructor({ chooseLayer, chooseScale, chooseStep }) {
    this.layer = element('select', { id: 'layer', onchange: () => chooseLayer(this.layer.value) });
    this.scale = element('select', { id: 'scale', onchange: () => chooseScale(this.scale.value === 'relative') },
      element('option', { value: 'relative' }, 'relative to the end'), element('option', { value: 'absolute' }, 'absolute'));
    this.slider = element('input', { type: 'range', id: 'step', min: 0, step: 1, oninput: () => chooseStep(this.steps[Number(this.slider.value)]) });
    this.reading = element('output', { for: 'step' });
    this.element = element('div', { class: 'toolbar', role: 'toolbar', 'aria-label': 'What is shown' },
      element('label', { for: 'layer' }, 'Layer', this.layer),
      element('label', { for: 'scale' }, 'Gradient', this.scale),
      element('label', { for: 'step', class: 'grow' }, 'Training step', this.slider), this.reading);
  }

  draw({ layers, layer, relative, steps, step }) {
    this.steps = steps;
    this.layer.replaceChildren(...[...shortNames([...layers].sort(naturally))].map(([name, short]) => element('option', { value: name, title: name }, short)));
    this.layer.value = layer;
    this.scale.value = relative ? 'relative' : 'absolute';
    this.slider.max = Math.max(0, steps.length - 1);
    this.slider.disabled = steps.length < 2;
    this.moveTo(step);
  }

  moveTo(step) {
    const place = this.steps.findLastIndex((known) => known <= step);
    this.slider.value = Math.max(0, place);
    const last = this.steps.at(-1) ?? 0;
    this.reading.textContent = `${whole(step)} of ${whole(last)}`;
    this.slider.setAttribute('aria-valuetext', `training step ${step} of ${last}`);
  }
}

/** Whether a name matches a regular expression, in any case; what is none is looked for as it is. */
function matcher(words) {
  try {
    const expression = new RegExp(words, 'i');
    return (name) => expression.test(name);
  } catch {
    return (name) => name.toLowerCase().includes(words.toLowerCase());
  }
}
