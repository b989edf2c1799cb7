// How Allure 3 renders a run. `interop report` says by a file what differs from run to run: name, pools, places.
import { readFileSync } from "node:fs";

const settings = JSON.parse(readFileSync(process.env.INTEROP_REPORT_SETTINGS, "utf8"));

// One environment a pool, so that the page can show one hypervisor, or line all of them up for a test.
const environments = Object.fromEntries(
  settings.pools.map(({ id, name, label, variables }) => [
    id,
    { name, variables, matcher: ({ labels }) => labels.some((one) => one.name === "pool" && one.value === label) },
  ]),
);

// Whose fault it is stands in a label, which subclasses and groups of exceptions cannot escape; the messages serve
// results that other tools wrote. The same families are in categories.json, for renderers that know Allure 2.
const fault = (name, label, message) => ({
  name,
  matchers: [
    { statuses: ["failed", "broken"], labels: { fault: `^${label}$` } },
    ...(message ? [{ statuses: ["failed", "broken"], labels: {}, message }] : []),
  ],
  groupBy: ["environment"],
  groupByMessage: true,
  expand: true,
});

export default {
  name: settings.name,
  output: settings.output,
  ...(settings.history ? { historyPath: settings.history, historyLimit: settings.historyLimit, appendHistory: true } : {}),
  // What only tools look at; suite and subSuite must stay, the tree is made of them.
  hideLabels: ["framework", "language", "package", "epic", "feature", "story", "check", "pool", "news", "earlier", "attempt"],
  environments,
  variables: settings.variables,
  categories: {
    rules: [
      {
        name: "Known issues: they fail no run until their day",
        matchers: [{ statuses: ["failed", "broken"], labels: { tag: "^known issue$" } }],
        groupBy: ["environment"],
        groupByMessage: true,
        expand: true,
      },
      fault("Lab: host, network, credentials or bad input", "lab", "^([\\w.]+\\.)?(LabError|UsageError)\\b"),
      fault("Guest: panicked, hung or never booted", "guest", "^([\\w.]+\\.)?GuestError\\b"),
      fault("Product: a check failed", "product"),
      fault("Harness: a defect of a test or of the harness", "harness"),
      {
        name: "Warnings: beyond a limit that nobody calibrated",
        matchers: [{ statuses: ["passed"], labels: { tag: "^beyond a limit$" } }],
        groupBy: ["environment"],
        expand: true,
      },
      {
        name: "Flaky: passed only when tried again",
        matchers: [{ statuses: ["passed"], labels: { tag: "^flaky$" } }],
        groupBy: ["environment"],
        expand: true,
      },
      {
        name: "Lab: the host was not available any more",
        matchers: [{ statuses: ["skipped"], labels: { tag: "^host not available$" } }],
        groupBy: ["environment"],
        groupByMessage: true,
        expand: true,
      },
      {
        name: "News of known issues: passed, though known to fail",
        matchers: [{ statuses: ["passed"], labels: { tag: "^news of a known issue$" } }],
        groupBy: ["environment"],
        expand: true,
      },
      {
        name: "Expected failures",
        matchers: [{ statuses: ["skipped"], message: "^XFAIL" }],
        groupByMessage: true,
      },
      {
        name: "Skipped, by reason",
        matchers: [{ statuses: ["skipped"] }],
        groupByMessage: true,
      },
    ],
  },
  plugins: {
    awesome: {
      options: {
        singleFile: true,
        layout: "split",
        defaultSortBy: "name,asc",
        reportLanguage: "en",
        groupBy: ["suite", "subSuite"],
        charts: [
          { type: "currentStatus", title: "This run" },
          { type: "statusDynamics", title: "The last runs", limit: 20 },
          { type: "problemsDistribution", by: "environment", title: "Problems by hypervisor" },
          { type: "durations", title: "How long tests take", groupBy: "none" },
          { type: "durationDynamics", title: "How long the last runs took", limit: 20 },
        ],
      },
    },
    agent: { enabled: false },
  },
};
