import { access, appendFile, constants } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import type { MatrixResult } from "../../build/matrix/events.ts";
import { asOutputProblem, writeText } from "../../checkpoint/files.ts";
import type { MatrixOptions } from "../../options/tables/matrix.ts";

type Files = Pick<MatrixOptions, "junit" | "markdown" | "html">;

/** The files that tell others of a run. */
export class Reports {
  readonly #files: Files;

  private constructor(files: Files) {
    this.#files = files;
  }

  /** Asks for places that can be written before hours are spent on engines. Errors: CKP009. */
  static async open(files: Files): Promise<Reports> {
    for (const file of [files.junit, files.markdown, files.html]) {
      if (file === undefined) continue;
      await access(dirname(resolve(file)), constants.W_OK).catch((error: unknown) => {
        throw asOutputProblem(file, error);
      });
    }
    return new Reports(files);
  }

  async write(result: MatrixResult): Promise<void> {
    const { junit, markdown, html } = this.#files;
    if (junit !== undefined) {
      const { junitReport } = await import("../../report/matrix/junit.ts");
      await writeText(junit, junitReport(result));
    }
    if (markdown !== undefined) {
      const { markdownReport } = await import("../../report/matrix/markdown.ts");
      await appendFile(markdown, markdownReport(result)).catch((error: unknown) => {
        throw asOutputProblem(markdown, error);
      });
    }
    if (html !== undefined) {
      const { matrixPage } = await import("../../report/matrix/page.ts");
      await writeText(html, matrixPage(result, new Date()));
    }
  }
}
