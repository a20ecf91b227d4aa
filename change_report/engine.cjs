// SPDX-License-Identifier: Apache-2.0
// The CDK's own diff engine, for Python: pairs of templates on stdin, what it finds on stdout, both JSON. Its model of
// CloudFormation's resources is a file in the package @aws-cdk/aws-service-spec: no network.
"use strict";
const { fullDiff, ResourceImpact } = require("@aws-cdk/cloudformation-diff");
const { loadAwsServiceSpecSync } = require("@aws-cdk/aws-service-spec");

const model = loadAwsServiceSpecSync();

function isStateful(type) {
  return model.lookup("resource", "cloudFormationType", "equals", type).some((resource) => resource.isStateful === true);
}

function compare({ before, after }) {
  const diff = fullDiff(before, after);
  const resources = [];
  diff.resources.forEachDifference((id, change) => {
    if (change.changeImpact === ResourceImpact.NO_CHANGE && !change.isDifferent) return;
    const impacts = {};
    for (const [name, property] of Object.entries(change.propertyUpdates)) impacts[name] = property.changeImpact;
    const type = change.oldResourceType ?? change.newResourceType;
    resources.push({ id, type, impact: change.changeImpact, impacts, stateful: isStateful(type) });
  });
  const others = {};
  for (const part of ["outputs", "parameters", "conditions", "mappings", "unknown"]) {
    const found = diff[part].changes;
    const names = Object.keys(found).filter((name) => found[name].isDifferent);
    if (names.length > 0) others[part] = names;
  }
  return {
    resources,
    others,
    iam: diff.iamChanges.hasChanges,
    rules: diff.securityGroupChanges.toJson(),
  };
}

const pairs = JSON.parse(require("node:fs").readFileSync(0, "utf-8"));
process.stdout.write(JSON.stringify(pairs.map(compare)));
