// The jobs in npm sharp. Called with SETTINGS JOB PHOTO FOLDER TIMES, SETTINGS being our own encoder defaults as JSON.

import { createRequire } from "node:module";
import { readFileSync } from "node:fs";
import { join, resolve } from "node:path";

const require = createRequire(resolve(".bench/sharp/package.json"));
const sharp = require("sharp");
const [settings, job, photo, out, times] = process.argv.slice(2);
const { webp, jpeg } = JSON.parse(settings);
const WIDTHS = [1600, 800, 320];

sharp.cache(false);
sharp.concurrency(1);

const written = (image, width) => image.webp(webp).toFile(join(out, `${width}.webp`));

const jobs = {
  thumbnail: () => written(sharp(photo).resize(300), 300),
  sizes: async () => {
    for (const width of WIDTHS) await written(sharp(photo).resize(width), width);
  },
  clone: () => {
    const source = sharp(photo);
    return Promise.all(WIDTHS.map((width) => written(source.clone().resize(width), width)));
  },
  chained: async () => {
    const { width: across, height: down } = await sharp(photo).metadata();
    let image = sharp(photo);
    for (const width of WIDTHS) {
      const height = Math.round((width * down) / across);
      const resized = image.resize(width, height, { fit: "fill" });
      const { data, info } = await resized.raw().toBuffer({ resolveWithObject: true });
      const raw = { width: info.width, height: info.height, channels: info.channels };
      await written(sharp(data, { raw }), width);
      image = sharp(data, { raw });
    }
  },
  marked: async () => {
    const logo = sharp("flows/assets/logo.png").ensureAlpha();
    const { width, height } = await logo.metadata();
    const faint = await logo.composite([{
      input: Buffer.from([255, 255, 255, 153]), raw: { width: 1, height: 1, channels: 4 }, tile: true, blend: "dest-in",
    }]).png({ compressionLevel: 0 }).toBuffer();
    const { width: across, height: down } = await sharp(photo).metadata();
    const size = [1600, Math.round((1600 * down) / across)];
    const spot = { left: size[0] - width - 16, top: size[1] - height - 16 };
    const marked = sharp(photo).resize(...size, { fit: "fill" }).composite([{ input: faint, ...spot }]);
    await marked.jpeg(jpeg).toFile(join(out, "1600.jpg"));
  },
};

const peak = () => Number(/VmHWM:\s+(\d+)/.exec(readFileSync("/proc/self/status", "utf8"))[1]) / 1024;

await jobs[job]();
const before = process.cpuUsage();
const started = process.hrtime.bigint();
for (let done = 0; done < Number(times); done++) await jobs[job]();
const { user, system } = process.cpuUsage(before);
const wall = Number(process.hrtime.bigint() - started) / 1e9;
console.log(JSON.stringify({ cpu: (user + system) / 1e6 / times, wall: wall / times, peak_mib: peak() }));
