// Asks the server to do something. Resolves to what it tells, and rejects with a text for people.

export class Refused extends Error {
  constructor(code, text) {
    super(text);
    this.code = code;
  }
}

export async function intend(intent, fields = {}) {
  const found = await ask("intents", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ intent, ...fields }),
  });
  return found.done;
}

// The messages before one, oldest first, as they are now.
export async function earlier(place, before) {
  return (await ask(`messages?${new URLSearchParams({ ...place, before })}`)).messages;
}

async function ask(path, request) {
  let answer;
  try {
    answer = await fetch(path, request);
  } catch {
    throw new Refused("unreachable", "The journal cannot be reached. Try again when it is back.");
  }
  const found = await answer.json().catch(() => ({ error: { code: "unreadable", text: `The answer (${answer.status}) makes no sense.` } }));
  if (found.error) throw new Refused(found.error.code, found.error.text);
  return found;
}

// Names an item before it is sent, so that a second try after a lost answer says the same thing again.
// It ends as its author's authority begins, so that nobody else can take it for a message of theirs.
export function newId(author) {
  const random = Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
  return random.slice(0, 16) + author.slice(0, 16);
}
