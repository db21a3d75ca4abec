import type { Assistant } from "../../runtime/assistant.ts";
import type { Ui } from "../ui.ts";

/** What lies further back than the window reaches a token through the layers alone, if at all: worth knowing of an answer. */
export function noteWindow(assistant: Assistant, tokens: number, ui: Ui): void {
  const { sliding_window: window } = assistant.session.engine.manifest.model;
  if (window == null || tokens <= window) return;
  ui.info(
    `note: each token sees the ${window} tokens up to it (sliding_window); prompt and answer have up to ${tokens}`,
    { sliding_window: window, tokens },
  );
}
