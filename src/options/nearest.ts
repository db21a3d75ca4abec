/** Part of every message about an unknown name, so it lives with the messages. */
export { editDistance, nearest } from "../diagnostics/nearest.ts";
