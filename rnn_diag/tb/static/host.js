// What the page needs of TensorBoard around it: news of a reload, the theme, the link. All of it may be missing.

const PREFIX = 'p.rnn_diag.';

/** Calls `reloaded` whenever TensorBoard has read the log again. */
export function onReload(reloaded) {
  try {
    const channel = new MessageChannel();
    window.parent.postMessage('experimental.bootstrap', '*', [channel.port2]);
    channel.port1.onmessage = (event) => {
      const message = JSON.parse(event.data);
      if (message.isReply) return;
      if (message.type === 'experimental.DataReloaded') reloaded();
      channel.port1.postMessage(JSON.stringify({ ...message, payload: null, error: null, isReply: true }));
    };
  } catch {
    // Without the host the page shows what it has read, until it is opened again.
  }
}

/** Calls `pressed` on Escape, wherever the focus is, while the tab is shown. */
export function onEscape(pressed) {
  const listen = ({ key }) => key === 'Escape' && document.body.clientWidth && pressed();
  document.addEventListener('keydown', listen);
  if (hostBody()) hostBody().addEventListener('keydown', listen);
}

/** Keeps `body.dark` as the host's theme is, and calls `changed` when it changes. */
export function followTheme(changed) {
  const preference = window.matchMedia('(prefers-color-scheme: dark)');
  const apply = () => {
    const host = hostBody();
    const dark = host ? host.classList.contains('dark-mode') : preference.matches;
    if (document.body.classList.contains('dark') === dark) return;
    document.body.classList.toggle('dark', dark);
    changed();
  };
  apply();
  preference.addEventListener('change', apply);
  if (hostBody()) new MutationObserver(apply).observe(hostBody(), { attributeFilter: ['class'] });
}

/** What the runs are filtered by in TensorBoard's own list, where its address says so. */
export function hostFilter() {
  try {
    return new URLSearchParams(window.parent.location.search).get('runFilter') ?? '';
  } catch {
    return '';
  }
}

/** What the link asks for: `{runs, layer, step, panel}`, each of them perhaps missing. */
export function readLink() {
  const asked = new Map();
  for (const part of hashOf().slice(1).split('&')) {
    const [name, value = ''] = part.split('=');
    if (name.startsWith(PREFIX)) asked.set(name.slice(PREFIX.length), decoded(value));
  }
  const step = asked.has('step') && asked.get('step') !== '' ? Number(asked.get('step')) : NaN;
  return {
    runs: asked.get('run')?.split(',').map(decoded),
    layer: asked.get('layer'),
    step: Number.isFinite(step) ? step : undefined,
    panel: asked.get('panel'),
  };
}

/** What was written for an address; what never was, as it is. */
function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function hashOf() {
  try {
    return window.parent.location.hash;
  } catch {
    return '';
  }
}

/** Puts what is shown into the address bar, so that the address can be passed on. */
export function writeLink({ runs, layer, step, panel }) {
  const facts = { run: runs.map(encodeURIComponent).join(','), layer, step, panel };
  const words = Object.entries(facts)
    .filter(([, value]) => value !== undefined && value !== null && value !== '')
    .map(([name, value]) => `${PREFIX}${name}=${encodeURIComponent(value)}`);
  try {
    const { location, history } = window.parent;
    const hash = ['#rnn_diag', ...words].join('&');
    if (location.hash.startsWith('#rnn_diag') && location.hash !== hash) history.replaceState(history.state, '', hash);
  } catch {
    // The link is a comfort only.
  }
}

function hostBody() {
  try {
    return window.parent === window ? null : window.parent.document.body;
  } catch {
    return null;
  }
}
