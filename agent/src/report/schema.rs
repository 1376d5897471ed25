//! JSON Schemas of all that is written for machines, made of the types: `docs/schemas`.
//!
//! They are made in tests alone, so that no program carries them. `UPDATE_GOLDEN=1` writes them anew.

use std::path::Path;

use schemars::{JsonSchema, SchemaGenerator};
use serde_json::Value;

use super::attested::{Attestation, Attested};
use super::binding::BindingPredicate;
use super::predicate::Predicate;
use super::rotation::RotationPredicate;
use super::run::{RunPredicate, RunReport};
use super::seal::SealPredicate;
use super::statement::{STATEMENT_TYPE, Statement};
use super::sweep::{SweepPredicate, SweepReport};
use super::{Report, json};
use crate::gate::decision::{Decision, SCHEMA as DECISION};
use crate::gate::policy::PolicyPredicate;
use crate::gate::revocations::RevocationsPredicate;
use crate::gate::vsa::VsaPredicate;
use crate::telemetry::{Line, SCHEMA as TELEMETRY};

/// The schema of a type, as it is published: `constants` are fields that have one value.
fn of<T: JsonSchema>(name: &str, title: &str, constants: &[(&str, &str)]) -> (String, String) {
    let schema = SchemaGenerator::default().into_root_schema_for::<T>();
    let mut schema: Value = schema.to_value();
    plain(&mut schema);
    schema["$id"] = format!("urn:cordon:schema:{name}:v1").into();
    schema["title"] = title.into();
    for (field, value) in constants {
        let field = schema["properties"].get_mut(field).unwrap();
        field["const"] = (*value).into();
    }
    (
        format!("{name}.schema.json"),
        json::pretty(&schema).unwrap(),
    )
}

/// Links of rustdoc mean nothing to readers of schemas.
fn plain(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            if let Some(Value::String(text)) = object.get_mut("description") {
                *text = text.replace("[`", "`").replace("`]", "`");
            }
            object.values_mut().for_each(plain);
        }
        Value::Array(list) => list.iter_mut().for_each(plain),
        _ => {}
    }
}

fn report<R: Attested + JsonSchema>(name: &str, title: &str) -> (String, String) {
    of::<R>(name, title, &[("schema", R::SCHEMA)])
}

fn signed<P: Attestation + JsonSchema>(name: &str, title: &str) -> (String, String) {
    let constants = [("_type", STATEMENT_TYPE), ("predicateType", P::TYPE)];
    of::<Statement<P>>(&format!("{name}-statement"), title, &constants)
}

/// All that there are.
fn all() -> Vec<(String, String)> {
    let decision = "Decision of the gate (cordon verify --json)";
    vec![
        report::<Report>("egress-report", "Egress report (egress-report.json)"),
        report::<SweepReport>(
            "secret-sweep",
            "Report of the secret sweep (secret-sweep.json)",
        ),
        report::<RunReport>("run", "Run report (run.json)"),
        of::<Decision>("gate-decision", decision, &[("schema", DECISION)]),
        of::<Line>(
            "telemetry",
            "Line of telemetry about a job",
            &[("schema", TELEMETRY)],
        ),
        signed::<Predicate>("egress", "Signed statement about a job's egress"),
        signed::<SweepPredicate>("secret-sweep", "Signed statement about a secret sweep"),
        signed::<RunPredicate>("run", "Signed statement about a run"),
        signed::<SealPredicate>("seal", "Seal of a job's evidence"),
        signed::<BindingPredicate>("binding", "Binding of a seal to an image"),
        signed::<PolicyPredicate>("trust-policy", "Signature of a trust policy"),
        signed::<RevocationsPredicate>("revocations", "Signed list of revoked keys"),
        signed::<RotationPredicate>(
            "key-rotation",
            "Rotation of a key, signed by the old one and the new one",
        ),
        signed::<VsaPredicate>("verification-summary", "Signed decision of the gate"),
    ]
}

#[test]
fn the_published_schemas_are_those_of_the_types() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/schemas");
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    for (name, text) in all() {
        let path = folder.join(&name);
        if update {
            crate::sys::fs::write_atomic(&path, text.as_bytes(), 0o644).unwrap();
        }
        let published = crate::sys::fs::read_to_string(&path, 4 << 20).unwrap();
        assert_eq!(
            published, text,
            "`{name}` is not current: UPDATE_GOLDEN=1 writes it"
        );
    }
    let names: std::collections::BTreeSet<_> = all().into_iter().map(|(name, _)| name).collect();
    for entry in std::fs::read_dir(&folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(
            names.contains(&name) || name == "README.md",
            "`{name}` is of no type"
        );
    }
}
