/**
 * What `convert` carries along untouched: tokenizer, processor and generation files, by the names transformers writes.
 */
const EXTRA_FILES: readonly RegExp[] = [
  /^tokenizer[\w.-]*\.json$/,
  /^tokenizer\.model$/,
  /^(special_tokens_map|added_tokens|vocab|generation_config|preprocessor_config|processor_config|video_preprocessor_config)\.json$/,
  /^merges\.txt$/,
  /^chat_template\.(json|jinja)$/,
];

export function extraFilesOf(names: readonly string[]): string[] {
  return names.filter(name => EXTRA_FILES.some(pattern => pattern.test(name))).sort();
}
