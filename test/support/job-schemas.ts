/** The parts of the formats of job files that mmtrt's rely on; what is not named here is a mistake of ours. */
const TEXT = { type: "string", minLength: 1 } as const;
const COUNT = { type: "integer", minimum: 1 } as const;

function object(properties: Readonly<Record<string, unknown>>, optional: readonly string[] = []): object {
  const required = Object.keys(properties).filter(key => !optional.includes(key));
  return { type: "object", additionalProperties: false, required, properties };
}

const list = (items: unknown): object => ({ type: "array", minItems: 1, items });
const texts = list(TEXT);
const env = { type: "object", propertyNames: { pattern: "^[A-Z][A-Z0-9_]*$" }, additionalProperties: TEXT };

const step = {
  oneOf: [
    object({ run: TEXT }),
    object(
      {
        uses: { type: "string", pattern: "^actions/[a-z-]+(/[a-z]+)?@v\\d+$" },
        if: { const: "always()" },
        with: { type: "object", additionalProperties: { type: ["string", "number", "boolean"] } },
      },
      ["if", "with"],
    ),
  ],
};

/** A job id is letters, digits, - and _; a matrix has at most 256 jobs. */
export const GITHUB = object({
  name: TEXT,
  on: object({ push: object({ branches: texts }), workflow_dispatch: { type: "null" } }),
  permissions: object({ contents: { const: "read" } }),
  jobs: {
    type: "object",
    propertyNames: { pattern: "^[A-Za-z_][\\w-]*$" },
    additionalProperties: object(
      {
        "runs-on": { anyOf: [TEXT, texts] },
        strategy: object({
          "fail-fast": { type: "boolean" },
          matrix: object({ shard: { type: "array", minItems: 1, maxItems: 256, items: COUNT } }),
        }),
        needs: texts,
        if: TEXT,
        env,
        steps: list(step),
      },
      ["strategy", "needs", "if"],
    ),
  },
});

/** Words that GitLab gives a meaning of their own are no names of jobs. */
const RESERVED = [
  "image",
  "services",
  "stages",
  "types",
  "before_script",
  "after_script",
  "variables",
  "cache",
  "include",
];
const RELATIVE = { type: "string", pattern: "^[^/~]" };
const WHEN = { enum: ["always", "on_success", "on_failure"] };

export const GITLAB = {
  type: "object",
  propertyNames: { not: { enum: RESERVED } },
  additionalProperties: object(
    {
      image: TEXT,
      tags: texts,
      parallel: { type: "integer", minimum: 1, maximum: 200 },
      needs: texts,
      when: WHEN,
      variables: env,
      cache: object({ key: TEXT, when: WHEN, paths: list(RELATIVE) }),
      script: texts,
      artifacts: object({ name: TEXT, when: WHEN, paths: list(RELATIVE), reports: object({ junit: RELATIVE }) }, [
        "name",
        "reports",
      ]),
    },
    ["tags", "parallel", "needs", "when", "cache"],
  ),
};

/** Names are DNS labels of at most 63 characters, values of labels and of env are text, GPUs are counted in limits. */
const DNS_LABEL = { type: "string", pattern: "^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$" };
const LABELS = {
  type: "object",
  propertyNames: { pattern: "^([a-z0-9.-]+/)?[A-Za-z0-9][\\w.-]*$" },
  additionalProperties: { type: "string", pattern: "^[A-Za-z0-9]([\\w.-]{0,61}[A-Za-z0-9])?$" },
};
const container = object(
  {
    name: DNS_LABEL,
    image: TEXT,
    workingDir: { type: "string", pattern: "^/" },
    command: texts,
    args: texts,
    env: list(object({ name: TEXT, value: TEXT })),
    resources: object({ limits: object({ "nvidia.com/gpu": COUNT }) }),
    volumeMounts: list(object({ name: DNS_LABEL, mountPath: { type: "string", pattern: "^/" } })),
  },
  ["env", "resources"],
);

export const KUBERNETES_JOB = object({
  apiVersion: { const: "batch/v1" },
  kind: { const: "Job" },
  metadata: object({ name: DNS_LABEL, labels: LABELS }),
  spec: object(
    {
      completionMode: { const: "Indexed" },
      completions: COUNT,
      parallelism: COUNT,
      backoffLimit: { type: "integer", minimum: 0 },
      template: object({
        spec: object(
          {
            restartPolicy: { enum: ["Never", "OnFailure"] },
            containers: list(container),
            securityContext: object({ fsGroup: COUNT }),
            volumes: list(object({ name: DNS_LABEL, persistentVolumeClaim: object({ claimName: DNS_LABEL }) })),
            nodeSelector: LABELS,
          },
          ["nodeSelector"],
        ),
      }),
    },
    ["completionMode", "completions", "parallelism"],
  ),
});
