// Sentences in place of a picture: an empty log, a run that is not there, data that cannot be read.

import { element } from './dom.js';

/** What to do when no run has diagnostics. */
export function emptyState() {
  const code = 'from rnn_diag import RNNDiagnostics\n\ntrainer = Trainer(callbacks=[RNNDiagnostics()])\ntrainer.fit(model)';
  return element('div', { class: 'empty' },
    element('h1', {}, 'No RNN diagnostics in this log yet'),
    element('p', {}, 'Add one callback to your Lightning trainer; its TensorBoard logger is the default one. The first measurement appears here as soon as it is written.'),
    element('pre', {}, code),
    element('p', {}, 'Already training? Press the reload button above, and check that ', element('code', {}, '--logdir'),
      ' is the folder that the trainer logs to. Measurements are written every 50 training steps unless you said otherwise.'));
}

/** A sentence above the panels; more than one if there is more to say. */
export function notices(sentences) {
  return sentences.filter(Boolean).map((sentence) => element('p', { class: 'notice', role: 'status' }, sentence));
}
