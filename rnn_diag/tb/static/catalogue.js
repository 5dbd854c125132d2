// What the log holds: runs, their layers, and which series there are of each.

import { fetchIndex, fetchSeries, fetchVerdicts } from './api.js';
import { naturally, whole } from './words.js';

export const READABLE_VERSION = 1;
const BY_MATRIX = ['eig', 'sv'];
const NAMED = 3;
const SHORT_ENOUGH = 16;

/** Runs by name, in natural order: each `{name, label, layers, short, whole, newer, damaged}`, its series by kind. */
export function catalogueOf(index) {
  const catalogue = new Map();
  const names = Object.keys(index.runs).sort(naturally);
  const shared = sharedFolders(names);
  for (const name of names) catalogue.set(name, { ...runOf(name, index.runs[name]), label: labelOf(name.slice(shared), index.folder) });
  return catalogue;
}

/** Asks what these runs hold, of which the index told the names alone. */
export async function describe(catalogue, names) {
  const unknown = names.filter((name) => catalogue.get(name)?.unknown);
  if (!unknown.length) return;
  const { runs } = await fetchIndex(unknown);
  for (const name of unknown) Object.assign(catalogue.get(name), runOf(name, runs[name] ?? {}));
}

/** What a run is called: a log folder that is itself the run has the folder's name. */
function labelOf(name, folder) {
  return name === '' || name === '.' ? folder || '.' : name;
}

/** How many letters of the names are folders, or settings, that all runs have in common: they tell no run from another. */
function sharedFolders(names) {
  let end = 0;
  while (names.length > 1) {
    const next = names[0].slice(end).search(/[/,]/) + 1 + end;
    if (next === end || names.some((name) => name.slice(0, next) !== names[0].slice(0, next))) break;
    end = next;
  }
  return end;
}

function runOf(name, tags) {
  const run = { name, layers: new Map(), whole: {}, newer: 0, damaged: [], unknown: tags === null };
  for (const tag of Object.keys(tags ?? {}).sort(naturally)) {
    const { content, last_step: lastStep, why } = tags[tag];
    const { v: version, kind, layer = '', matrix } = content;
    if (version === null) run.damaged.push(`${tag} (${why})`);
    else if (version > READABLE_VERSION) run.newer = Math.max(run.newer, version);
    else {
      const home = layer === '' ? run.whole : layerOf(run, layer);
      const entry = { tag, lastStep, content };
      if (BY_MATRIX.includes(kind)) (home[kind] ??= Object.create(null))[matrix] = entry;
      else home[kind] = entry;
    }
  }
  run.short = shortNames([...run.layers.keys()]);
  return run;
}

function layerOf(run, layer) {
  if (!run.layers.has(layer)) run.layers.set(layer, {});
  return run.layers.get(layer);
}

/** Names of layers, without the modules that all of them lie in where these make them long: they tell no layer from another. */
export function shortNames(names) {
  const paths = names.map((name) => name.split('.'));
  let shared = 0;
  while (names.length > 1 && paths.every((path) => shared < path.length - 1 && path[shared] === paths[0][shared])) shared += 1;
  const long = paths[0]?.slice(0, shared).join('.').length > SHORT_ENOUGH;
  return new Map(names.map((name, index) => [name, long ? `…${paths[index].slice(shared).join('.')}` : name]));
}

/** Fetches everything that is known of a layer of a run; a series that cannot be read is a sentence in `failures`. */
export async function loadLayer(run, layer) {
  const entries = { ...run.layers.get(layer), cost: run.whole.cost };
  const loaded = { ...run, layer, series: { eig: Object.create(null), sv: Object.create(null) }, contents: {}, entries, verdicts: [], failures: [] };
  const load = async (home, name, entry) => {
    try {
      home[name] = await fetchSeries(run.name, entry.tag, entry.lastStep);
    } catch (error) {
      loaded.failures.push(`“${run.label}”: ${error.message}. The other series are shown.`);
    }
  };
  const loading = Object.entries(entries).filter(([, entry]) => entry).flatMap(([kind, entry]) => {
    if (BY_MATRIX.includes(kind)) return Object.entries(entry).map(([matrix, one]) => load(loaded.series[kind], matrix, one));
    loaded.contents[kind] = entry.content;
    return [load(loaded.series, kind, entry)];
  });
  const [verdicts] = await Promise.all([verdictsOf(run, loaded.failures), ...loading]);
  loaded.verdicts = verdicts;
  return loaded;
}

/** The findings of a run, `[{step, findings}]`, oldest first; why they cannot be read is added to `failures`. */
export async function verdictsOf(run, failures) {
  try {
    return run.whole.verdict ? await fetchVerdicts(run.name, run.whole.verdict.lastStep) : [];
  } catch (error) {
    failures.push(`“${run.label}”: ${error.message}. The numbers are shown.`);
    return [];
  }
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
  const name = run.label;
  if (run.newer) {
    return `“${name}” holds series in format ${run.newer}, written by a newer rnn_diag; this tab reads format ${READABLE_VERSION}. Update rnn_diag where TensorBoard runs to see them.`;
  }
  const { damaged } = run;
  if (damaged.length) {
    const more = damaged.length > NAMED ? `; and ${whole(damaged.length - NAMED)} more` : '';
    return `“${name}” holds ${whole(damaged.length)} series that cannot be read: ${damaged.slice(0, NAMED).join('; ')}${more}. The others are shown.`;
  }
  return '';
}
