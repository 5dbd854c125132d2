// The page: reads the index, keeps what is chosen, and draws every panel that has something to show.

import { fetchIndex, fetchRunOrder } from './api.js';
import { Cards } from './cards.js';
import { catalogueOf, describe, layerShown, loadLayer, troubleOf, verdictsOf } from './catalogue.js';
import { RunList, Toolbar } from './controls.js';
import { CostPanel, HorizonPanel, LyapunovPanel } from './courses.js';
import { HOST_COLOURS } from './colours.js';
import { element } from './dom.js';
import { GateWeightsPanel } from './gate_weights.js';
import { GatesPanel } from './gates.js';
import { GatesOverTrainingPanel } from './gates_over_training.js';
import { GradientsPanel } from './gradients.js';
import { followTheme, onEscape, onReload, readLink, writeLink } from './host.js';
import { emptyState, notices } from './messages.js';
import { ContributionsPanel, GradientProfilePanel, InfluencePanel } from './profiles.js';
import { SpectrumPanel } from './spectrum.js';
import { UnitsPanel } from './units.js';
import { standingAt, worst } from './verdict.js';
import { WeightMapsPanel } from './weight_maps.js';
import { naturally } from './words.js';

const RUNS_AT_FIRST = 2;

/** Called by TensorBoard once the tab is opened. */
export async function render() {
  document.documentElement.lang = 'en';
  await Promise.all(['uplot.css', 'style.css'].map(addStyle));
  await new Page().start();
}

function addStyle(name) {
  return new Promise((resolve) => {
    document.head.append(element('link', { rel: 'stylesheet', href: `./static/${name}`, onload: resolve, onerror: resolve }));
  });
}

class Page {
  constructor() {
    this.chosen = { runs: [], layer: '', step: null, relative: true, panel: '' };
    this.runList = new RunList((runs) => this.choose({ runs }));
    this.toolbar = new Toolbar({
      chooseLayer: (layer) => this.choose({ layer }),
      chooseScale: (relative) => this.choose({ relative }),
      chooseStep: (step) => this.moveTo(step),
    });
    this.cards = new Cards({
      chooseLayer: (layer) => this.choose({ layer }),
      showPanel: (layer, id) => this.showPanel(layer, id),
      isDrawn: (id, entries) => this.panels.some(({ panel }) => panel.element.id === id && panel.kinds.some((kind) => entries[kind])),
    });
    this.panels = [
      new GradientsPanel({ chooseStep: (step) => this.moveTo(step) }), new GradientProfilePanel(), new InfluencePanel(),
      new SpectrumPanel(), new GatesPanel(), new GatesOverTrainingPanel({ chooseStep: (step) => this.moveTo(step) }), new UnitsPanel(),
      new GateWeightsPanel(), new WeightMapsPanel(), new ContributionsPanel(), new LyapunovPanel(), new HorizonPanel(), new CostPanel(),
    ];
    for (const { panel } of this.panels) panel.element.addEventListener('open', () => this.openPanel(panel.element.id));
    onEscape(() => this.chosen.panel && this.openPanel(this.chosen.panel));
    this.notices = element('div', {});
    this.unmeasured = element('p', { class: 'unmeasured' });
    this.grid = element('div', { class: 'panels' }, this.panels.map(({ panel }) => panel.element));
    this.main = element('main', {}, this.toolbar.element, this.notices, this.cards.element, this.grid, this.unmeasured);
    this.colours = new Map();
    this.drawings = 0;
  }

  async start() {
    const asked = readLink();
    this.asked = asked;
    if (asked.layer) this.chosen.layer = asked.layer;
    if (asked.step !== undefined) this.chosen.step = asked.step;
    if (this.panels.some(({ panel }) => panel.element.id === asked.panel)) this.chosen.panel = asked.panel;
    followTheme(() => this.draw());
    onReload(() => this.reload());
    await this.reload();
    new ResizeObserver(() => this.drawSoon()).observe(document.body);
  }

  async reload() {
    try {
      const [index, order] = await Promise.all([fetchIndex(), fetchRunOrder()]);
      this.catalogue = catalogueOf(index);
      this.order = order;
      this.failure = '';
    } catch (error) {
      this.failure = `TensorBoard did not answer (${error.message}). Is it still running? Press its reload button to try again.`;
      this.catalogue ??= new Map();
    }
    if (this.catalogue.size) return this.choose({});
    document.body.replaceChildren(...(this.failure ? notices([this.failure]) : [emptyState()]));
    this.ready();
    return undefined;
  }

  /** Takes over what was chosen, loads what is missing, and draws. */
  async choose(change) {
    Object.assign(this.chosen, change);
    const wanted = (this.wanted = {});
    const missing = this.chooseRuns();
    try {
      await describe(this.catalogue, this.chosen.runs);
    } catch (error) {
      missing.push(`What the runs hold could not be read (${error.message}). Press TensorBoard's reload button to try again.`);
    }
    if (wanted !== this.wanted) return;
    const runs = this.chosen.runs.map((name) => this.catalogue.get(name));
    const layers = new Set(runs.flatMap((run) => [...run.layers.keys()]));
    if (!layers.has(this.chosen.layer)) {
      const first = await this.layerAtFirst(runs, [...layers].sort(naturally));
      if (wanted !== this.wanted) return;
      this.chosen.layer = first;
    }
    this.layers = layers;
    this.sentences = [this.failure, ...missing, ...runs.map(troubleOf)];
    try {
      const loaded = await Promise.all(runs.filter((run) => run.layers.size || Object.keys(run.whole).length)
        .map((run) => loadLayer(run, layerShown(run, this.chosen.layer, this.catalogue))));
      if (wanted !== this.wanted) return;
      this.runs = loaded.map((run) => ({ ...run, place: this.colours.get(run.name) }));
    } catch (error) {
      this.sentences.push(`The runs could not be read (${error.message}). Press TensorBoard's reload button to try again.`);
      this.runs ??= [];
    }
    this.runs.forEach((run) => this.sentences.push(...run.failures, unreadableOf(run)));
    this.chooseStep();
    this.draw();
  }

  /** The layer with the worst finding, so that a large model opens where something is wrong; else the first. */
  async layerAtFirst(runs, layers) {
    const verdicts = await Promise.all(runs.filter((run) => run.whole.verdict).map((run) => verdictsOf(run, [])));
    const findings = verdicts.flatMap((one) => standingAt(one, this.chosen.step ?? Infinity)?.findings ?? []);
    const at = new Map(layers.map((layer) => [layer, worst(findings.filter((one) => one.layer === layer))]));
    return layers.reduce((one, other) => (at.get(other) > at.get(one) ? other : one), layers[0]);
  }

  /** Keeps to runs that are there; returns sentences on those that are not. */
  chooseRuns() {
    const asked = this.asked.runs;
    this.asked = {};
    if (asked) this.chosen.runs = asked;
    const missing = this.chosen.runs.filter((name) => !this.catalogue.has(name));
    this.chosen.runs = this.chosen.runs.filter((name) => this.catalogue.has(name));
    if (!this.chosen.runs.length) this.chosen.runs = [...this.catalogue.keys()].slice(0, RUNS_AT_FIRST);
    this.keepColours();
    return missing.map((name) => `The run “${name}” has no RNN diagnostics in this log; here are others.`);
  }

  /** Every chosen run has TensorBoard's colour; where another chosen run has that, one of its own, which it keeps. */
  keepColours() {
    const { runs } = this.chosen;
    for (const name of this.colours.keys()) if (!runs.includes(name)) this.colours.delete(name);
    for (const name of runs) {
      if (this.colours.has(name)) continue;
      const taken = [...this.colours.values()];
      const hosts = this.order.indexOf(name);
      let place = hosts < 0 ? HOST_COLOURS : hosts % HOST_COLOURS;
      if (taken.includes(place)) place = HOST_COLOURS;
      while (taken.includes(place)) place += 1;
      this.colours.set(name, place);
    }
  }

  /** Opens a panel large, alone; or all of them again. */
  openPanel(id) {
    this.chosen.panel = this.chosen.panel === id ? '' : id;
    this.draw();
    document.getElementById(id)?.scrollIntoView({ block: this.chosen.panel ? 'start' : 'center' });
  }

  /** Shows the panel that is opened large, if it has something to show, and hides the others. */
  showLarge() {
    const large = this.measured.find(({ panel }) => panel.element.id === this.chosen.panel);
    for (const { panel } of this.panels) panel.enlarge(panel === large?.panel);
    document.body.classList.toggle('one', Boolean(large));
    if (large) this.measured = [large];
  }

  /** Follows the training if the last step was shown, else stays where it is. */
  chooseStep() {
    const before = this.steps?.at(-1);
    const following = this.chosen.step === null || this.chosen.step === before;
    const main = this.runs.flatMap(({ series }) => series.grad?.steps ?? []);
    const any = this.runs.flatMap(({ series }) => Object.values(series).flatMap((one) => one.steps ?? Object.values(one).flatMap(({ steps }) => steps)));
    this.steps = [...new Set(main.length ? main : any)].sort((one, other) => one - other);
    if (following) this.chosen.step = this.steps.at(-1) ?? 0;
  }

  moveTo(step) {
    if (step === undefined || step === this.chosen.step) return;
    this.chosen.step = step;
    this.toolbar.moveTo(step);
    cancelAnimationFrame(this.moving);
    this.moving = requestAnimationFrame(() => {
      const view = this.view();
      this.attempt('The cards', () => this.cards.moveTo(view));
      for (const panel of this.measured) this.attempt(`“${titleOf(panel)}”`, () => panel.moveTo(view));
      writeLink(this.chosen);
      this.ready();
    });
  }

  /** Chooses a layer and brings a panel into view. */
  async showPanel(layer, id) {
    if (this.chosen.panel) this.openPanel(this.chosen.panel);
    if (!this.runs.some((run) => run.layer === layer)) await this.choose({ layer });
    document.getElementById(id)?.scrollIntoView({ behavior: 'smooth', block: 'start' });
  }

  view() {
    return { ...this.chosen, runs: this.runs, layer: this.chosen.layer };
  }

  drawSoon() {
    if (document.body.clientWidth === this.width) return;
    cancelAnimationFrame(this.drawing);
    this.drawing = requestAnimationFrame(() => this.draw());
  }

  draw() {
    if (!this.runs) return;
    this.width = document.body.clientWidth;
    if (!this.width) return; // Another tab is shown; this one is drawn once it has a size again.
    if (!this.main.isConnected) document.body.replaceChildren(this.runList.element, this.main);
    const view = this.view();
    this.runList.draw(this.catalogue, this.colours);
    this.toolbar.draw({ ...this.chosen, layers: this.layers, steps: this.steps });
    this.notices.replaceChildren(...notices(this.sentences));
    this.attempt('The cards', () => this.cards.draw(view));
    this.measured = this.panels.filter((panel) => this.runs.some(panel.has));
    this.showLarge();
    for (const panel of this.panels) panel.panel.element.hidden = !this.measured.includes(panel);
    this.measured = this.measured.filter((panel) => this.drawPanel(panel, view));
    this.sayUnmeasured();
    writeLink(this.chosen);
    this.ready();
  }

  /** Draws a panel; one that fails is a sentence, and the others are drawn. */
  drawPanel(panel, view) {
    const isDrawn = this.attempt(`“${titleOf(panel)}”`, () => panel.draw(view));
    panel.panel.element.hidden = !isDrawn;
    return isDrawn;
  }

  /** Does something to a part of the page; returns whether it could, else says so above the panels. */
  attempt(what, act) {
    try {
      act();
      return true;
    } catch (error) {
      this.notices.append(...notices([`${what} could not be drawn: ${error.message}`]));
      return false;
    }
  }

  sayUnmeasured() {
    const titles = this.panels.filter((panel) => !this.runs.some(panel.has)).map(titleOf);
    this.unmeasured.textContent = titles.length ? `Not measured in these runs: ${titles.join(' · ')}` : '';
  }

  /** Says to whoever waits that the page is drawn, and how often. */
  ready() {
    this.drawings += 1;
    performance.mark('rnn_diag drawn');
    document.body.dataset.ready = this.drawings;
  }
}

const titleOf = ({ panel }) => panel.element.querySelector('h2').textContent;

function unreadableOf({ name, series }) {
  const all = Object.values(series).flatMap((one) => (one.steps ? [one] : Object.values(one)));
  const count = all.reduce((sum, one) => sum + one.unreadable, 0);
  return count ? `“${name}” holds ${count} measurements that cannot be shown: their numbers are not what they should be. They are left out.` : '';
}
