// The package's worker with a hand on its GPU devices.
import "./spy.js";
import "/pkg/worker.js";
