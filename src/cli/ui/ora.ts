/** A file of ours, so that the bundle keeps ora out of what every call loads. */
export { default as ora } from "ora";
