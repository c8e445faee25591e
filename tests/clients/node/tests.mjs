// The tests of a file: those of a `together` run at the same time, all others one after the other.

import { inspect } from "node:util";

// A test takes one to ten on a quiet machine.
const SECONDS = 60;

const blocks = [];
let filling;

// A test: what is promised, and the proof.
export function promise(name, prove) {
  if (filling) filling.push({ name, prove });
  else blocks.push([{ name, prove }]);
}

// Tests that run at the same time, since they mostly wait.
export function together(about, fill) {
  filling = [];
  fill();
  blocks.push(filling.map(({ name, prove }) => ({ name: `${about}: ${name}`, prove })));
  filling = undefined;
}

async function passes({ name, prove }) {
  const begin = Date.now();
  let clock;
  const late = new Promise((_, reject) => {
    clock = setTimeout(() => reject(new Error(`not done after ${SECONDS} s`)), SECONDS * 1000);
  });
  try {
    await Promise.race([prove(), late]);
    console.log(`✔ ${name} (${Date.now() - begin} ms)`);
    return true;
  } catch (error) {
    console.log(`✖ ${name} (${Date.now() - begin} ms)\n${inspect(error)}`);
    return false;
  } finally {
    clearTimeout(clock);
  }
}

export async function run() {
  const results = [];
  for (const block of blocks) results.push(...(await Promise.all(block.map(passes))));
  const failed = results.filter((passed) => !passed).length;
  console.log(`${results.length} tests, ${failed} of them failed`);
  return results.length > 0 && failed === 0 ? 0 : 1;
}
