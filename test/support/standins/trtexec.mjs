// A stand-in for trtexec and tensorrt_rtx: records its argv, prints a log step by step, writes an engine with a true header.
// What it does comes from the JSON file named by TRT_STANDIN: { record, lines, engine, exit, waitFor, hang, child, ignoreTerm }.
import { spawn } from "node:child_process";
import { appendFileSync, existsSync, readFileSync, writeFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";

const argv = process.argv.slice(2);
const plan = JSON.parse(readFileSync(process.env.TRT_STANDIN, "utf8"));
const banner = word =>
  `&&&& ${word} TensorRT.trtexec [TensorRT v${plan.version ?? "101600"}] [b42] # trtexec ${argv.join(" ")}`;
const say = line => process.stdout.write(`${line}\n`);

if (argv.includes("--help")) {
  say(banner("RUNNING"));
  process.exit(0);
}
if (plan.ignoreTerm) process.on("SIGTERM", () => say("[I] not yet"));
if (plan.record)
  appendFileSync(plan.record, `${JSON.stringify({ pid: process.pid, argv, env: Object.keys(process.env).sort() })}\n`);
if (plan.child) {
  // A helper that outlives its parent unless the whole group is ended.
  const child = spawn(process.execPath, ["-e", "process.on('SIGTERM', () => {}); setInterval(() => {}, 1000)"], {
    stdio: "ignore",
  });
  writeFileSync(plan.child, String(child.pid));
}
say(banner("RUNNING"));
for (const line of plan.lines ?? []) say(line);
const engine = argv.find(word => word.startsWith("--saveEngine="))?.slice("--saveEngine=".length);
if (plan.engine && engine) writeFileSync(engine, Buffer.from(plan.engine, "base64"));
if (plan.hang) {
  say("[I] waiting");
  setInterval(() => {}, 1000);
} else {
  while (plan.waitFor && !existsSync(plan.waitFor)) await sleep(5);
  say(banner(plan.exit ? "FAILED" : "PASSED"));
  process.exitCode = plan.exit ?? 0;
}
