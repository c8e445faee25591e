// A viewer's place: an epoch, and a number that only compares within it (docs/protocol.md, "Words").

const parts = (cursor: string): [epoch: string, sequence: number] => {
  const [epoch, sequence] = cursor.split("-");
  return [epoch!, parseInt(sequence!)]; // one in the middle of a snapshot has a letter behind its number
};

/** Whether who is at `known` has been told what carries the cursor `told`. */
export function covers(known: string | null, told: string): boolean {
  if (!known) return false;
  const [epoch, sequence] = parts(known);
  const [other, number] = parts(told);
  return epoch === other && number <= sequence;
}

/** The place from which everybody misses nothing; null, which is the beginning, when the places don't compare. */
export function earliest(cursors: Iterable<string | null>): string | null {
  let first: string | null | undefined;
  for (const cursor of cursors) {
    if (first === undefined || covers(first, cursor ?? "")) first = cursor;
    else if (!covers(cursor, first!)) return null;
    if (!cursor) return null;
  }
  return first ?? null;
}
