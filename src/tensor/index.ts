export * from "./dtype.ts";
export * from "./recipe.ts";
export * from "./shape.ts";
export * from "./stored.ts";
