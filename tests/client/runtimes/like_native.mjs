// What React Native has of a browser, and what it lacks: no document, no channels and locks between tabs, and a fetch
// whose answers come as a whole. Imported before anything else.

for (const name of ["BroadcastChannel", "MessageChannel", "document", "location", "navigator", "process"])
  if (name !== "process") Object.defineProperty(globalThis, name, { value: undefined, configurable: true });
globalThis.window = globalThis;
Object.defineProperty(globalThis, "navigator", { value: { product: "ReactNative" } });

const { fetch } = globalThis;
globalThis.fetch = async (...asked) => {
  const answer = await fetch(...asked);
  const { ok, status, headers } = answer;
  const text = await answer.text();
  return { ok, status, headers, text: async () => text, json: async () => JSON.parse(text) };
};
