import { Ajv2020 } from "ajv/dist/2020.js";
import { describe, expect, it } from "vitest";
import { COMMANDS } from "../../../src/options/commands.ts";
import type { OptionScalar, OptionTable } from "../../../src/options/define.ts";
import { allTables, documentSchema, tableSchema } from "../../../src/options/schema.ts";
import { commonOptions } from "../../../src/options/tables/common.ts";
import { checkData } from "../../../src/options/value.ts";

const tables = await allTables();

describe.each(Object.entries({ ...tables, "(common)": commonOptions as OptionTable }))(
  "the options of %s",
  (_, table) => {
    const entries = Object.entries(table);

    it("have defaults that they would accept from the user", () => {
      for (const [key, spec] of entries) {
        if (spec.default === undefined) continue;
        const items = (Array.isArray(spec.default) ? spec.default : [spec.default]) as readonly OptionScalar[];
        expect(Array.isArray(spec.default), key).toBe(spec.list === true);
        for (const item of items) expect(checkData(spec, item), key).toEqual({ ok: true, value: item });
        expect(spec.required, `${key} is required and has a default`).not.toBe(true);
      }
    });

    it("are snake_case and say what they do in sentences", () => {
      for (const [key, spec] of entries) {
        expect(key).toMatch(/^[a-z][a-z0-9]*(_[a-z0-9]+)*$/);
        expect(spec.about, key).toMatch(/^[A-Z"a-z].{8,}\.$/s);
        expect(spec.hidden === true || spec.ignored === undefined, `${key} is without effect, so it is hidden`).toBe(
          true,
        );
      }
    });

    it("claim each spelling once", () => {
      const spellings = entries.flatMap(([key, spec]) => [
        key,
        ...(spec.type === "boolean" ? [`no_${key}`] : []),
        ...(spec.short ?? []),
        ...(spec.aliases ?? []).map(a => a.name),
      ]);
      expect(spellings.filter((name, i) => spellings.indexOf(name) !== i)).toEqual([]);
    });

    it("add only to options that are numbers", () => {
      for (const [key, spec] of entries)
        for (const { plus } of spec.aliases ?? [])
          if (plus !== undefined) expect(table[plus]?.type, key).toBe("integer");
    });

    it("are not confused with those of every command", () => {
      if (table === (commonOptions as OptionTable)) return;
      const common = Object.entries(commonOptions).flatMap(([key, spec]) => [
        key,
        ...("short" in spec ? [spec.short] : []),
      ]);
      const spellings = entries.flatMap(([key, spec]) => [
        key,
        ...(spec.short ?? []),
        ...(spec.aliases ?? []).map(a => a.name),
      ]);
      expect(spellings.filter(name => common.includes(name))).toEqual([]);
    });
  },
);

describe("the schema of mmtrt.yaml", () => {
  const check = new Ajv2020({ allErrors: true, strict: true, allowUnionTypes: true }).compile(documentSchema(tables));

  it("takes each command's section and the shared keys, and nothing else", () => {
    expect(check({ max_batch_size: 4, build: { max_multimodal_len: "auto" }, run: { image: ["a.png"] } })).toBe(true);
    expect(check({ build: { max_multimodal_len: 576 } })).toBe(true);
    for (const wrong of [
      { nonsense: 1 },
      { build: { nonsense: 1 } },
      { build: [] },
      { build: { max_multimodal_len: "all" } },
      { run: { image: "a.png" } },
      { max_batch_size: 0 },
      [],
      "x",
      null,
    ]) {
      expect(check(wrong), JSON.stringify(wrong)).toBe(false);
    }
  });

  it("takes every default of every command", () => {
    for (const [command, table] of Object.entries(tables)) {
      const defaults = Object.entries(table).filter(
        ([, spec]) => spec.default !== undefined && spec.ignored === undefined,
      );
      expect(
        check({ [command]: Object.fromEntries(defaults.map(([key, spec]) => [key, spec.default])) }),
        command,
      ).toBe(true);
    }
  });

  it("has a property for each option that is not dead", () => {
    for (const [command, table] of Object.entries(tables)) {
      const schema = tableSchema(table) as { properties: Record<string, unknown> };
      expect(Object.keys(schema.properties), command).toEqual(
        Object.keys(table).filter(key => table[key]?.ignored === undefined),
      );
    }
  });

  it("has one meaning for a key at the top: a command's section, also where an option of another has the name", () => {
    const options = Object.values(tables).flatMap(table => Object.keys(table));
    const both = Object.keys(COMMANDS).filter(name => options.includes(name));
    expect(both).toEqual(expect.arrayContaining(["plan", "explain"]));
    for (const name of both) expect(check({ [name]: true }), name).toBe(false);
    expect(check({ plan: { max_batch_size: 4 }, build: { plan: true } })).toBe(true);
  });
});
