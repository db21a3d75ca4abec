import { ABI_MARK, OPS_MARK } from "../../formats/plugin-library.ts";
import type { SizeTerm } from "./expression.ts";
import { PLUGIN_DTYPES, type PluginAttribute, type PluginManifest, type PluginTensor } from "./manifest.ts";

/** File name → text of what is generated from the manifests: a header for each plugin's kernels, and the tables. */
export function generateSources(manifests: readonly PluginManifest[], abi: string): ReadonlyMap<string, string> {
  return new Map([
    ...manifests.map(manifest => [`${manifest.id}.gen.h`, header(manifest)] as const),
    ["plugins.gen.cpp", tables(manifests, abi)],
  ]);
}

const NOTE = "// Generated from plugin.yaml by `mmtrt plugins build`.";

/** `block_table` → `kBLOCK_TABLE`. */
const constant = (name: string): string => `k${name.toUpperCase()}`;
const literal = (text: string): string => JSON.stringify(text);

function header({ name, id, state, inputs, outputs, attributes, sizes }: PluginManifest): string {
  const names = (tensors: readonly PluginTensor[]): string => tensors.map(tensor => constant(tensor.name)).join(", ");
  const fields = attributes.map(({ name: field, type }) => `    ${type === "int" ? "int32_t" : "float"} ${field};`);
  const optional = inputs.some(tensor => tensor.optional);
  return `${NOTE}
#pragma once
#include "abi.h"

namespace mmtrt::${id}
{
inline constexpr char const* kNAME = ${literal(name)};
inline constexpr int64_t kSTATE_BYTES = ${state};

enum Input : int32_t { ${names(inputs)} };
enum Output : int32_t { ${names(outputs)} };

struct Attributes
{
${fields.length === 0 ? "    int32_t none;" : fields.join("\n")}
};

struct Sizes
{
${inputs.some(({ leading }) => leading) ? "    // Product of the axes before the named ones.\n    int64_t lead;\n" : ""}${sizes.map(size => `    int64_t ${size};\n`).join("")}};
${
  optional
    ? `
inline bool has(MmtrtCall const& call, Input input) noexcept
{
    return call.nbInputs > input && call.inputs[input].rank >= 0;
}
`
    : ""
}
// Written by hand beside plugin.yaml; both get a call that was checked against it.
int32_t run(MmtrtCall const& call, Sizes const& sizes, Attributes const& attributes) noexcept;
int64_t workspaceBytes(MmtrtCall const& call, Sizes const& sizes, Attributes const& attributes) noexcept;
} // namespace mmtrt::${id}
`;
}

function tables(manifests: readonly PluginManifest[], abi: string): string {
  return `${NOTE}
${manifests.map(({ id }) => `#include "${id}.gen.h"`).join("\n")}
#include "check.h"
#include <cstddef>

namespace mmtrt
{
namespace
{
${manifests.map(plugin).join("\n")}
MmtrtPluginFacts const kPLUGINS[] = {
${manifests.map(facts).join("\n")}
};
} // namespace
} // namespace mmtrt

extern "C" MmtrtPluginFacts const* mmtrt_plugins(int32_t* count)
{
    *count = ${manifests.length};
    return mmtrt::kPLUGINS;
}

extern "C" char const* mmtrt_plugin_abi(void)
{
    return "${ABI_MARK}${abi}";
}

extern "C" char const* mmtrt_plugin_ops(void)
{
    return "${OPS_MARK}${manifests.map(({ name, version }) => `${name}/${version};`).join("")}.";
}
`;
}

function facts({ name, id, version, inputs, outputs, attributes, state }: PluginManifest): string {
  const list = attributes.length === 0 ? "nullptr" : `${id}Attributes`;
  return `    {${literal(name)}, ${literal(version)}, ${id}Inputs, ${id}Outputs, ${list}, ${id}Run, ${id}Workspace, ${state}, ${inputs.length}, ${outputs.length}, ${attributes.length}, static_cast<int32_t>(sizeof(${id}::Attributes))},`;
}

function plugin(manifest: PluginManifest): string {
  const { id, inputs, outputs, attributes } = manifest;
  const groups = [
    ...new Set([...inputs, ...outputs].flatMap(({ typeName }) => (typeName === undefined ? [] : [typeName]))),
  ];
  const group = ({ typeName }: PluginTensor): number => (typeName === undefined ? -1 : groups.indexOf(typeName));
  const attributeRows = attributes.map(attribute => attributeFacts(id, attribute));
  return `MmtrtTensorFacts const ${id}Inputs[] = {
${inputs.map(tensor => tensorFacts(manifest, tensor, group(tensor), false)).join("\n")}
};
MmtrtTensorFacts const ${id}Outputs[] = {
${outputs.map(tensor => tensorFacts(manifest, tensor, group(tensor), true)).join("\n")}
};
${attributes.length === 0 ? "" : `MmtrtAttributeFacts const ${id}Attributes[] = {\n${attributeRows.join("\n")}\n};\n`}
${checks(manifest)}
int32_t ${id}Run(MmtrtCall const* call)
{
    ${id}::Sizes sizes{};
    auto const& attributes = *static_cast<${id}::Attributes const*>(call->attributes);
    auto const status = ${id}Bind(*call, attributes, sizes);
    return status == MMTRT_OK ? ${id}::run(*call, sizes, attributes) : status;
}

int64_t ${id}Workspace(MmtrtCall const* call)
{
    ${id}::Sizes sizes{};
    auto const& attributes = *static_cast<${id}::Attributes const*>(call->attributes);
    return ${id}Bind(*call, attributes, sizes) == MMTRT_OK ? ${id}::workspaceBytes(*call, sizes, attributes) : -1;
}
`;
}

function attributeFacts(id: string, { name, type, default: initial, minimum, maximum }: PluginAttribute): string {
  const bound = type === "int" ? 2147483647 : 3.4e38;
  const kind = type === "int" ? "MMTRT_ATTRIBUTE_INT" : "MMTRT_ATTRIBUTE_FLOAT";
  return `    {${literal(name)}, ${kind}, static_cast<int32_t>(offsetof(${id}::Attributes, ${name})), ${initial ?? 0}, ${minimum ?? -bound}, ${maximum ?? bound}, ${initial === undefined ? 1 : 0}},`;
}

function tensorFacts(manifest: PluginManifest, tensor: PluginTensor, group: number, output: boolean): string {
  const { name, dtypes, dims, leading, optional } = tensor;
  const mask = dtypes.reduce((bits, dtype) => bits | (1 << PLUGIN_DTYPES.indexOf(dtype)), 0);
  const leadingOf = output && leading ? manifest.inputs.findIndex(input => input.leading) : -1;
  const sizes = output ? `{${dims.map(size => sizeFacts(manifest, size)).join(", ")}}` : "{}";
  return `    {${literal(name)}, ${mask}U, ${group}, ${dims.length}, ${leading ? 1 : 0}, ${optional ? 1 : 0}, ${leadingOf}, ${sizes}, ${aliasFacts(manifest, tensor)}},`;
}

/** The input, and the attribute that decides; −1 for none. */
function aliasFacts({ inputs, attributes }: PluginManifest, { alias }: PluginTensor): string {
  const input = inputs.findIndex(({ name }) => name === alias?.input);
  return `${input}, ${attributes.findIndex(({ name }) => name === alias?.when)}`;
}

/** An output's size, as the input and axis that have it. Axes after leading ones count from the end, as −1, −2, …. */
function sizeFacts({ inputs, attributes }: PluginManifest, { op, terms }: SizeTerm): string {
  const [a = 1, b = 0] = terms.map(term => {
    if (typeof term === "number") return `{MMTRT_CONSTANT, ${term}}`;
    const attribute = attributes.findIndex(({ name }) => name === term);
    if (attribute >= 0) return `{MMTRT_ATTRIBUTE, ${attribute}}`;
    const has = ({ dims }: PluginTensor): number => dims.findIndex(dim => dim.op === "" && dim.terms[0] === term);
    const input = inputs.findIndex(tensor => has(tensor) >= 0);
    const tensor = inputs[input] as PluginTensor;
    return `{${input}, ${tensor.leading ? has(tensor) - tensor.dims.length : has(tensor)}}`;
  });
  return `{${op === "" ? "0" : `'${op}'`}, ${a}, ${b === 0 ? "{MMTRT_CONSTANT, 0}" : b}}`;
}

/** Reads every size from the first input that has it, and refuses what disagrees with it or with plugin.yaml's limits. */
function checks(manifest: PluginManifest): string {
  const { id, sizes, inputs, attributes, requires } = manifest;
  const used = new Set(requires.flatMap(({ names }) => names));
  const locals = [
    ...sizes.filter(size => used.has(size)).map(size => `int64_t const ${size} = sizes.${size};`),
    ...(used.has("lead") && inputs.some(({ leading }) => leading) ? ["int64_t const lead = sizes.lead;"] : []),
    ...attributes.filter(({ name }) => used.has(name)).map(({ name }) => `int64_t const ${name} = attributes.${name};`),
  ];
  return `int32_t ${id}Bind(MmtrtCall const& call, [[maybe_unused]] ${id}::Attributes const& attributes, ${id}::Sizes& sizes) noexcept
{
    Binder binder(${id}::kNAME, call);
    binder.tensors(${id}Inputs, ${inputs.length}, ${id}Outputs, ${manifest.outputs.length});
${attributes.length === 0 ? "" : `    binder.attributes(${id}Attributes, ${attributes.length});\n`}${sizes.map(size => `    sizes.${size} = -1;\n`).join("")}${inputs.map((tensor, index) => bindTensor(manifest, tensor, index)).join("")}    if (!binder.ok())
        return MMTRT_REFUSED;
${locals.map(line => `    ${line}\n`).join("")}${requires
  .map(
    ({ cpp, that, why }) =>
      `    if (!(${cpp}))\n        return refused(${id}::kNAME, ${literal(`needs ${that}: ${why}`)});\n`,
  )
  .join("")}    return MMTRT_OK;
}
`;
}

function bindTensor(_manifest: PluginManifest, { dims, leading }: PluginTensor, index: number): string {
  const lead = leading ? `    binder.lead(${index}, ${dims.length}, sizes.lead);\n` : "";
  const axes = dims.map(({ terms: [term] }, axis) => {
    const at = `${index}, ${leading ? axis - dims.length : axis}`;
    return typeof term === "number"
      ? `    binder.fixed(${at}, ${term});\n`
      : `    binder.size(${at}, sizes.${term}, ${literal(String(term))});\n`;
  });
  return lead + axes.join("");
}
