// The first sync after a login: the messages that waited, and the progress that clients show.

import { sleep } from './bytes.js';

const POLL = 0.05;

// Ends when `expected` messages are stored and the time that a sync takes has passed, or when `goesOn()` says no.
export const sync = async (models, config, { stored, expected, goesOn }) => {
  const begun = stored();
  for (let waited = 0; waited < config.listener_wait && !models.Socket.listens('change:hasSynced'); waited += POLL) {
    await sleep(POLL);
  }
  for (let step = 1, done = 0; done < 1; step++) {
    await sleep(config.sync_delay / config.sync_steps);
    if (!goesOn()) return;
    done = Math.min(1, step / config.sync_steps, expected > begun ? (stored() - begun) / (expected - begun) : 1);
    const progress = Math.floor(100 * done);
    if (progress === models.progress) continue;
    models.progress = progress;
    models.Cmd.trigger('offline_progress_update_from_bridge');
  }
};
