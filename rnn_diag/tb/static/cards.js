// One card for each layer of the runs side by side: how far it remembers, the doctor's findings, and what was measured.

import { loadLayer } from './catalogue.js';
import { breakable, element } from './dom.js';
import { factsOf } from './facts.js';
import { runLabel, sideBySide } from './panel.js';
import { Strip, worstFirst } from './strip.js';
import { countsOf, finding, silence, standingAt, worst, SEVERITIES } from './verdict.js';
import { whole } from './words.js';

/** So many layers of a run have a card each; of more, the chosen one has, beneath a strip of all. */
const CARDS = 4;
const FINDINGS = 6;

export class Cards {
  /** `chooseLayer(layer)` is called when a layer is chosen, `showPanel(layer, panel)` when a finding is; `isDrawn(panel, entries)` says whether a panel shows something of a layer. */
  constructor({ chooseLayer, showPanel, isDrawn }) {
    Object.assign(this, { chooseLayer, showPanel, isDrawn });
    this.element = element('div', { class: 'cards' });
    this.strips = new Map();
  }

  draw(view) {
    this.view = view;
    this.cards = [];
    this.columns = [];
    this.element.replaceChildren(...sideBySide(view).map((run) => this.column(run)));
    this.element.classList.toggle('pair', sideBySide(view).length > 1);
  }

  moveTo(view) {
    this.view = view;
    for (const card of this.cards) this.describe(card);
    for (const column of this.columns) this.tell(column);
  }

  column(run) {
    const layers = [...run.layers.keys()];
    const column = { run, element: element('div', { class: 'findings' }), strip: layers.length > CARDS ? this.stripOf(run) : null };
    this.columns.push(column);
    this.tell(column);
    const shown = column.strip ? layers.filter((layer) => layer === run.layer) : worstFirst(layers, (layer) => worst(this.findingsOf(run, layer)));
    return element('div', { class: 'column' }, runLabel({ ...run, layer: '' }), column.element, column.strip?.element,
      element('div', { class: 'layers' }, shown.map((layer) => this.card(run, layer))));
  }

  stripOf({ name }) {
    if (!this.strips.has(name)) this.strips.set(name, new Strip((layer) => this.chooseLayer(layer)));
    return this.strips.get(name);
  }

  card(run, layer) {
    const chosen = layer === run.layer;
    const list = element('ul', {});
    const choose = element('button', { type: 'button', 'aria-pressed': String(chosen), onclick: () => this.chooseLayer(layer) },
      element('span', { class: 'name', title: layer }, breakable(run.short.get(layer))), element('span', { class: 'cell' }, run.layers.get(layer).grad?.content.cell ?? ''));
    const card = { run, layer, list, loaded: chosen ? run : null };
    this.cards.push(card);
    this.describe(card);
    this.fill(card);
    return element('article', { class: chosen ? 'card chosen' : 'card' }, choose, list);
  }

  async fill(card) {
    if (card.loaded) return;
    card.loaded = await loadLayer(card.run, card.layer);
    this.describe(card);
  }

  describe({ run, layer, list, loaded }) {
    const findings = this.findingsOf(run, layer);
    const [first, ...others] = loaded ? factsOf(loaded, this.view.step).map((one) => fact(one, this.view.step)) : [];
    const show = (panel) => this.showPanel(layer, panel);
    const told = findings.length ? findings.map((one) => finding('li', one, this.isDrawn(one.panel, run.layers.get(layer)) ? show : null)) : [element('li', { class: 'absent' }, silence(run, this.view.step))];
    list.replaceChildren(...[first, ...told, ...others].filter(Boolean));
  }

  findingsOf(run, layer) {
    return (standingAt(run.verdicts, this.view.step)?.findings ?? []).filter((one) => one.layer === layer);
  }

  /** What the doctor says of the run as a whole, and of what has no card. */
  tell({ run, element: place, strip }) {
    const standing = standingAt(run.verdicts, this.view.step);
    strip?.draw(run, (layer) => worst(this.findingsOf(run, layer)), Boolean(standing));
    if (!standing) return place.replaceChildren();
    const { findings, step } = standing;
    const others = findings.filter(({ layer }) => !run.layers.has(layer)).map((one) => (one.layer ? { ...one, title: `${one.layer}: ${one.title}` } : one));
    const sum = findings.length
      ? { severity: SEVERITIES[worst(findings)], title: countsOf(findings) }
      : { severity: 'ok', title: 'Nothing wrong is found.' };
    return place.replaceChildren(element('h3', {}, `Verdict of the doctor, as it has stood since step ${whole(step)}`),
      ...[sum, ...others.slice(0, FINDINGS)].map((one) => finding('p', one)), furtherOnes(others.slice(FINDINGS)));
  }
}

function furtherOnes(others) {
  return others.length ? element('details', {}, element('summary', {}, `${whole(others.length)} more`), others.map((one) => finding('p', one))) : '';
}

function fact({ name, text, step }, shown) {
  const since = step === undefined || step === shown ? null : element('small', {}, ` step ${whole(step)}`);
  return element('li', { class: 'fact' }, `${name}: `, element('b', {}, text), since);
}
