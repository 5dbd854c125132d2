// What the page asks of the server, two requests at a time; a series is asked for again only once it has grown.

import { decodeSeries } from './series.js';

const AT_ONCE = 2;
const LONGEST_REASON = 500;
const known = new Map();
const waiting = [];
let running = 0;

/** The runs and, of each, its series: `{version, runs: {run: {tag: {last_step, content}}}}`; of many runs null, unless it is asked for. */
export async function fetchIndex(runs = []) {
  const query = runs.map((run) => `run=${encodeURIComponent(run)}`).join('&');
  return (await request(query ? `./index?${query}` : './index')).json();
}

/** Names of all runs in TensorBoard's order, by which it colours them; none where it does not say. */
export async function fetchRunOrder() {
  try {
    return await (await request('../../runs')).json();
  } catch {
    return [];
  }
}

/** Where everything that is logged of some series, `{run, tag}` each, is to be had as a file. */
export function exportLink(series, format) {
  const words = series.map(({ run, tag }) => `run=${encodeURIComponent(run)}&tag=${encodeURIComponent(tag)}`);
  return `./export?${words.join('&')}&format=${format}`;
}

/** The findings of a run, oldest first. */
export function fetchVerdicts(run, lastStep) {
  return remembered(`verdict\n${run}`, lastStep, async () =>
    (await request(`./verdict?run=${encodeURIComponent(run)}`)).json());
}

/** The rows of one tag of one run. */
export function fetchSeries(run, tag, lastStep) {
  return remembered(`${run}\n${tag}`, lastStep, async () => {
    const response = await request(`./series?run=${encodeURIComponent(run)}&tag=${encodeURIComponent(tag)}`);
    return decodeSeries(await response.arrayBuffer());
  });
}

function remembered(key, lastStep, load) {
  const before = known.get(key);
  if (before && before.lastStep === lastStep) return before.answer;
  const answer = inTurn(load);
  known.set(key, { lastStep, answer });
  answer.catch(() => known.delete(key));
  return answer;
}

function inTurn(load) {
  return new Promise((resolve, reject) => {
    waiting.push(() => load().then(resolve, reject));
    startNext();
  });
}

function startNext() {
  if (running >= AT_ONCE || !waiting.length) return;
  running += 1;
  waiting.shift()().finally(() => {
    running -= 1;
    startNext();
  });
}

async function request(url) {
  const response = await fetch(url);
  if (!response.ok) throw new Error(await reasonOf(response));
  return response;
}

/** What TensorBoard says is wrong, cut to a sentence. */
async function reasonOf(response) {
  const text = (await response.text()).replace(/^[A-Z][a-z ]+: /, '').trim();
  return text && text.length < LONGEST_REASON && !text.startsWith('<') ? text : `TensorBoard answered ${response.status}`;
}
