// What the log holds: runs, their layers, and which series there are of each.

import { fetchSeries } from './api.js';
import { naturally, whole } from './words.js';

export const READABLE_VERSION = 1;
const BY_MATRIX = ['eig', 'sv'];

/** Runs by name, in natural order: each `{name, label, layers, whole, newer, damaged}`, its series by kind. */
export function catalogueOf(index) {
  const catalogue = new Map();
  const names = Object.keys(index.runs).sort(naturally);
  const shared = sharedFolders(names);
  for (const name of names) catalogue.set(name, { ...runOf(name, index.runs[name]), label: name.slice(shared) || '.' });
  return catalogue;
}

/** How many letters of the names are folders that all runs lie in: they tell no run from another. */
function sharedFolders(names) {
  let end = 0;
  while (names.length > 1) {
    const next = names[0].indexOf('/', end) + 1;
    if (!next || names.some((name) => name.slice(0, next) !== names[0].slice(0, next))) break;
    end = next;
  }
  return end;
}

function runOf(name, tags) {
  const run = { name, layers: new Map(), whole: {}, newer: 0, damaged: 0 };
  for (const tag of Object.keys(tags).sort(naturally)) {
    const { content, last_step: lastStep } = tags[tag];
    const { v: version, kind, layer = '', matrix } = content;
    if (!Number.isInteger(version) || typeof kind !== 'string') run.damaged += 1;
    else if (version > READABLE_VERSION) run.newer = Math.max(run.newer, version);
    else {
      const home = layer === '' ? run.whole : layerOf(run, layer);
      const entry = { tag, lastStep, content };
      if (BY_MATRIX.includes(kind)) (home[kind] ??= {})[matrix] = entry;
      else home[kind] = entry;
    }
  }
  return run;
}

function layerOf(run, layer) {
  if (!run.layers.has(layer)) run.layers.set(layer, {});
  return run.layers.get(layer);
}

/** Fetches everything that is known of a layer of a run. */
export async function loadLayer(run, layer) {
  const entries = { ...run.layers.get(layer), cost: run.whole.cost };
  const series = { eig: {}, sv: {} };
  const contents = {};
  const load = async (home, name, entry) => { home[name] = await fetchSeries(run.name, entry.tag, entry.lastStep); };
  await Promise.all(Object.entries(entries).filter(([, entry]) => entry).flatMap(([kind, entry]) => {
    if (BY_MATRIX.includes(kind)) return Object.entries(entry).map(([matrix, one]) => load(series[kind], matrix, one));
    contents[kind] = entry.content;
    return [load(series, kind, entry)];
  }));
  return { name: run.name, label: run.label, layer, series, contents, entries };
}

/** The layer to show of a run: the one asked for, or the one at its place in a run whose layers have other names. */
export function layerShown(run, layer, catalogue) {
  if (run.layers.has(layer) || !run.layers.size) return layer;
  const own = [...run.layers.keys()];
  for (const other of catalogue.values()) {
    const place = [...other.layers.keys()].indexOf(layer);
    if (place >= 0) return own[Math.min(place, own.length - 1)];
  }
  return own[0];
}

/** What is wrong with a run's data, in words; nothing if nothing is. */
export function troubleOf(run) {
  const name = run.name || '.';
  if (run.newer) {
    return `“${name}” holds series in format ${run.newer}, written by a newer rnn_diag; this tab reads format ${READABLE_VERSION}. Update rnn_diag where TensorBoard runs to see them.`;
  }
  if (run.damaged) return `“${name}” holds ${whole(run.damaged)} series that cannot be read: their description is not rnn_diag's.`;
  return '';
}
