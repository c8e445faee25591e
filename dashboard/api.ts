/** Plain requests to the gateway (docs/http.md). */

import { ROOT } from "./root.ts";

/** The gateway said no, or nothing. Its words are for people. */
export class ApiError extends Error {
  readonly status: number;
  readonly code: string;

  constructor(status: number, code: string, message: string) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

interface Problem {
  code?: string;
  title?: string;
  detail?: string;
}

/** What the gateway answers, as JSON. Throws ApiError; aborting throws what `fetch` throws. */
export async function request<T = unknown>(
  credential: string,
  path: string,
  { body, signal }: { body?: unknown; signal?: AbortSignal } = {},
): Promise<T> {
  const headers: Record<string, string> = { authorization: `Bearer ${credential}`, accept: "application/json" };
  const asked: RequestInit = { headers, cache: "no-store", credentials: "omit" };
  if (signal !== undefined) asked.signal = signal;
  if (body !== undefined) {
    asked.method = "POST";
    asked.body = JSON.stringify(body);
    headers["content-type"] = "application/json";
  }
  const answer = await answered(ROOT + path, asked);
  if (!answer.ok) throw await refusal(answer);
  return (await answer.json()) as T;
}

async function answered(path: string, asked: RequestInit): Promise<Response> {
  try {
    return await fetch(path, asked);
  } catch (error) {
    if (asked.signal?.aborted) throw error;
    throw new ApiError(0, "no_answer", "The gateway does not answer.");
  }
}

async function refusal(answer: Response): Promise<ApiError> {
  try {
    const { code = "", title = "", detail = "" } = (await answer.json()) as Problem;
    return new ApiError(answer.status, code, detail || title || `status ${answer.status}`);
  } catch {
    return new ApiError(answer.status, "", `The gateway answered with status ${answer.status}.`);
  }
}
