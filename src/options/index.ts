export {
  defineOptions,
  type OptionSpec,
  type OptionTable,
  type OptionValue,
  type Values,
  withDefaults,
} from "./define.ts";
export { type Environment, environment, envName } from "./env.ts";
export { peekCommon, type Resolved, resolve } from "./resolve.ts";
