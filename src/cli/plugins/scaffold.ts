import { mkdir, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fail } from "../../diagnostics/index.ts";
import { packageRoot } from "../../formats/package-root.ts";

const NAME = /^[A-Z][A-Za-z0-9]{1,63}$/;

/** Makes `sources`/plugins/<name> from templates/plugin. Gives the folder. Throws PLG008 and PLG009. */
export async function newPlugin(name: string | undefined, sources: string, origin: string): Promise<string> {
  if (name === undefined || !NAME.test(name))
    return fail({
      code: "PLG008",
      at: origin,
      what: name === undefined ? "a new plugin needs a name" : `${name} is no name for a plugin`,
      why: "the operator, its folder and its C++ namespace are named by it",
      fix: "mmtrt plugins new RotaryEmbedding: a capital letter first, then letters and digits",
    });
  const id = name.charAt(0).toLowerCase() + name.slice(1);
  const folder = join(sources, "plugins", id);
  const aside = join(sources, "plugins", `.${id}.${process.pid}.partial`);
  const templates = join(packageRoot(), "templates", "plugin");
  try {
    await mkdir(aside, { recursive: true });
    for (const file of await readdir(templates)) {
      const text = await readFile(join(templates, file), "utf8");
      await writeFile(join(aside, file), text.replaceAll("MyPlugin", name).replaceAll("myPlugin", id));
    }
    await rename(aside, folder);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code !== "ENOTEMPTY" && code !== "EEXIST" && code !== "EACCES" && code !== "ENOENT") throw error;
    return fail({
      code: "PLG009",
      at: folder,
      what: `the folder of ${name} cannot be made: ${code}`,
      why:
        code === "ENOTEMPTY" || code === "EEXIST"
          ? "there is a plugin of that name"
          : "the plugins lie in a folder that cannot be written",
      fix: "choose another name, or copy native-plugins and give the copy as --plugin_sources",
    });
  } finally {
    await rm(aside, { recursive: true, force: true });
  }
  return folder;
}
