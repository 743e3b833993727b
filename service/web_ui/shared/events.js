// Server-sent events (WHATWG HTML) out of a response's body; comments are skipped.

/** The `data` of each event, in order. */
export async function* readEvents(body) {
  let rest = "";
  for await (const text of texts(body)) {
    rest += text;
    const events = rest.split(/\r?\n\r?\n/);
    rest = events.pop();
    for (const event of events) {
      const lines = event.split(/\r?\n/).filter((line) => line.startsWith("data:"));
      if (lines.length) yield lines.map((line) => line.slice(5).trimStart()).join("\n");
    }
  }
}

async function* texts(body) {
  const decoder = new TextDecoder();
  const reader = body.getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      yield decoder.decode(value, { stream: true });
    }
  } finally {
    // Whoever stops reading early closes the connection, and the server stops generating.
    reader.cancel().catch(() => {});
  }
}
