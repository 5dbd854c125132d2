// The frame of every panel: a title that says what is plotted, one figure per run, and the same numbers as a table.

import { exportLink } from './api.js';
import { runColour } from './colours.js';
import { breakable, element } from './dom.js';

const SIDE_BY_SIDE = 2;
const MULTIPLES = 12;

/** A panel with `id`, `title`, `subtitle` (text or elements), `tables(view)` of what it shows, and links to download series of `kinds`. */
export class Panel {
  constructor({ id, title, subtitle, legend = null, wide = false, kinds, tables }) {
    this.tables = tables;
    this.kinds = kinds;
    this.body = element('div', { class: 'figures' });
    this.numbers = element('div', { class: 'numbers' });
    this.details = element('details', { ontoggle: () => this.fillTable() },
      element('summary', {}, 'Numbers as a table'), this.numbers);
    this.links = element('p', { class: 'links' });
    this.tools = element('div', { class: 'tools' });
    this.opener = element('button', { type: 'button', class: 'opener', onclick: () => this.element.dispatchEvent(new Event('open')) });
    this.enlarge(false);
    this.element = element('section', { class: wide ? 'panel wide' : 'panel', id, 'aria-labelledby': `${id}-title` },
      element('header', {},
        element('div', {}, element('h2', { id: `${id}-title` }, title), element('p', {}, subtitle)), this.tools, this.opener),
      legend, this.body, element('footer', {}, this.details, this.links));
  }

  /** Shows the panel alone and large, or among the others. */
  enlarge(isLarge) {
    this.element?.classList.toggle('large', isLarge);
    this.opener.textContent = isLarge ? '✕' : '⤢';
    this.opener.title = isLarge ? 'Back to all panels (Esc)' : 'Open large; the address then leads here';
    this.opener.setAttribute('aria-label', this.opener.title);
  }

  /** Remembers what is shown; the table is written only while it is open. */
  show(view) {
    this.view = view;
    this.fillTable();
    this.fillLinks();
  }

  /** Links to everything that the runs shown hold of the panel's series, over the whole training. */
  fillLinks() {
    const links = this.kinds.flatMap((kind) => {
      const found = addresses(this.view, kind);
      const named = this.kinds.length > 1 ? ` of ${KINDS[kind]}` : '';
      return found.length ? ['csv', 'json'].map((format) =>
        element('a', { href: exportLink(found, format), download: '' }, `${format.toUpperCase()}${named}`)) : [];
    });
    this.links.replaceChildren(...(links.length ? ['Download: ', ...links] : []));
  }

  fillTable() {
    if (this.details.open && this.view) this.numbers.replaceChildren(...this.tables(this.view));
  }
}

/** What a kind of series is called in a link, where a panel has more than one. */
const KINDS = { eig: 'eigenvalues', sv: 'singular values', influence: 'influence', horizon: 'horizon', contributions: 'contributions', early_late: 'cosine' };

function addresses(view, kind) {
  return view.runs.flatMap(({ name, entries }) => [entries[kind] ?? []].flatMap((entry) => ('tag' in entry ? [entry] : Object.values(entry)))
    .map(({ tag }) => ({ run: name, tag })));
}

/** The first two runs, which have cards. */
export const sideBySide = (view) => view.runs.slice(0, SIDE_BY_SIDE);

/** The runs that maps are shown of, each of them one: all that are ticked, as long as a person can tell them apart. */
export const multiples = (view) => view.runs.slice(0, MULTIPLES);

/** A figure for each run, all of one size: `content(run)` is an element, or a sentence on why there is none. */
export function fillFigures(panel, view, content) {
  const runs = multiples(view);
  panel.body.classList.toggle('pair', runs.length === 2);
  panel.body.classList.toggle('multiples', runs.length > 2);
  const figures = runs.map((run) => {
    const made = content(run);
    const shown = typeof made === 'string' ? element('p', { class: 'absent' }, made) : made;
    return element('figure', {}, element('figcaption', {}, runLabel(run)), shown);
  });
  const left = view.runs.length - runs.length;
  if (left) figures.push(element('p', { class: 'absent' }, `${left} more ticked ${left === 1 ? 'run is' : 'runs are'} not drawn here.`));
  panel.body.replaceChildren(...figures);
}

/** The name of a run with its colour, and the layer if there is one. */
export function runLabel(run) {
  const swatch = element('i', { class: 'swatch' });
  swatch.style.background = runColour(run.place);
  const layer = run.layer ? element('small', {}, breakable(run.short.get(run.layer) ?? run.layer)) : null;
  return element('span', { class: 'run', title: `${run.name} ${run.layer}`.trim() }, swatch, element('span', {}, breakable(run.label), layer));
}
