// One card for each layer of the runs side by side: what its numbers say at the chosen step, and the run's own findings.

import { fetchVerdicts } from './api.js';
import { loadLayer } from './catalogue.js';
import { element } from './dom.js';
import { LEVELS, healthOf } from './health.js';
import { runLabel, sideBySide } from './panel.js';
import { whole } from './words.js';

const SIGNS = { ok: '✓', info: 'i', warning: '!', critical: '✕' };

export class Cards {
  /** `chooseLayer(layer)` is called when a card is chosen. */
  constructor({ chooseLayer }) {
    this.chooseLayer = chooseLayer;
    this.element = element('div', { class: 'cards' });
    this.cards = [];
    this.verdicts = [];
    // A model may have hundreds of layers: a card is filled once it is seen.
    this.observer = new IntersectionObserver((entries) => {
      for (const entry of entries) if (entry.isIntersecting) this.fill(entry.target.card);
    });
  }

  draw(view, catalogue) {
    this.view = view;
    this.observer.disconnect();
    this.cards = [];
    this.verdicts = [];
    this.element.replaceChildren(...sideBySide(view).map((shown) => this.column(catalogue.get(shown.name), shown)));
    this.element.classList.toggle('pair', sideBySide(view).length > 1);
    for (const chosen of this.element.querySelectorAll('.chosen')) chosen.parentElement.scrollTop = chosen.offsetTop - chosen.parentElement.offsetTop;
  }

  moveTo(view) {
    this.view = view;
    for (const card of this.cards) this.describe(card);
    for (const verdict of this.verdicts) this.tell(verdict);
  }

  column(run, shown) {
    const cards = [...run.layers.keys()].map((layer) => this.card(run, layer, shown));
    const findings = element('div', { class: 'findings' });
    if (run.whole.verdict) this.fillFindings(findings, run);
    return element('div', { class: 'column' }, findings, element('div', { class: 'layers' }, cards));
  }

  card(run, layer, shown) {
    const list = element('ul', {});
    const choose = element('button', { type: 'button', 'aria-pressed': String(layer === shown.layer), onclick: () => this.chooseLayer(layer) },
      runLabel({ ...shown, layer }), element('span', { class: 'cell' }, run.layers.get(layer).grad?.content.cell ?? ''));
    const made = element('article', { class: layer === shown.layer ? 'card chosen' : 'card' }, choose, list);
    const card = { run, layer, list, loaded: layer === shown.layer ? shown : null };
    made.card = card;
    this.cards.push(card);
    if (card.loaded) this.describe(card);
    else this.observer.observe(made);
    return made;
  }

  async fill(card) {
    if (card.loaded) return;
    try {
      card.loaded = await loadLayer(card.run, card.layer);
      this.describe(card);
    } catch (error) {
      card.list.replaceChildren(element('li', {}, String(error.message)));
    }
  }

  describe({ list, loaded }) {
    if (!loaded) return;
    const found = healthOf(loaded, this.view.step);
    const silent = element('li', { class: 'absent' }, 'Nothing was measured of this layer by this step.');
    list.replaceChildren(...(found.length ? found.map(finding) : [silent]));
  }

  async fillFindings(place, run) {
    try {
      const verdict = { place, verdicts: await fetchVerdicts(run.name, run.whole.verdict.lastStep), layers: run.layers.size };
      this.verdicts.push(verdict);
      this.tell(verdict);
    } catch (error) {
      place.textContent = error.message;
    }
  }

  /** The verdict that stood at the chosen step: the findings are written whenever they change. */
  tell({ place, verdicts, layers }) {
    const standing = verdicts.findLast(({ step }) => step <= this.view.step);
    if (!standing) return place.replaceChildren();
    const title = element('h3', {}, `Verdict of the doctor, as it has stood since step ${whole(standing.step)}`);
    return place.replaceChildren(title, ...(standing.findings.length ? standing.findings.map((found) => told(found, layers)) : [told(NOTHING_FOUND, 0)]));
  }
}

const NOTHING_FOUND = { severity: 'ok', title: 'Nothing wrong is found.' };

function told({ severity, layer, title = '', evidence = '', advice }, layers) {
  const level = levelOf(severity);
  return element('p', { class: `finding ${level}` }, sign(level),
    element('span', {}, element('b', {}, layers > 1 && layer ? `${layer}: ${title}` : title), evidence ? element('small', {}, evidence) : null,
      advice ? element('em', {}, `Try: ${advice}`) : null));
}

const levelOf = (severity) => (severity in LEVELS ? severity : 'info');

function finding({ level, title, text, panel }) {
  const show = () => document.getElementById(panel)?.scrollIntoView({ behavior: 'smooth', block: 'start' });
  return element('li', { class: level }, sign(level),
    element('span', {}, element('button', { type: 'button', class: 'link', onclick: show }, title), element('small', {}, text)));
}

function sign(level) {
  return element('i', { class: `sign ${level}`, role: 'img', 'aria-label': LEVELS[level], title: LEVELS[level] }, SIGNS[level]);
}
