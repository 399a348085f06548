// BullMQ with a hundred jobs at once; done jobs are removed. Called with work|send SOCKET JOBS [PAUSE].

import { createRequire } from "node:module";
import { resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

const require = createRequire(resolve(".bench/bullmq/package.json"));
const { Queue, Worker } = require("bullmq");
const [verb, path, jobs, pause = "0"] = process.argv.slice(2);
const connection = { path, maxRetriesPerRequest: null };
const CHUNK = 500;

const now = () => Number(process.hrtime.bigint()) / 1e9;
const tell = (found) => console.log(JSON.stringify(found));

function work() {
  let begun = 0;
  let first = 0;
  let cpu;
  const waits = [];
  const noop = async ({ data: { at } }) => {
    const moment = now();
    if (at) waits.push(moment - at);
    begun += 1;
    if (begun === 1) {
      first = moment;
      cpu = process.cpuUsage();
      tell({});
    }
    if (begun === Number(jobs)) {
      const { user, system } = process.cpuUsage(cpu);
      tell({ wall: moment - first, cpu: (user + system) / 1e6, waits });
    }
  };
  const removed = { removeOnComplete: { count: 0 }, removeOnFail: { count: 0 } };
  new Worker("noop", noop, { connection, concurrency: 100, ...removed });
}

async function send() {
  const queue = new Queue("noop", { connection });
  if (Number(pause)) {
    for (let done = 0; done < Number(jobs); done++) {
      await sleep(1000 * Number(pause) * (0.5 + Math.random()));
      await queue.add("noop", { at: now() });
    }
  } else {
    for (let left = Number(jobs); left > 0; left -= CHUNK) {
      await queue.addBulk(Array.from({ length: Math.min(CHUNK, left) }, () => ({ name: "noop", data: { at: 0 } })));
    }
  }
  await queue.close();
}

await { work, send }[verb]();
