export * from "./dtype.ts";
export * from "./half.ts";
export * from "./recipe.ts";
export * from "./shape.ts";
export * from "./stored.ts";
