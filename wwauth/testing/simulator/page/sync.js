// The first sync after a login: the messages that waited, and the progress that clients show.

import { sleep } from './bytes.js';

const POLL = 0.05;

// Ends when `expected` messages are stored and the time that a sync takes has passed, or when `goesOn()` says no.
export const sync = async (models, config, { stored, expected, goesOn }) => {
  for (let waited = 0; waited < config.listener_wait && !models.Socket.listens('change:hasSynced'); waited += POLL) {
    await sleep(POLL);
  }
  for (let step = 1, done = 0; done < 1; step++) {
    await sleep(config.sync_delay / config.sync_steps);
    if (!goesOn()) return;
    // The last step waits for the disk; those before follow the clock alone, so that each run shows the same ones.
    done = Math.min(step, stored() < expected ? config.sync_steps - 1 : config.sync_steps) / config.sync_steps;
    const progress = Math.floor(100 * done);
    if (progress === models.progress) continue;
    models.progress = progress;
    models.Cmd.trigger('offline_progress_update_from_bridge');
  }
};
