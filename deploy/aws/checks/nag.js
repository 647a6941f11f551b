// Reads plain CloudFormation with cdk-nag's HIPAA pack: `nag.js TEMPLATE OUT`. One JSON document of findings on standard output:
// [[rule, resource, "Non-Compliant" or "UNKNOWN"]].
const { readFileSync } = require("node:fs");
const { join } = require("node:path");
const { App, Aspects, Stack } = require("aws-cdk-lib");
const { CfnInclude } = require("aws-cdk-lib/cloudformation-include");
const { HIPAASecurityChecks, NagReportFormat } = require("cdk-nag");

const [templateFile, outdir] = process.argv.slice(2);
const app = new App({ outdir });
const stack = new Stack(app, "SkinAssist");
new CfnInclude(stack, "Template", { templateFile });
Aspects.of(app).add(new HIPAASecurityChecks({ reports: true, reportFormats: [NagReportFormat.JSON] }));
app.synth();
const report = JSON.parse(readFileSync(join(outdir, "HIPAA.Security-SkinAssist-NagReport.json"), "utf8"));
const findings = report.lines
  .filter((line) => line.compliance !== "Compliant")
  .map((line) => [line.ruleId, line.resourceId.split("/").pop(), line.compliance]);
process.stdout.write(JSON.stringify({ rules: report.lines.length, findings }));
