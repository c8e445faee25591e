// A viewer's place: an epoch, and a number that only compares within it (docs/protocol.md, "Words").

const parts = (cursor: string): [epoch: string, sequence: number] => {
  const [epoch, sequence] = cursor.split("-");
  return [epoch!, parseInt(sequence!)]; // one in the middle of a snapshot has a letter behind its number
};

/** Whether who is at `known` has been told what carries the cursor `told`. */
export function covers(known: string | null | undefined, told: string | null | undefined): boolean {
  if (!known || !told) return false;
  const [epoch, sequence] = parts(known);
  const [other, number] = parts(told);
  return epoch === other && number <= sequence;
}

/** The place from which everybody misses nothing; null, which is the beginning, when the places don't compare. */
export const earliest = (cursors: (string | null | undefined)[]): string | null =>
  cursors.reduce((a, b) => (covers(a, b) ? b : covers(b, a) ? a : null), cursors[0]) ?? null;
