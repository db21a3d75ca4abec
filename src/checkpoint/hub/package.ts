/** A file of ours, so that the bundle keeps the Hub's package out of what every conversion loads. */
export { listFiles, modelInfo } from "@huggingface/hub";
