// The page: reads the index, keeps what is chosen, and draws every panel that has something to show.

import { fetchIndex } from './api.js';
import { Cards } from './cards.js';
import { catalogueOf, layerShown, loadLayer, troubleOf } from './catalogue.js';
import { RunList, Toolbar } from './controls.js';
import { CostPanel, HorizonPanel, LyapunovPanel } from './courses.js';
import { element } from './dom.js';
import { GatesPanel } from './gates.js';
import { GatesOverTrainingPanel } from './gates_over_training.js';
import { GradientsPanel } from './gradients.js';
import { followTheme, onReload, readLink, writeLink } from './host.js';
import { emptyState, notices } from './messages.js';
import { GradientProfilePanel, InfluencePanel } from './profiles.js';
import { SpectrumPanel } from './spectrum.js';
import { UnitsPanel } from './units.js';
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
    this.chosen = { runs: [], layer: '', step: null, relative: true };
    this.runList = new RunList((runs) => this.choose({ runs }));
    this.toolbar = new Toolbar({
      chooseLayer: (layer) => this.choose({ layer }),
      chooseScale: (relative) => this.choose({ relative }),
      chooseStep: (step) => this.moveTo(step),
    });
    this.cards = new Cards({ chooseLayer: (layer) => this.choose({ layer }) });
    this.panels = [
      new GradientsPanel({ chooseStep: (step) => this.moveTo(step) }), new GradientProfilePanel(), new InfluencePanel(),
      new SpectrumPanel(), new GatesPanel(), new GatesOverTrainingPanel({ chooseStep: (step) => this.moveTo(step) }), new UnitsPanel(), new LyapunovPanel(), new HorizonPanel(), new CostPanel(),
    ];
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
    followTheme(() => this.draw());
    onReload(() => this.reload());
    await this.reload();
    new ResizeObserver(() => this.drawSoon()).observe(document.body);
  }

  async reload() {
    try {
      this.catalogue = catalogueOf(await fetchIndex());
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
    const runs = this.chosen.runs.map((name) => this.catalogue.get(name));
    const layers = new Set(runs.flatMap((run) => [...run.layers.keys()]));
    if (!layers.has(this.chosen.layer)) [this.chosen.layer] = [...layers].sort(naturally);
    this.layers = layers;
    this.sentences = [this.failure, ...missing, ...runs.map(troubleOf)];
    try {
      const loaded = await Promise.all(runs.filter((run) => run.layers.size || Object.keys(run.whole).length)
        .map((run) => loadLayer(run, layerShown(run, this.chosen.layer, this.catalogue))));
      if (wanted !== this.wanted) return;
      this.runs = loaded.map((run) => ({ ...run, place: this.colours.get(run.name) }));
    } catch (error) {
      this.sentences.push(`A series could not be read (${error.message}). Press TensorBoard's reload button to try again.`);
      this.runs ??= [];
    }
    this.runs.forEach((run) => this.sentences.push(unreadableOf(run)));
    this.chooseStep();
    this.draw();
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

  /** Every chosen run has a colour that no other chosen run has, and keeps it while it is chosen. */
  keepColours() {
    const { runs } = this.chosen;
    for (const name of this.colours.keys()) if (!runs.includes(name)) this.colours.delete(name);
    for (const name of runs) {
      if (this.colours.has(name)) continue;
      let place = 0;
      while ([...this.colours.values()].includes(place)) place += 1;
      this.colours.set(name, place);
    }
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
      this.cards.moveTo(view);
      for (const panel of this.measured) panel.moveTo(view);
      writeLink(this.chosen);
      this.ready();
    });
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
    this.cards.draw(view, this.catalogue);
    this.measured = this.panels.filter((panel) => this.runs.some(panel.has));
    for (const panel of this.panels) panel.panel.element.hidden = !this.measured.includes(panel);
    this.measured = this.measured.filter((panel) => this.drawPanel(panel, view));
    this.sayUnmeasured();
    writeLink({ runs: this.chosen.runs, layer: this.chosen.layer, step: this.chosen.step });
    this.ready();
  }

  /** Draws a panel; one that fails is a sentence, and the others are drawn. */
  drawPanel(panel, view) {
    try {
      panel.draw(view);
      return true;
    } catch (error) {
      const { element: section } = panel.panel;
      this.notices.append(...notices([`“${section.querySelector('h2').textContent}” could not be drawn: ${error.message}`]));
      section.hidden = true;
      return false;
    }
  }

  sayUnmeasured() {
    const titles = this.panels.filter((panel) => !this.runs.some(panel.has)).map(({ panel }) => panel.element.querySelector('h2').textContent);
    this.unmeasured.textContent = titles.length ? `Not measured in these runs: ${titles.join(' · ')}` : '';
  }

  /** Says to whoever waits that the page is drawn, and how often. */
  ready() {
    this.drawings += 1;
    performance.mark('rnn_diag drawn');
    document.body.dataset.ready = this.drawings;
  }
}

function unreadableOf({ name, series }) {
  const count = Object.values(series).reduce((sum, one) => sum + (one?.unreadable ?? 0), 0);
  return count ? `“${name}” holds ${count} measurements of a type that this tab cannot read; they are left out.` : '';
}
