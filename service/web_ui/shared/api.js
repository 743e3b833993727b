// Client of the service's API: JSON, streamed events, errors.

import { readEvents } from "./events.js";

/** An error from the server, or of the connection. `status` 0: no answer at all. */
export class ApiError extends Error {
  constructor(
    message,
    { status = 0, type = "", param = null, code = null, requestId = "", retryAfter = null } = {},
  ) {
    super(message);
    Object.assign(this, { status, type, param, code, requestId, retryAfter });
  }
}

/** One service. `key` is asked for the API key at each request. */
export class Api extends EventTarget {
  constructor(key) {
    super();
    this.key = key;
  }

  /** Address of a path of this service, wherever a proxy has put it. */
  address(path) {
    return new URL(path, document.baseURI).href;
  }

  async getJson(path, options = {}) {
    return (await this.request(path, options)).json();
  }

  /** Answers {body, timing, requestId}; `timing` as `parseTiming` makes it. */
  async postJson(path, body, signal) {
    const response = await this.request(path, {
      method: "POST",
      body: JSON.stringify(body),
      signal,
    });
    try {
      return { body: await response.json(), ...headersOf(response) };
    } catch (error) {
      throw broken(error, response);
    }
  }

  /** Events of a streamed chat: first {timing, requestId}, then the chunks. Aborting ends it. */
  async *streamChat(body, signal) {
    const response = await this.request("v1/chat/completions", {
      method: "POST",
      body: JSON.stringify({ ...body, stream: true, stream_options: { include_usage: true } }),
      signal,
    });
    yield headersOf(response);
    let complete = false;
    try {
      for await (const data of readEvents(response.body)) {
        if (data === "[DONE]") {
          complete = true;
          break;
        }
        const chunk = JSON.parse(data);
        if (chunk.error) throw errorOf(chunk.error, response);
        yield chunk;
      }
    } catch (error) {
      throw broken(error, response);
    }
    if (!complete) throw broken(null, response);
  }

  async request(path, options) {
    const headers = { Accept: "application/json, text/event-stream" };
    if (options.body) headers["Content-Type"] = "application/json";
    if (this.key.value) headers.Authorization = `Bearer ${this.key.value}`;
    let response;
    try {
      response = await fetch(this.address(path), {
        ...options,
        headers,
        credentials: "omit",
        cache: "no-store",
      });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new ApiError("The server does not answer. Check the server and your connection.");
    }
    if (response.ok) return response;
    const error = await readError(response);
    if (error.status === 401) this.dispatchEvent(new CustomEvent("keyneeded", { detail: error }));
    throw error;
  }
}

/** `decode;dur=4.9, prefill;dur=12` -> [["decode", 4.9], ...] in milliseconds. */
export function parseTiming(header) {
  const parts = (header ?? "")
    .split(",")
    .map((part) => /^\s*([\w-]+)\s*;\s*dur=([\d.]+)/.exec(part));
  return parts.filter(Boolean).map(([, name, value]) => [name, Number(value)]);
}

function headersOf(response) {
  return {
    timing: parseTiming(response.headers.get("Server-Timing")),
    requestId: response.headers.get("X-Request-Id") ?? "",
  };
}

async function readError(response) {
  try {
    return errorOf((await response.json()).error, response);
  } catch {
    // A proxy's own page, or nothing.
    return errorOf(
      { message: `The server answered with status ${response.status} ${response.statusText}`.trim() },
      response,
    );
  }
}

function errorOf(error, response) {
  const wait = Number.parseInt(response.headers.get("Retry-After") ?? "", 10);
  return new ApiError(String(error.message ?? "The server gave no reason."), {
    status: response.status === 200 ? 500 : response.status,
    type: error.type ?? "",
    param: error.param ?? null,
    code: error.code ?? null,
    requestId: response.headers.get("X-Request-Id") ?? "",
    retryAfter: Number.isFinite(wait) ? Math.min(wait, 3600) : null,
  });
}

function broken(error, response) {
  if (error instanceof ApiError || error?.name === "AbortError") return error;
  return new ApiError("The connection was lost before the answer was complete.", {
    requestId: response.headers.get("X-Request-Id") ?? "",
  });
}
